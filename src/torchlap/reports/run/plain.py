"""A run's report for other programs: Markdown for a page or an issue, CSV for a spreadsheet, JSON for scripts."""

import csv
import io
from pathlib import Path

import msgspec
from msgspec import Struct

from torchlap.judge.arms import differences
from torchlap.judge.findings import Finding
from torchlap.judge.machine import diagnose
from torchlap.reports.kit.findings import brief_in_markdown, entries
from torchlap.reports.kit.json_format import as_ascii, cell_keys
from torchlap.reports.kit.machine import machine_line
from torchlap.reports.kit.table import as_markdown as markdown_table
from torchlap.reports.kit.text import clean, escape, markdown
from torchlap.reports.run.bottleneck import paragraphs
from torchlap.reports.run.energy import cost, idle_watts, joules, watts
from torchlap.reports.run.headline import headline
from torchlap.reports.run.rows import NO_PRICES, ExtraColumn, Results, Row, judged
from torchlap.reports.run.table import NO_RESULT, arms, failures, legend, published, table
from torchlap.reports.tune import ladder
from torchlap.runs.energy import Prices
from torchlap.runs.figures import idle
from torchlap.schema.breakdown import Peaks
from torchlap.schema.events import Run, RunFinished
from torchlap.schema.machine import Facts
from torchlap.schema.workload import Plan
from torchlap.stats import Interval

FORMULA_STARTS = ("=", "+", "-", "@")
"""A spreadsheet reads a cell that starts with one of these as a formula."""

CSV_COLUMNS = (
    "model",
    "batch",
    "unit",
    "phase",
    "recipe",
    "device",
    "arm",
    "items_per_second",
    "items_per_second_low",
    "items_per_second_high",
    "speed_up",
    "speed_up_low",
    "speed_up_high",
    "void",
    "numerics",
    "bottleneck",
    "laps",
    "first_step_seconds",
    "warm_up_seconds",
    "flops_per_step",
    "utilization",
    "peak_memory_bytes",
    "joules_per_step",
    "joules_per_item",
    "joules_per_item_low",
    "joules_per_item_high",
    "watts",
    "watts_low",
    "watts_high",
    "metered_seconds",
    "cost_per_million_items",
    "cost_per_million_items_low",
    "cost_per_million_items_high",
    "failure",
    "reason",
)


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
    cells: tuple[dict[str, object], ...]
    arms: dict[str, tuple[str, ...]]
    peaks: dict[str, Peaks]
    idle: dict[str, dict[str, object]]
    prices: Prices
    findings: tuple[Finding, ...]
    check_up: tuple[Finding, ...]
    remarks: tuple[str, ...]


def as_json(run: Run, path: Path | None, prices: Prices = NO_PRICES) -> str:
    """One JSON object; docs/output.md has its schema."""
    results = judged(run, prices=prices)
    ends = [event for event in run.events if isinstance(event, RunFinished)]
    end = run.events[-1] if run.events and isinstance(run.events[-1], RunFinished) else None
    report = Report(
        schema=run.header.schema,
        torchlap=run.header.torchlap,
        started=run.header.started,
        published=run.header.published,
        headline=headline(results),
        finished=end.reason if end else None,
        wall_seconds=sum(event.wall_seconds for event in ends) if end else None,
        start_up_seconds=sum(event.start_up_seconds for event in ends) if end else None,
        run_file=str(path) if path else None,
        machine=run.header.facts,
        plan=run.header.plan,
        cells=tuple(_cell(row, results) for row in results.rows),
        arms=differences(run),
        peaks=results.peaks,
        idle={name: msgspec.to_builtins(known) | {"watts": idle_watts(known)} for name, known in idle(run).items()},
        prices=prices,
        findings=results.findings,
        check_up=diagnose(run.header.facts),
        remarks=run.remarks,
    )
    return as_ascii(msgspec.to_builtins(report))


