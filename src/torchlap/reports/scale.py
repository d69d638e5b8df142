"""The report of `torchlap scale`: for a terminal, for an issue (Markdown), for a script (JSON)."""

from collections.abc import Iterator
from pathlib import Path

import msgspec
from msgspec import Struct
from rich.console import RenderableType
from rich.text import Text

from torchlap.judge.findings import Finding
from torchlap.judge.scaling import findings, reasons
from torchlap.reports.kit.figures import failure_text
from torchlap.reports.kit.findings import brief_in_markdown, by_severity, entries
from torchlap.reports.kit.json_format import as_ascii, cell_keys
from torchlap.reports.kit.machine import machine_line
from torchlap.reports.kit.table import Column, Table, build, fitting
from torchlap.reports.kit.table import as_markdown as markdown_table
from torchlap.reports.kit.terminal import brief_in_terminal, heading, indented, note_in_terminal, rendered
from torchlap.reports.kit.text import clean, escape, sentence
from torchlap.reports.kit.units import PREFIXES, binary, number, with_interval
from torchlap.runs.figures import CellResult
from torchlap.runs.scaling import Share, SizeResult, divided, scaling_of, sizes
from torchlap.schema.events import Run
from torchlap.schema.machine import Facts
from torchlap.schema.ranks import RankFacts, RankNumerics, Scaling
from torchlap.stats import Interval

SCHEMA = 1
NAMES = {"cuda": "GPUs", "xpu": "XPUs", "cpu": "CPU ranks"}
LEAST_SHOWN = 0.01
LEGEND = (
    "In parentheses: the 95% interval. Efficiency: speed-up over the number of ranks. Not hidden: the share of a step "
    "that exchanging gradients adds. All-reduce: bus bandwidth for the gradients' size."
)


class Size(Struct, frozen=True, kw_only=True):
    """One number of ranks in the JSON format; `efficiency` and the others are null where there is no figure."""

    ranks: int
    alone: dict[str, object]
    together: dict[str, object]
    speed_up: Interval | None
    efficiency: Interval | None
    communication: dict[str, object]
    slowest_rank: dict[str, object] | None
    rank_facts: tuple[RankFacts, ...]
    numerics: RankNumerics | None
    failure: str
    reasons: tuple[str, ...]


class Report(Struct, frozen=True, kw_only=True):
    """The JSON format: one object. `schema` rises when a field changes its meaning."""

    schema: int
    torchlap: str
    started: str
    headline: tuple[str, ...]
    run_file: str | None
    machine: Facts
    scaling: Scaling
    sizes: tuple[Size, ...]
    findings: tuple[Finding, ...]


class Row(Struct, frozen=True):
    """One line of the first table: one device, or all ranks of a size."""

    devices: str
    ranks: int
    result: CellResult
    size: SizeResult | None = None


def headline(size: SizeResult, model: str = "") -> str:
    """The answer for one number of ranks, in a sentence; `model` is what the devices are, where all are alike."""
    kind = size.together.cell.device.rpartition(" ")[2]
    name = " ".join(filter(None, [str(size.ranks), model, NAMES.get(kind, kind)]))
    if size.efficiency is None or size.speed_up is None:
        return f"{name}: {_why_no_figure(size)}."
    return (
        f"{name} are {with_interval(size.speed_up, 'x')} as fast as one, efficiency {with_interval(size.efficiency)}."
    )


def _why_no_figure(size: SizeResult) -> str:
    for what, cell in (("", size.together), ("one device alone: ", size.alone)):
        if cell.failure is not None:
            return clean(f"{what}{failure_text(cell.failure)}. {cell.failure.reason.rstrip('.')}")
    return "not measured"


def as_text(run: Run, path: Path | None, width: int, *, color: bool) -> str:
    """For a terminal: the answer first, then the tables, why, and the findings."""
    return rendered(_parts(run, path, width), width, color=color)


