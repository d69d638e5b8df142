"""A finding is a coded remark: what was seen, and what to do. This is the catalogue; the rules are elsewhere."""

from typing import Literal

from msgspec import Struct

Severity = Literal["note", "warning", "error"]


class Rule(Struct, frozen=True):
    """A finding's entry in the catalogue: why it matters and what to do, whatever was seen."""

    code: str
    severity: Severity
    title: str
    why: str
    remedy: str


class Finding(Struct, frozen=True):
    """A rule that applies: `where` names the cell, or is empty for the whole run."""

    code: str
    severity: Severity
    where: str
    evidence: str
    remedy: str


ALONE = Rule(
    "TL101",
    "note",
    "no accelerator",
    "A speed-up needs two devices; without an accelerator the figures are the CPU's alone.",
    "If this machine has a GPU, check its driver, and that the installed torch was built for it.",
)
FEW_ROUNDS = Rule(
    "TL201",
    "note",
    "few rounds",
    "An interval from two or three laps is honest but wide.",
    "Give it more time with --budget.",
)
WIDE = Rule(
    "TL202",
    "note",
    "interval wider than the target",
    "The figure is less certain than was asked for: differences within the interval mean nothing.",
    "Close other programs, give it more time with --budget, or accept less with --precision-target.",
)
COLD = Rule(
    "TL203",
    "note",
    "warm-up cut short",
    "The first laps may hold what only happens once, so the figure may be too low.",
    "Give it more time with --budget.",
)
CATALOGUE = (ALONE, FEW_ROUNDS, WIDE, COLD)


def found(rule: Rule, where: str, evidence: str) -> Finding:
    """The finding that a rule gives where it applies."""
    return Finding(rule.code, rule.severity, where, evidence, rule.remedy)
