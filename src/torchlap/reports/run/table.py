"""The table of a run with what belongs to it, the same in every format: columns, legend, and cells without a result."""

from collections import Counter
from collections.abc import Callable, Iterator

from torchlap.judge.arms import differences
from torchlap.judge.compare.between import BETWEEN_STARTS
from torchlap.reports.kit.figures import FAILURE_WORDS
from torchlap.reports.kit.table import Column, Field, Table, build
from torchlap.reports.kit.text import clean, sentence
from torchlap.reports.kit.units import significant
from torchlap.reports.run import energy
from torchlap.reports.run.rows import MOST_CELLS, Results, Row, baseline, varying
from torchlap.runs.starts import LEAST_STARTS
from torchlap.schema.base import OUT_OF_TIME
from torchlap.schema.events import Run
from torchlap.schema.workload import has_own_batch
from torchlap.stats import Interval

NO_RESULT = "Cells without a result"
"""The heading above `failures`."""

NOT_ANALYZED = "out of time, or --no-why was used"
"""Why nothing is known about the step of a cell without a breakdown."""

RAISE, NO_BUDGET = "raise --budget", "the analysis did not fit into the budget: raise --budget"


def table(results: Results) -> Table:
    """The figures of a run, one row per cell. A column that would say nothing is left out."""
    return build(results.rows, list(_columns(results)), grouped_columns=2)


def _columns(results: Results) -> Iterator[tuple[Column, Callable[[Row], Field | str]]]:
    yield Column("model"), lambda row: row.model
    yield Column("batch", "right"), lambda row: row.batch
    shown = varying(results.rows)
    if "phase" in shown:
        yield Column("phase", is_constant=len({row.phase for row in results.rows}) == 1), lambda row: row.phase
    if "recipe" in shown:
        yield Column("recipe", is_constant=len({row.recipe for row in results.rows}) == 1), lambda row: row.recipe
    yield Column("device"), lambda row: row.device
    if "arm" in shown:
        yield Column("arm"), lambda row: row.arm
    yield Column(results.rate), lambda row: _figure(row, row.throughput, row.result.throughput)
    if has_groups(results.run):
        yield Column("speed-up"), lambda row: _figure(row, row.speed_up, row.result.speed_up)
    yield from energy.columns(results)
    if "utilization" in results.columns:
        yield Column("utilization", "right"), utilization
    yield Column("laps", "right", is_spare=True), lambda row: row.laps
    if has_bottlenecks(results):
        yield Column("bottleneck", is_spare=True), lambda row: row.bottleneck
    if len({row.numerics for row in results.rows} - {""}) > 1:  # otherwise a sentence below the table says it
        yield Column("numerics", is_spare=True), lambda row: row.numerics


def _figure(row: Row, text: str, interval: Interval | None) -> Field:
    return Field(text, sort_by=repr(interval.value) if interval else "", is_void=bool(row.void))


def utilization(row: Row) -> Field:
    """The rate of the matrix products as a share of the device's peak."""
    share = row.analysis.utilization if row.analysis else None
    if share is None:
        return Field("unknown" if row.result.throughput else "", sort_by="")
    return Field(significant(share, 2), sort_by=repr(share), is_void=bool(row.void))


def not_shown(results: Results) -> str:
    """What a terminal and a page leave out; empty if they show every cell."""
    count = len(results.rows)
    return f"The first {MOST_CELLS} of {count} cells are shown: --format csv has all." if count > MOST_CELLS else ""


def has_bottlenecks(results: Results) -> bool:
    """Whether the bottleneck of any cell is known."""
    return any(row.bottleneck for row in results.rows)


def arms(run: Run) -> tuple[str, ...]:
    """A line for every arm but the first: what differs from the first; nothing in a run without arms."""
    first = run.header.plan.arms[0].name if run.header.plan.arms else ""
    return tuple(
        clean(f"{name} differs from {first}: {'; '.join(found)} ({first} vs. {name}).")
        if found
        else clean(f"{name} differs from {first}: no difference found, so their ratio is that of two equal processes.")
        for name, found in differences(run).items()
    )


def has_groups(run: Run) -> bool:
    """Whether there are cells to compare."""
    return any(len(group.cells) > 1 for group in run.header.plan.groups)


def legend(results: Results) -> str:
    """How to read the table."""
    return " ".join(_legend(results))


