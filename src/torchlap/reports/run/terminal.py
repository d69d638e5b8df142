"""A run's report for a terminal: a table if it is wide enough, possibly without spare columns, otherwise a list."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from msgspec.structs import replace
from rich.console import RenderableType
from rich.text import Text

from torchlap.judge.machine import diagnose
from torchlap.reports.kit.findings import by_severity, entries
from torchlap.reports.kit.machine import machine_line
from torchlap.reports.kit.table import Field, fitting
from torchlap.reports.kit.terminal import brief_in_terminal, heading, indented, labeled, note_in_terminal, rendered
from torchlap.reports.kit.text import clean
from torchlap.reports.run import energy
from torchlap.reports.run.bottleneck import paragraphs
from torchlap.reports.run.headline import headline
from torchlap.reports.run.next_step import next_step
from torchlap.reports.run.rows import NO_PRICES, ExtraColumn, Results, baseline, judged, varying
from torchlap.reports.run.table import (
    NO_RESULT,
    arms,
    failures,
    has_bottlenecks,
    legend,
    not_shown,
    published,
    table,
    utilization,
)
from torchlap.reports.tune import ladder
from torchlap.runs.energy import Prices
from torchlap.runs.find import Named
from torchlap.runs.tuning import tuned
from torchlap.schema.events import Run
from torchlap.schema.machine import Facts

FRAME_LINES = 4
"""Of a table, beside its rows: an empty line, the heads, the rule below them, and an empty line at the end."""


def machine(run: Run, width: int, *, color: bool) -> str:
    """The machine in one line (wrapped if the terminal is narrower), and what the check-up found."""
    check_up = [] if run.header.published else [_check_up(run.header.facts)]  # nobody can fix a machine of the past
    return rendered([Text(clean(machine_line(run.header.facts))), *check_up], width, color=color)


def _check_up(facts: Facts) -> Text:
    """The doctor's findings that need no live probe, in a line."""
    titles = "; ".join(f"{entry.code} {entry.title}" for entry in entries(diagnose(facts)))
    return labeled("Check-up", f"{titles}. Details: torchlap doctor." if titles else "no problems found.")


def report(
    run: Run,
    path: Path | None,
    width: int,
    *,
    color: bool,
    why: bool = False,
    columns: tuple[ExtraColumn, ...] = (),
    prices: Prices = NO_PRICES,
) -> str:
    """Everything after the machine's line: figures, failures, findings, the file, what to try next, and the answer.

    Args:
        run: a run, or the part of it that has been measured.
        path: its file.
        width: columns of the terminal.
        color: whether to color.
        why: add the bottleneck of each cell.
        columns: of the table, beside the usual ones.
        prices: for the cost of a million items.
    """
    return rendered(_parts(judged(run, columns, prices), path, width, why=why), width, color=color)


def so_far(run: Run, width: int, height: int) -> str:
    """The rows that have a figure, while a run goes on: the last ones that fit. Empty if none has, or none fits."""
    results = judged(run)
    known = [row for row in results.rows if row.result.throughput]
    if not known or height <= FRAME_LINES:
        return ""
    in_columns = fitting(table(replace(results, rows=tuple(known[FRAME_LINES - height :]))), width)
    return rendered([in_columns], width, color=False) if in_columns else ""


def overview(runs: Sequence[Named], width: int, *, color: bool) -> str:
    """A line for each of many runs."""
    lines = [labeled(clean(named.name), headline(judged(named.run))) for named in runs]
    hint = Text("\nName one run to see it in full, or use --html to write a page of all runs.")
    return rendered([*lines, hint], width, color=color)


def _parts(results: Results, path: Path | None, width: int, *, why: bool) -> Iterator[RenderableType]:
    run, first = results.run, results.first
    if found := tuned(run):
        yield from ladder.parts(run, found, path, width)
        return
    in_columns = fitting(table(first), width)
    yield from [in_columns] if in_columns else _list(first)
    if not_shown(results):
        yield Text(not_shown(results))
    if published(run):
        yield Text(published(run))
    hint = " Bottlenecks: add --why for details." if has_bottlenecks(results) and not why else ""
    yield Text(legend(results) + hint)
    yield from map(Text, arms(run))
    yield from _failures(first)
    if why:
        yield heading("Bottlenecks")
        yield from _bottlenecks(first)
    findings = entries(results.findings)
    if findings:
        yield heading("Findings")
        yield from (brief_in_terminal(entry) for entry in by_severity(findings) if entry.severity != "note")
        yield from (note_in_terminal(entry) for entry in findings if entry.severity == "note")
    for remark in run.remarks:
        yield Text(clean(remark))
    yield Text("")
    if path is not None:
        yield labeled("Run file", clean(str(path)))
    if not run.header.published:
        yield labeled(*next_step(results, path))
    yield Text(f"\n{headline(results)}", style="bold")


def _failures(results: Results) -> Iterator[RenderableType]:
    lines = failures(results)
    if lines:
        yield heading(NO_RESULT)
        yield from map(indented, lines)


def _bottlenecks(results: Results) -> Iterator[RenderableType]:
    for title, lines in paragraphs(results):
        yield indented(Text(title, style="bold"))
        yield from (indented(line, 4) for line in lines)


def _list(results: Results) -> Iterator[RenderableType]:
    """The table for a narrow terminal."""
    extra, first = varying(results.rows), baseline(results.run)
    above = ""
    for row in results.rows:
        title = f"{row.model}, batch {row.batch}"
        if title != above:
            yield Text(title, style="bold")
        above = title
        name = " ".join(dict.fromkeys([row.device, *(getattr(row, field) for field in extra)]))  # an arm named fp32
        unit = f" {results.rate}" if row.result.throughput and results.rate != "items/s" else ""
        yield indented(f"{name}: {row.throughput}{unit}")
        if row.speed_up:
            yield indented(f"{row.speed_up} vs. {clean(first.arm or first.device)}")
        if "utilization" in results.columns and row.result.throughput:
            yield indented(f"utilization {utilization(row).text}")
        for column, field_of in energy.columns(results):
            text = field_of(row)
            yield indented(f"{column.head}: {text.text if isinstance(text, Field) else text}")
    yield Text("")
