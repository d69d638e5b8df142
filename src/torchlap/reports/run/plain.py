"""The formats for other programs: Markdown for a page or a bug report, CSV for a spreadsheet, JSON for scripts."""

import csv
import io
import json
import re
from pathlib import Path

import msgspec
from msgspec import Struct

from torchlap.judge.bottleneck import Bottleneck
from torchlap.judge.findings import Finding
from torchlap.judge.machine import diagnose
from torchlap.reports.kit.text import machine_line
from torchlap.reports.run.bottleneck import paragraphs
from torchlap.reports.run.headline import headline
from torchlap.reports.run.rows import (
    Row,
    baseline,
    clean,
    compares,
    judged,
    sentence,
    tells_of_bounds,
    tells_of_numbers,
)
from torchlap.schema.breakdown import Peaks
from torchlap.schema.events import Failure, Preparation, Run, RunFinished
from torchlap.schema.machine import Facts
from torchlap.schema.numerics import Numerics
from torchlap.schema.workload import Plan
from torchlap.stats import Interval

FORMULA_STARTS = ("=", "+", "-", "@")
"""A spreadsheet takes a cell that starts so for a formula."""

CSV_COLUMNS = (
    "model",
    "batch",
    "phase",
    "recipe",
    "device",
    "images_per_second",
    "images_per_second_low",
    "images_per_second_high",
    "speed_up",
    "speed_up_low",
    "speed_up_high",
    "void",
    "numbers",
    "bound_by",
    "laps",
    "first_step_seconds",
    "warm_up_seconds",
    "flops_per_step",
    "utilisation",
    "peak_memory_bytes",
    "joules_per_step",
    "failure",
    "reason",
)


class CellReport(Struct, frozen=True, kw_only=True):
    """One cell of the JSON format. Times are in seconds; `speed_up` is over the comparison's baseline.

    `void` is the code of the finding by which the figures mean nothing, or null.
    """

    model: str
    batch: int
    phase: str
    recipe: str
    device: str
    is_baseline: bool
    items_per_second: Interval | None
    speed_up: Interval | None
    void: str | None
    laps: int
    first_loss: float | None
    last_loss: float | None
    prepared: Preparation | None
    failure: Failure | None
    numbers: Numerics | None
    why: Bottleneck | None


class Report(Struct, frozen=True, kw_only=True):
    """The JSON format: one object. `schema` rises when a field changes its meaning."""

    schema: int
    torchlap: str
    started: str
    published: str
    headline: str
    finished: str | None
    wall_seconds: float | None
    start_up_seconds: float | None
    run_file: str | None
    machine: Facts
    plan: Plan
    cells: tuple[CellReport, ...]
    peaks: dict[str, Peaks]
    findings: tuple[Finding, ...]
    check_up: tuple[Finding, ...]
    remarks: tuple[str, ...]


def as_json(run: Run, path: Path | None) -> str:
    """One JSON object; docs/output.md has its schema."""
    seen = judged(run)
    ends = [event for event in run.events if isinstance(event, RunFinished)]
    ended = run.events[-1] if run.events and isinstance(run.events[-1], RunFinished) else None
    report = Report(
        schema=run.header.schema,
        torchlap=run.header.torchlap,
        started=run.header.started,
        published=run.header.published,
        headline=headline(seen),
        finished=ended.reason if ended else None,
        wall_seconds=sum(end.wall_seconds for end in ends) if ended else None,
        start_up_seconds=sum(end.start_up_seconds for end in ends) if ended else None,
        run_file=str(path) if path else None,
        machine=run.header.facts,
        plan=run.header.plan,
        cells=tuple(_cell(row) for row in seen.rows),
        peaks=seen.peaks,
        findings=seen.findings,
        check_up=diagnose(run.header.facts),
        remarks=run.remarks,
    )
    return as_ascii(msgspec.to_builtins(report))


def as_ascii(value: object) -> str:
    """JSON in ASCII alone: nothing in it can steer a terminal."""
    return json.dumps(value, indent=2).replace("\x7f", "\\u007f") + "\n"


