"""The report of `torchlap verify`: for a terminal, for a bug report (Markdown), for a script (JSON)."""

from collections.abc import Iterator

import msgspec
from msgspec import Struct
from rich.console import RenderableType
from rich.text import Text

from torchlap.errors import EXIT_FINE, EXIT_INTERRUPTED, EXIT_SOME_CELLS_FAILED
from torchlap.judge.findings import Finding
from torchlap.judge.numerics import CellNumerics, Verification, verdict
from torchlap.judge.numerics import findings as numerics_findings
from torchlap.reports.kit.findings import brief_in_markdown, entries
from torchlap.reports.kit.json_format import as_ascii, cell_keys
from torchlap.reports.kit.machine import machine_line
from torchlap.reports.kit.table import Column, Table, as_rich, build
from torchlap.reports.kit.table import as_markdown as markdown_table
from torchlap.reports.kit.terminal import brief_in_terminal, heading, rendered
from torchlap.reports.kit.text import clean, escape, markdown
from torchlap.schema.machine import Facts
from torchlap.schema.numerics import OperatorSuite

SCHEMA = 2


class Report(Struct, frozen=True, kw_only=True):
    """The JSON format: one object. `schema` rises when a field changes its meaning."""

    schema: int
    torchlap: str
    exit_code: int
    machine: Facts
    cells: tuple[dict[str, object], ...]
    suites: tuple[OperatorSuite, ...]
    findings: tuple[Finding, ...]


def exit_code(verification: Verification) -> int:
    """0 if everything was checked and is correct, 1 if something is wrong or was not checked, 130 if interrupted."""
    if verification.interrupted:
        return EXIT_INTERRUPTED
    unchecked = any(checked.numerics.reason for checked in verification.cells)
    unchecked = unchecked or any(suite.left_out or not suite.calls for suite in verification.suites)
    wrong = any(finding.severity == "error" for finding in numerics_findings(verification))
    return EXIT_SOME_CELLS_FAILED if unchecked or wrong else EXIT_FINE


def as_text(verification: Verification, width: int, *, color: bool) -> str:
    """For a terminal."""
    return rendered(_parts(verification), width, color=color)


def _parts(verification: Verification) -> Iterator[RenderableType]:
    yield Text(clean(machine_line(verification.facts)))
    yield as_rich(_table(verification))
    for suite in verification.suites:
        yield Text(_suite(suite))
    findings = entries(numerics_findings(verification))
    if findings:
        yield heading("Findings")
        yield from map(brief_in_terminal, findings)


def _table(verification: Verification) -> Table:
    return build(
        verification.cells,
        [
            (Column("cell", wraps=True), lambda checked: str(checked.cell)),
            (Column("numerics", wraps=True), lambda checked: verdict(checked.numerics)),
            (Column("operators", "right", wraps=True), _operators),
            (Column("error / limit", "right", wraps=True), lambda checked: _if_checked(checked, "{0.closest:.2f}")),
            (Column("repeat", "right", wraps=True), _repeat),
            (Column("seconds", "right", wraps=True), lambda checked: _if_checked(checked, "{0.seconds:.1f}")),
        ],
    )


def _if_checked(checked: CellNumerics, pattern: str) -> str:
    return "" if checked.numerics.reason else pattern.format(checked.numerics)


def _operators(checked: CellNumerics) -> str:
    return "whole step" if checked.numerics.whole else _if_checked(checked, "{0.operators}")


def _repeat(checked: CellNumerics) -> str:
    """How much the same step differed the second time."""
    if not checked.numerics.repeated:
        return _if_checked(checked, "out of time")
    return _if_checked(checked, "{0.spread:.0e}" if checked.numerics.spread else "identical")


def _suite(suite: OperatorSuite) -> str:
    if not suite.calls:
        return f"Operator suite on {clean(suite.device)}: not run: {clean('; '.join(suite.skipped))}."
    faults = f"{suite.fault_count} wrong" if suite.fault_count else "all correct"
    skipped = f", {len(suite.skipped)} kinds of calls unsupported" if suite.skipped else ""
    left_out = f"; the rest was left out: {clean(suite.left_out)}" if suite.left_out else ""
    calls = f"{suite.calls} calls, {faults}{skipped}{left_out}"
    return f"Operator suite on {clean(suite.device)}: {calls} ({suite.seconds:.1f} s)."


def as_markdown(verification: Verification) -> str:
    """To paste into a bug report."""
    lines = [markdown(machine_line(verification.facts)), "", *markdown_table(_table(verification)), ""]
    lines += [f"- {escape(_suite(suite))}" for suite in verification.suites]
    lines += map(brief_in_markdown, entries(numerics_findings(verification)))
    return "\n".join(lines) + "\n"


def as_json(verification: Verification) -> str:
    """One JSON object, in ASCII; docs/verify.md has its schema."""
    report = Report(
        schema=SCHEMA,
        torchlap=verification.torchlap,
        exit_code=exit_code(verification),
        machine=verification.facts,
        cells=tuple(
            {**cell_keys(checked.cell), "verdict": verdict(checked.numerics), "numerics": checked.numerics}
            for checked in verification.cells
        ),
        suites=verification.suites,
        findings=numerics_findings(verification),
    )
    return as_ascii(msgspec.to_builtins(report))
