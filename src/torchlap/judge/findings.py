"""A finding: a code, a severity, what was observed, why it matters and how to fix it."""

from typing import Literal

from msgspec import Struct

Severity = Literal["note", "warning", "error"]
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note")
"""Worst first."""


class Rule(Struct, frozen=True):
    """A finding's entry in the catalogue: why it matters and what to do, whatever was seen; `source` is who says so."""

    code: str
    severity: Severity
    title: str
    why: str
    remedy: str
    source: str = ""


class Finding(Struct, frozen=True):
    """A rule that applies: `where` names the cell or device, or is empty for the whole run or machine.

    `command` is the remedy to paste into a shell, where there is one.
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


def found(rule: Rule, where: str, evidence: str, *, remedy: str = "", command: str = "", source: str = "") -> Finding:
    """The finding that a rule gives where it applies; its remedy and source are the rule's unless told otherwise."""
    return Finding(
        code=rule.code,
        severity=rule.severity,
        where=where,
        evidence=evidence,
        remedy=remedy or rule.remedy,
        title=rule.title,
        why=rule.why,
        command=command,
        source=source or rule.source,
    )
