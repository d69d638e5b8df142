"""The doctor's report where torchlap itself cannot start, and the commands of `doctor --fix`.

Needs only the standard library. The report has the form of the full one (`reports.doctor`), with fewer facts.
"""

import json
import textwrap
from collections.abc import Mapping, Sequence
from typing import Literal

from torchlap.errors import EXIT_FINE, EXIT_UNUSABLE, EXIT_WARNINGS
from torchlap.judge.findings import Finding
from torchlap.reports.kit.findings import entry, flat, in_markdown
from torchlap.reports.kit.text import clean, escape

SCHEMA = 2
Verdict = Literal["fine", "warnings", "unusable"]
VERDICTS: dict[int, Verdict] = {EXIT_FINE: "fine", EXIT_WARNINGS: "warnings", EXIT_UNUSABLE: "unusable"}
UNUSABLE = "torchlap cannot start, so neither torch nor any device was tested."


def as_text(findings: Sequence[Finding], machine: str, width: int) -> str:
    """For a terminal: the machine in one line, the findings, and the verdict; a command stays in one line."""
    lines = textwrap.wrap(clean(machine), width, break_on_hyphens=False)
    for finding in findings:
        shown = entry([finding])
        lines += ["", *textwrap.wrap(shown.head, width, break_on_hyphens=False)]
        for label, text in flat(shown):
            indented = textwrap.wrap(
                f"{label}: {text}", width, initial_indent="  ", subsequent_indent="  ", break_on_hyphens=False
            )
            lines += [f"      {text}"] if label == "Command" else indented
    return "\n".join([*lines, "", *textwrap.wrap(UNUSABLE, width)]) + "\n"


def as_markdown(findings: Sequence[Finding], machine: str, torchlap: str) -> str:
    """To paste into a bug report."""
    lines = [f"torchlap {torchlap} doctor: **unusable**", "", f"- {escape(clean(machine))}", f"- {UNUSABLE}"]
    for finding in findings:
        lines += ["", *in_markdown(entry([finding]))]
    return "\n".join(lines) + "\n"


def as_json(findings: Sequence[Finding], facts: Mapping[str, object], torchlap: str) -> str:
    """One JSON object, in ASCII; docs/doctor.md has its schema."""
    report = {
        "schema": SCHEMA,
        "torchlap": torchlap,
        "verdict": VERDICTS[EXIT_UNUSABLE],
        "exit_code": EXIT_UNUSABLE,
        "findings": [vars(finding) for finding in findings],
        "facts": facts,
    }
    return json.dumps(report, indent=2) + "\n"


def as_commands(findings: Sequence[Finding]) -> str:
    """What repairs the errors and warnings, for a shell: commands to paste, and comments where there is none."""
    lines: list[str] = []
    for finding in findings:
        if finding.severity != "note":
            lines.append(f"# {finding.code}: {clean(finding.title)}: {clean(finding.evidence)}")
            lines.append(clean(finding.command) if finding.command else f"# {clean(finding.remedy)}")
    return "\n".join(dict.fromkeys(lines) if lines else ["# Nothing to fix."]) + "\n"
