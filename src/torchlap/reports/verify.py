"""The report of `torchlap verify`: for a terminal, for a bug report (Markdown), for a script (JSON)."""

from collections.abc import Iterator
from typing import Literal

import msgspec
from msgspec import Struct
from rich.box import SIMPLE_HEAD
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from torchlap.errors import EXIT_FINE, EXIT_INTERRUPTED, EXIT_SOME_CELLS_FAILED
from torchlap.judge.findings import Finding
from torchlap.judge.numerics import CellNumerics, Verification, judge, word
from torchlap.reports.kit.text import machine_line
from torchlap.reports.run.plain import as_ascii, escape
from torchlap.reports.run.rows import clean, grouped, sentence
from torchlap.reports.run.terminal import finding, rendered
from torchlap.schema.machine import Facts
from torchlap.schema.numerics import Numerics, OperatorSuite

SCHEMA = 1
HEADS = ("cell", "numbers", "operators", "error / limit", "twice", "s")
NUMBERS = HEADS[2:]


class CellReport(Struct, frozen=True, kw_only=True):
    """One cell of the JSON format."""

    model: str
    batch: int
    phase: str
    recipe: str
    device: str
    verdict: Literal["right", "wrong", "inexact", "unverified"]
    numbers: Numerics


class Report(Struct, frozen=True, kw_only=True):
    """The JSON format: one object. `schema` rises when a field changes its meaning."""

    schema: int
    torchlap: str
    exit_code: int
    machine: Facts
    cells: tuple[CellReport, ...]
    suites: tuple[OperatorSuite, ...]
    findings: tuple[Finding, ...]


def exit_code(seen: Verification) -> int:
    """0 where all that was checked is right, 1 where something is wrong or could not be checked, 130 if interrupted."""
    if seen.interrupted:
        return EXIT_INTERRUPTED
    failed = any(each.numerics.reason for each in seen.cells) or any(not suite.calls for suite in seen.suites)
    wrong = any(each.severity == "error" for each in judge(seen))
    return EXIT_SOME_CELLS_FAILED if failed or wrong else EXIT_FINE


def as_text(seen: Verification, width: int, color: bool) -> str:  # noqa: FBT001  a terminal's two properties
    """For a terminal."""
    return rendered(_parts(seen), width, color)


def _parts(seen: Verification) -> Iterator[RenderableType]:
    yield Text(clean(machine_line(seen.facts)))
    table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for head in HEADS:
        table.add_column(head, justify="right" if head in NUMBERS else "left")
    for each in seen.cells:
        table.add_row(*map(Text, _fields(each)))
    yield table
    for suite in seen.suites:
        yield Text(_of_suite(suite))
    all_findings = judge(seen)
    if all_findings:
        yield Text("\nFindings", style="bold")
        yield from (finding(found) for found in grouped(all_findings).values())


def _fields(each: CellNumerics) -> tuple[str, ...]:
    seen = each.numerics
    if seen.reason:
        return (clean(str(each.cell)), "unverified", "", "", "", "")
    twice = "equal" if not seen.spread else f"{seen.spread:.0e}"
    operators = "whole step" if seen.whole else str(seen.operators)
    return (clean(str(each.cell)), word(seen), operators, f"{seen.closest:.2f}", twice, f"{seen.seconds:.1f}")


def _of_suite(suite: OperatorSuite) -> str:
    if not suite.calls:
        return f"Operator suite on {clean(suite.device)}: {clean('; '.join(suite.skipped))}"
    skipped = f", {len(suite.skipped)} kinds of calls not possible there" * bool(suite.skipped)
    faults = f"{suite.fault_count} wrong" if suite.fault_count else "all right"
    return f"Operator suite on {clean(suite.device)}: {suite.calls} calls, {faults}{skipped} ({suite.seconds:.1f} s)."


def as_markdown(seen: Verification) -> str:
    """To paste into a bug report."""
    lines = [escape(clean(machine_line(seen.facts))), "", f"| {' | '.join(HEADS)} |", "|" + "---|" * len(HEADS)]
    lines += [f"| {' | '.join(map(escape, _fields(each)))} |" for each in seen.cells]
    lines += ["", *(escape(_of_suite(suite)) for suite in seen.suites)]
    for each in judge(seen):
        where = f"{each.where}: " * bool(each.where)
        lines.append(f"- **{each.code}** {escape(clean(f'{where}{sentence(each.evidence)} {each.remedy}'))}")
    return "\n".join(lines) + "\n"


def as_json(seen: Verification) -> str:
    """One JSON object, in ASCII; docs/verify.md has its schema."""
    report = Report(
        schema=SCHEMA,
        torchlap=seen.torchlap,
        exit_code=exit_code(seen),
        machine=seen.facts,
        cells=tuple(_cell(each) for each in seen.cells),
        suites=seen.suites,
        findings=judge(seen),
    )
    return as_ascii(msgspec.to_builtins(report))


def _cell(each: CellNumerics) -> CellReport:
    workload = each.cell.workload
    return CellReport(
        model=workload.model,
        batch=workload.batch,
        phase=workload.phase,
        recipe=str(each.cell.recipe),
        device=each.cell.device,
        verdict=word(each.numerics),
        numbers=each.numerics,
    )
