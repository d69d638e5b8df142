"""A finding: a code, a severity, what was observed, why it matters and how to fix it.

Needs only the standard library, because the doctor has findings even where no other package can be imported.
"""

from dataclasses import dataclass
from types import ModuleType
from typing import Literal

Severity = Literal["note", "warning", "error"]
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note")
"""Worst first."""


@dataclass(frozen=True)
class Finding:
    """A rule that applies.

    Attributes:
        where: the cell, device or line; empty for the whole run or machine.
        evidence: what was observed, as a clause without a full stop.
        command: the remedy as a shell command, where there is one.
        source: where the rule, or the observation, comes from.
    """

    code: str
    severity: Severity
    where: str
    evidence: str
    remedy: str
    title: str = ""
    why: str = ""
    command: str = ""
    source: str = ""


@dataclass(frozen=True)
class Rule:
    """An entry of the catalogue: what all findings with one code have in common."""

    code: str
    severity: Severity
    title: str
    why: str
    remedy: str
    source: str = ""

    def finding(self, where: str, evidence: str, *, remedy: str = "", command: str = "", source: str = "") -> Finding:
        """The finding of this rule at one place; `remedy` and `source` default to the rule's own."""
        return Finding(
            code=self.code,
            severity=self.severity,
            where=where,
            evidence=evidence,
            remedy=remedy or self.remedy,
            title=self.title,
            why=self.why,
            command=command,
            source=source or self.source,
        )


def catalogue(*modules: ModuleType) -> tuple[Rule, ...]:
    """The rules that the modules define, sorted by code."""
    rules = {value for module in modules for value in vars(module).values() if isinstance(value, Rule)}
    return tuple(sorted(rules, key=lambda rule: rule.code))