def _legend(results: Results) -> Iterator[str]:
    plan, first = results.run.header.plan, baseline(results.run)
    yield f"In parentheses: the {plan.confidence:.0%} interval."
    if has_groups(results.run):
        over = f"arm {clean(first.arm)} on the same device" if first.arm else f"{clean(first.device)} in {first.recipe}"
        yield f"Speed-up: over {over}, from paired rounds."
    yield from _starts(results)
    cells = [cell for group in plan.groups for cell in group.cells]
    if any(not has_own_batch(cell.workload.model) for cell in cells):
        yield f"Data: {plan.data} digits. Training: forward, backward and Adam."
    yield from energy.legend(results)
    yield from _about_utilization(results)
    verdicts = Counter(row.numerics for row in results.rows if row.numerics)
    if verdicts:
        yield f"Numerics (against float64): {', '.join(f'{count} {word}' for word, count in verdicts.items())}."
    yield from _compilation(results)
    precisions = {cell.recipe.precision for cell in cells}
    if "fp32" in precisions and any(device.kind == "cuda" for device in results.run.header.facts.devices):
        yield "fp32: TF32 off."
    if "tf32" in precisions and not all(cell.device.startswith("cuda") for cell in cells):
        yield "tf32: NVIDIA GPUs only."


def _starts(results: Results) -> Iterator[str]:
    """In how many processes of each arm its cells were measured."""
    compared = [row.result for row in results.rows if row.result.cell.arm and row.result.ratios]
    if not compared:
        return
    least = min(len(set(cell.ratio_starts)) or 1 for cell in compared)
    if least >= LEAST_STARTS:
        yield f"Each arm was started {least} times, and the intervals are over these starts."
    else:
        once = "once" if least == 1 else "twice"
        yield (
            f"Each arm was started only {once}: another process of the same program may differ by up to "
            f"{BETWEEN_STARTS:.0%}, which the last line and verdicts include; raise --budget."
        )


def _about_utilization(results: Results) -> Iterator[str]:
    """What the column means, and why some of its fields are unknown."""
    if "utilization" not in results.columns:
        return
    yield "Utilization: FLOP/s of the matrix products over the measured peak of the device in that precision."
    unknown: dict[str, list[str]] = {}
    for row in results.rows:
        if row.result.throughput and not (row.analysis and row.analysis.utilization is not None):
            unknown.setdefault(_why_unknown(row, results), []).append(str(row.result.cell))
    for reason, cells in unknown.items():
        count = len(cells)
        which = cells[0] if count == 1 else f"{count} cells"
        yield clean(f"Utilization unknown for {which}: {sentence(reason)}")


def _why_unknown(row: Row, results: Results) -> str:
    breakdown, precision = row.result.breakdown, row.result.cell.recipe.precision
    if row.analysis is None or breakdown is None:
        reason = (breakdown.reason if breakdown else "") or NOT_ANALYZED
        return (
            NO_BUDGET if reason.endswith(RAISE) else reason
        )  # the seconds that it would take differ from cell to cell
    if not breakdown.operators:
        return "; ".join(breakdown.left_out) or "its operators were not counted"
    reached = results.peaks.get(row.result.cell.device)
    refused = reached.refused.get(precision) if reached else None
    return f"the device's peak in {precision} was not measured ({clean(refused or 'out of time').rstrip('. ')})"


def _compilation(results: Results) -> Iterator[str]:
    seconds = [
        row.result.prepared.compile_seconds
        for row in results.rows
        if row.result.prepared and row.result.cell.recipe.compile
    ]
    if seconds:
        took = f"{min(seconds):.2g} to {max(seconds):.2g} s" if len(seconds) > 1 else f"{seconds[0]:.2g} s"
        yield f"Compiled in {took}, which the figures do not include."


def failures(results: Results) -> tuple[str, ...]:
    """A line for each cell that failed, and one line for all that time ran out for."""
    lines, late = [], []
    for row in results.rows:
        failure = row.result.failure
        if failure is None:
            continue
        if failure.kind in OUT_OF_TIME:
            late.append(clean(str(row.result.cell)))
        else:
            reason = sentence(clean(failure.reason))
            lines.append(f"{clean(str(row.result.cell))}: {FAILURE_WORDS[failure.kind]}. {reason}".strip())
    if late:
        lines.append(f"Not measured, because the budget was too small: {'; '.join(late)}.")
    return tuple(lines)


def is_out_of_time(results: Results) -> bool:
    """Whether a larger budget would measure more cells."""
    return any(row.result.failure.kind in OUT_OF_TIME for row in results.rows if row.result.failure)


def published(run: Run) -> str:
    """Who published the figures, if torchlap did not measure them; otherwise empty."""
    return clean(f"Published, not measured by torchlap: {run.header.published}") if run.header.published else ""