def _cell(row: Row, results: Results) -> dict[str, object]:
    """A cell. Times are in seconds; `speed_up` is over the group's baseline; `void` is a finding's code."""
    result = row.result
    return {
        **cell_keys(result.cell),
        "arm": result.cell.arm,
        "is_baseline": result.is_baseline,
        "items_per_second": result.throughput,
        "speed_up": result.speed_up,
        "void": row.void or None,
        "laps": len(result.laps),
        "starts": len(set(result.speed_starts)) or min(1, len(result.laps)),
        "first_loss": result.prepared.first_loss if result.prepared else None,
        "last_loss": result.laps[-1].loss if result.laps else None,
        "prepared": result.prepared,
        "failure": result.failure,
        "numerics": result.numerics,
        "bottleneck": row.analysis,
        "energy": result.energy,
        "cost_per_million_items": cost(row, results),
    }


def as_csv(run: Run, prices: Prices = NO_PRICES) -> str:
    """One line per cell with plain numbers; empty where there is none."""
    text = io.StringIO()
    writer = csv.DictWriter(text, CSV_COLUMNS, lineterminator="\n")
    writer.writeheader()
    results = judged(run, prices=prices)
    for row in results.rows:
        fields = _csv_fields(row, results)
        writer.writerow({name: "" if value is None else value for name, value in fields.items()})
    return text.getvalue()


def flat_rows(run: Run) -> list[dict[str, object]]:
    """One dictionary per cell with plain numbers and the columns of CSV; None where there is none."""
    results = judged(run)
    return [dict.fromkeys(CSV_COLUMNS) | _csv_fields(row, results) for row in results.rows]


def _csv_fields(row: Row, results: Results) -> dict[str, object]:
    result, prepared, analysis, failure = row.result, row.result.prepared, row.analysis, row.result.failure
    texts = {name: _no_formula(clean(str(value))) for name, value in cell_keys(result.cell).items()}
    return {
        **texts,
        "model": _no_formula(row.model),
        "arm": _no_formula(row.arm),
        **_limits("items_per_second", result.throughput),
        **_limits("speed_up", result.speed_up),
        "void": row.void,
        "numerics": row.numerics,
        "bottleneck": row.bottleneck,
        "laps": len(result.laps),
        "first_step_seconds": prepared.first_step_seconds if prepared else None,
        "warm_up_seconds": prepared.warm_up_seconds if prepared else None,
        "flops_per_step": analysis.flops if analysis else None,
        "utilization": analysis.utilization if analysis else None,
        "peak_memory_bytes": analysis.peak_memory_bytes if analysis else None,
        "joules_per_step": analysis.joules.value if analysis and analysis.joules else None,
        **_limits("joules_per_item", joules(row)),
        **_limits("watts", watts(row)),
        "metered_seconds": result.energy.seconds if result.energy else None,
        **_limits("cost_per_million_items", cost(row, results)),
        "failure": failure.kind if failure else None,
        "reason": _no_formula(clean(failure.reason)) if failure else None,
    }


def _limits(name: str, interval: Interval | None) -> dict[str, object]:
    if interval is None:
        return {}
    return {name: interval.value, f"{name}_low": interval.low, f"{name}_high": interval.high}


def _no_formula(text: str) -> str:
    return f"'{text}" if text.startswith(FORMULA_STARTS) else text


def as_markdown(
    run: Run, *, why: bool = False, columns: tuple[ExtraColumn, ...] = (), prices: Prices = NO_PRICES
) -> str:
    """The table with the machine and the findings, to paste into a page.

    Args:
        run: the run.
        why: add the bottleneck of each cell.
        columns: of the table, beside the usual ones.
        prices: for the cost of a million items.
    """
    if run.header.plan.tuning is not None:
        return ladder.as_markdown(run)
    results = judged(run, columns, prices)
    lines = [markdown(machine_line(run.header.facts)), "", f"**{escape(headline(results))}**", ""]
    lines += [*markdown_table(table(results)), ""]
    if published(run):
        lines += [escape(published(run)), ""]
    lines.append(escape(" ".join([legend(results), *arms(run)])))
    failed = failures(results)
    if failed:
        lines += ["", f"{NO_RESULT}:", "", *(f"- {escape(line)}" for line in failed)]
    if why:
        for title, texts in paragraphs(results):
            lines += ["", f"**{escape(title)}**: {escape(' '.join(texts))}"]
    findings = entries(results.findings)
    if findings:
        lines += ["", *map(brief_in_markdown, findings)]
    return "\n".join(lines) + "\n"