def _parts(run: Run, path: Path | None, width: int) -> Iterator[RenderableType]:
    results = sizes(run)
    yield Text(clean(machine_line(run.header.facts)))
    yield Text(clean(title(run)))
    for size in results:
        yield Text(headline(size), style="bold")
    for table in (speeds(results), costs(results)):
        yield from _table(table, width)
    yield Text(LEGEND)
    for size in results:
        lines = [indented(line) for line in explained(size)]
        if lines:
            yield Text(clean(f"{size.together.cell.device}:"))
        yield from lines
    found = by_severity(entries(findings(run)))
    if found:
        yield heading("Findings")
        yield from (
            note_in_terminal(entry) if entry.severity == "note" else brief_in_terminal(entry) for entry in found
        )
    if path is not None:
        yield Text(f"\nRun file: {path}", no_wrap=True)


def _table(table: Table, width: int) -> Iterator[RenderableType]:
    """The table, or a list where the terminal is too narrow for it."""
    rich = fitting(table, width)
    if rich is not None:
        yield rich
        return
    for row in table.rows:
        pairs = zip(table.columns, row, strict=True)
        yield indented("; ".join(f"{column.head} {field.text}" for column, field in pairs if field.text))


def title(run: Run) -> str:
    """What was measured, in a line."""
    cell = run.header.plan.groups[0].cells[1]
    scaling = scaling_of(run)
    batch = f"batch {cell.workload.batch} each" if not scaling or scaling.kind == "weak" else ""
    if scaling and scaling.kind == "strong":
        batch = f"batch {scaling.total_batch} in all"
    way = "FSDP2" if cell.recipe.shard else "DDP"
    return f"{cell.workload.model}, {batch}, {cell.recipe}, {way}"


def speeds(results: tuple[SizeResult, ...]) -> Table:
    """Throughput in all and per device, speed-up and efficiency."""
    rows = []
    for size in results:
        rows.append(Row(size.alone.cell.device, 1, size.alone))
        rows.append(Row(size.together.cell.device, size.ranks, size.together, size))
    unit = results[0].alone.cell.workload.unit if results else "items"
    return build(
        rows,
        [
            (Column("devices"), lambda row: row.devices),
            (Column("batch", "right", is_spare=True), lambda row: str(row.result.cell.workload.batch)),
            (Column(f"{unit}/s", "right"), _throughput),
            (Column("each", "right"), _each),
            (Column("speed-up", "right", is_spare=True), _speed_up),
            (Column("efficiency", "right"), _efficiency),
        ],
    )


def _speed_up(row: Row) -> str:
    return with_interval(row.size.speed_up, "x") if row.size and row.size.speed_up else ""


def _efficiency(row: Row) -> str:
    return with_interval(row.size.efficiency) if row.size and row.size.efficiency else ""


def _throughput(row: Row) -> str:
    if row.result.throughput:
        return with_interval(row.result.throughput)
    return failure_text(row.result.failure) if row.result.failure else "not measured"


def _each(row: Row) -> str:
    found = row.result.throughput
    return number(found.value / row.ranks, (found.high - found.low) / row.ranks) if found else ""


def costs(results: tuple[SizeResult, ...]) -> Table:
    """Communication, the slowest rank, memory and numerics of each size."""
    return build(
        results,
        [
            (Column("devices"), lambda size: size.together.cell.device),
            (Column("not hidden", "right"), lambda size: share_text(size.communication.of_step)),
            (Column("all-reduce", "right"), _bandwidth),
            (Column("memory each", "right"), memory),
            (Column("numerics"), lambda size: numerics_word(size.numerics)),
        ],
    )


def share_text(share: Share | None) -> str:
    """A share with its limits; empty without one."""
    return f"{share.value:.2f} ({share.low:.2f} to {share.high:.2f})" if share else ""


def _bandwidth(size: SizeResult) -> str:
    rate = size.communication.bus_bytes_per_second
    if rate is None:
        return ""
    factor, prefix = next(((factor, prefix) for factor, prefix in PREFIXES if rate.value >= factor), (1.0, ""))
    return with_interval(divided(rate, factor), f" {prefix}B/s")