def _cell(row: Row) -> CellReport:
    result, workload = row.result, row.result.cell.workload
    return CellReport(
        model=workload.model,
        batch=workload.batch,
        phase=workload.phase,
        recipe=str(result.cell.recipe),
        device=result.cell.device,
        is_baseline=result.is_baseline,
        items_per_second=result.throughput,
        speed_up=result.speed_up,
        void=row.void or None,
        laps=len(result.laps),
        first_loss=result.prepared.first_loss if result.prepared else None,
        last_loss=result.laps[-1].loss if result.laps else None,
        prepared=result.prepared,
        failure=result.failure,
        numbers=result.numerics,
        why=row.explained,
    )


def as_csv(run: Run) -> str:
    """One line a cell, plain numbers, empty where there is none."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(CSV_COLUMNS)
    for row in judged(run).rows:
        result, prepared = row.result, row.result.prepared
        writer.writerow(
            [
                *(_no_formula(text) for text in (row.model, row.batch, row.phase, row.recipe, row.device)),
                *_three(result.throughput),
                *_three(result.speed_up),
                row.void,
                row.numerics,
                row.bottleneck,
                len(result.laps),
                prepared.first_step_seconds if prepared else "",
                prepared.warm_up_seconds if prepared else "",
                *_of_a_step(row.explained),
                result.failure.kind if result.failure else "",
                _no_formula(clean(result.failure.reason)) if result.failure else "",
            ]
        )
    return out.getvalue()


def _three(interval: Interval | None) -> tuple[float | str, float | str, float | str]:
    return (interval.value, interval.low, interval.high) if interval else ("", "", "")


def _of_a_step(why: Bottleneck | None) -> tuple[object, ...]:
    if why is None:
        return ("", "", "", "")
    known = (why.utilisation, why.peak_memory_bytes, why.joules.value if why.joules else None)
    return (why.flops, *("" if value is None else value for value in known))


def _no_formula(text: str) -> str:
    return f"'{text}" if text.startswith(FORMULA_STARTS) else text


def as_markdown(run: Run, *, why: bool = False) -> str:
    """The table with the machine and the findings, to paste into a page; `why` adds where the time goes."""
    heads = ["model", "batch", "phase", "recipe", "device", "images/s"] + ["speed-up"] * compares(run) + ["laps"]
    seen = judged(run)
    all_rows = seen.rows
    more = {"bottleneck": tells_of_bounds(all_rows), "numerics": tells_of_numbers(all_rows)}
    heads += [head for head, told in more.items() if told]
    bold = f"**{escape(headline(seen))}**"
    lines = [escape(clean(machine_line(run.header.facts))), "", bold, "", _line(heads), _line(["---"] * len(heads))]
    for row in all_rows:
        told = [row.bottleneck] * more["bottleneck"] + [row.numerics] * more["numerics"]
        lines.append(_line([*_fields(row, compares(run)), *told]))
    first = baseline(run)
    if run.header.published:
        lines += ["", escape(clean(f"Published, not measured by torchlap: {run.header.published}"))]
    lines += ["", f"In brackets: the {run.header.plan.confidence:.0%} interval."]
    if compares(run):
        lines[-1] += f" Speed-up: over {escape(clean(first.device))} in {first.recipe}, from paired rounds."
    failed = [row.result for row in all_rows if row.result.failure]
    lines += [""] * bool(failed)
    for result in failed:
        reason = result.failure.reason if result.failure else ""
        lines.append(f"- {escape(clean(f'{result.cell}: {reason}'))}")
    if why:
        lines += [f"\n**{escape(title)}**: {escape(' '.join(said))}" for title, said in paragraphs(seen)]
    all_findings = seen.findings
    lines += [""] * bool(all_findings)
    for finding in all_findings:
        where = f"{finding.where}: " * bool(finding.where)
        lines.append(f"- **{finding.code}** {escape(clean(f'{where}{sentence(finding.evidence)} {finding.remedy}'))}")
    return "\n".join(lines) + "\n"


def _fields(row: Row, compared: bool) -> list[str]:  # noqa: FBT001  whether there is a column for it
    names = map(escape, (row.model, row.batch, row.phase, row.recipe, row.device))
    figures = [escape(figure) for figure in [row.throughput, *[row.speed_up] * compared]]
    struck = [f"~~{figure}~~" if row.void and figure else figure for figure in figures]
    return [*names, *struck, row.laps]


def _line(fields: list[str]) -> str:
    return f"| {' | '.join(fields)} |"


def escape(text: str) -> str:
    """Keep text from being read as Markdown or HTML."""
    return re.sub(r"([\\`*_\[\]<>|~#])", r"\\\1", text)