def memory(size: SizeResult) -> str:
    """The least and the most memory of a rank, or one figure where they are alike."""
    peaks = [rank.peak_bytes for rank in size.facts if rank.peak_bytes]
    if not peaks:
        return ""
    least, most = min(peaks), max(peaks)
    return binary(most) if most - least < LEAST_SHOWN * most else f"{binary(least)} to {binary(most)}"


def numerics_word(numerics: RankNumerics | None) -> str:
    """Whether the ranks compute what one device would, in a word."""
    if numerics is None or numerics.reason:
        return "not checked"
    return "wrong" if numerics.differing or numerics.gradient_error > numerics.limit else "ok"


def explained(size: SizeResult) -> Iterator[str]:
    """Why a size is less than perfect, which rank is the slowest, and what its numerics mean."""
    for reason in reasons(size):
        yield clean(sentence(reason))
    if size.slowest is not None:
        factor = with_interval(size.slowest.factor, "x")
        yield f"Without synchronization, the slowest rank is {size.slowest.rank}: {factor} the time of the others."
    if size.numerics is not None and not size.numerics.reason:
        yield clean(_numerics(size.numerics))


def _numerics(numerics: RankNumerics) -> str:
    error, limit = f"{numerics.gradient_error:.1e}", f"(limit {numerics.limit:.0e})"
    gradients = f"Gradients after one step are those of one device, within {error} {limit}"
    if numerics.gradient_error == 0:
        gradients = "Gradients after one step are those of one device, bit by bit"
    elif numerics.gradient_error > numerics.limit:
        gradients = f"Gradients after one step are off by {error} {limit}"
    if numerics.sharded:
        return f"{gradients}; parameters are sharded, so that no two ranks have the same."
    same = "differ" if numerics.differing else "are equal, bit by bit,"
    return f"{gradients}; parameters {same} on all ranks after {numerics.steps} steps."


def as_markdown(run: Run) -> str:
    """To paste into an issue."""
    results = sizes(run)
    lines = [f"**{escape(headline(size))}**  " for size in results]
    lines += ["", f"{escape(clean(title(run)))}; {escape(clean(machine_line(run.header.facts)))}", ""]
    lines += [*markdown_table(speeds(results)), "", *markdown_table(costs(results)), "", escape(LEGEND), ""]
    lines += [f"- {escape(size.together.cell.device)}: {escape(line)}" for size in results for line in explained(size)]
    lines += map(brief_in_markdown, entries(findings(run)))
    return "\n".join(lines) + "\n"


def as_json(run: Run, path: Path | None) -> str:
    """One JSON object, in ASCII; docs/scale.md has its schema.

    Raises:
        ValueError: for the run of another command.
    """
    scaling = scaling_of(run)
    if scaling is None:
        raise ValueError("the run does not scale")
    results = sizes(run)
    report = Report(
        schema=SCHEMA,
        torchlap=run.header.torchlap,
        started=run.header.started,
        headline=tuple(map(headline, results)),
        run_file=str(path) if path else None,
        machine=run.header.facts,
        scaling=scaling,
        sizes=tuple(map(_size, results)),
        findings=findings(run),
    )
    return as_ascii(msgspec.to_builtins(report))


def _size(size: SizeResult) -> Size:
    slowest = size.slowest
    return Size(
        ranks=size.ranks,
        alone=_cell(size.alone, 1),
        together=_cell(size.together, size.ranks),
        speed_up=size.speed_up,
        efficiency=size.efficiency,
        communication=msgspec.to_builtins(size.communication),
        slowest_rank={"rank": slowest.rank, "factor": slowest.factor} if slowest else None,
        rank_facts=size.facts,
        numerics=size.numerics,
        failure="" if size.efficiency else _why_no_figure(size),
        reasons=tuple(reasons(size)),
    )


def _cell(cell: CellResult, ranks: int) -> dict[str, object]:
    speed = cell.throughput
    return {
        **cell_keys(cell.cell),
        "items_per_second": speed,
        "items_per_second_each": speed.value / ranks if speed else None,
        "laps": len(cell.laps),
    }


def progress(run: Run, group: int) -> str:
    """One finished size in a line, for a log."""
    return headline(sizes(run)[group])
