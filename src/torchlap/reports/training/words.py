"""What every format of a training report shows: the tables, the headline, and the legend. Text is clean."""

from collections.abc import Callable, Iterator, Sequence
from math import inf
from statistics import median

from msgspec.structs import replace

from torchlap.reports.kit.table import Column, Field, Table, build
from torchlap.reports.kit.text import clean, counted, sentence
from torchlap.reports.kit.units import number, significant, with_interval
from torchlap.reports.run.rows import MOST_CELLS, model_names
from torchlap.runs.censored import Median
from torchlap.runs.training import Attempt, CellTraining, attempts_of, training_plan, trainings
from torchlap.schema.events import Run
from torchlap.schema.training import TrainingEnded
from torchlap.stats import Interval

UNKNOWN = "unknown"
OUTCOMES = {
    "reached": "reached",
    "epochs": "not reached",
    "budget": "out of time",
    "not_finite": "loss not finite",
    "failed": "failed",
    None: "interrupted",
}

Columns = list[tuple[Column, Callable[[CellTraining], Field | str]]]


def median_text(found: Median | None, unit: str = "") -> str:
    """A median with its interval; `over 3.2` or `under 0.8` where trainings that were stopped leave one side open."""
    if found is None:
        return "none"
    value = found.value if found.value is not None and 0 < found.value < inf else None
    if found.low is None or found.high is None:
        return f"{f'~{significant(value)}{unit}' if value else UNKNOWN} (n = {found.count})"
    if value and found.low > 0 and found.high < inf:
        return with_interval(Interval(value, found.low, found.high, found.count), unit)
    low, high = significant(found.low), significant(found.high) if found.high < inf else UNKNOWN
    if value:
        return f"{number(value, 0.1 * value)}{unit} ({low} to {high})"
    if found.high < inf:
        return f"under {high}{unit}"
    return f"over {low}{unit}" if found.low > 0 else UNKNOWN


def target(run: Run) -> str:
    """The accuracy, as a percentage with the digits that it was given with."""
    return f"{training_plan(run).target * 100:.4g}%"


def workload(run: Run) -> str:
    """The model and its batch, and the device if there is only one."""
    cells = run.header.plan.groups[0].cells
    known = cells[0].workload
    device = "" if has_devices(run) else f", {cells[0].device}"
    return clean(f"{model_names(run)[known.model]}, batch {known.batch}{device}")


def has_devices(run: Run) -> bool:
    """Whether several devices take part."""
    return len({cell.device for cell in run.header.plan.groups[0].cells}) > 1


def variant(run: Run, cell: CellTraining) -> str:
    """The recipe, and the device if several take part."""
    name = str(cell.cell.recipe)
    return clean(f"{name} on {cell.cell.device}" if has_devices(run) else name)


def table(run: Run) -> Table:
    """A row per cell."""
    cells = trainings(run)
    unit = clean(cells[0].cell.workload.unit)
    seeds = len(training_plan(run).seeds)
    columns: Columns = [
        (Column("recipe"), lambda cell: variant(run, cell)),
        (Column("reached", "right"), lambda cell: f"{cell.reached} of {seeds}"),
        (Column(f"seconds to {target(run)}"), lambda cell: median_text(cell.time)),
    ]
    several = len(cells) > 1
    if several:
        columns.append((Column("sooner"), lambda cell: median_text(cell.sooner, "x") if cell.sooner else ""))
    columns.append(
        (
            Column(f"{unit}/s", is_spare=True),
            lambda cell: with_interval(cell.throughput) if cell.throughput else UNKNOWN,
        )
    )
    if several:
        columns.append(
            (Column("speed-up", is_spare=True), lambda cell: with_interval(cell.speed_up, "x") if cell.speed_up else "")
        )
    columns.append((Column("epochs", "right", is_spare=True), _epochs))
    return build(cells, columns)


def _epochs(cell: CellTraining) -> str:
    epochs = [attempt.epochs for attempt in cell.attempts if attempt.outcome == "reached"]
    return significant(median(epochs)) if epochs else ""


def each_training(run: Run) -> Table:
    """A row per training."""
    rows = [(cell, attempt) for cell in trainings(run) for attempt in cell.attempts][:MOST_CELLS]
    columns: list[tuple[Column, Callable[[tuple[CellTraining, Attempt]], Field | str]]] = [
        (Column("recipe"), lambda row: variant(run, row[0])),
        (Column("seed", "right"), lambda row: str(row[1].seed)),
        (Column("outcome"), lambda row: OUTCOMES[row[1].outcome]),
        (Column("seconds", "right"), lambda row: significant(row[1].seconds)),
        (Column("epochs", "right"), lambda row: significant(row[1].epochs)),
        (Column("accuracy", "right"), lambda row: "" if row[1].accuracy is None else f"{row[1].accuracy:.1%}"),
        (Column("evaluation", "right", is_spare=True), lambda row: f"{significant(row[1].evaluation_seconds)} s"),
        (Column("warm-up", "right", is_spare=True), _warm_up),
    ]
    return build(rows, columns, grouped_columns=1)


def _warm_up(row: tuple[CellTraining, Attempt]) -> str:
    seconds = row[1].warm_up_seconds
    return "" if seconds is None else f"{significant(seconds)} s"


def headline(run: Run) -> str:
    """The main result in a sentence or two."""
    cells, plan = trainings(run), training_plan(run)
    first = cells[0]
    base = (
        f"{workload(run)}: {target(run)} in {median_text(first.time, ' s')} in {variant(run, first)} "
        f"({first.reached} of {counted(len(plan.seeds), 'seed')})."
        if first.time
        else f"{workload(run)}: no training has ended yet."
    )
    return " ".join([base, *(_compared(run, cell, first) for cell in cells[1:] if cell.sooner)])


def _compared(run: Run, cell: CellTraining, first: CellTraining) -> str:
    sooner = cell.sooner
    verdict = "inconclusive"
    if sooner and sooner.low is not None and sooner.low > 1:
        verdict = "sooner"
    if sooner and sooner.high is not None and sooner.high < 1:
        verdict = "later"
    return f"{variant(run, cell)} gets there {median_text(sooner, 'x')} as fast as {variant(run, first)}, {verdict}."


def legend(run: Run) -> str:
    """How to read the tables."""
    return " ".join(_legend(run))


def _legend(run: Run) -> Iterator[str]:
    plan, cells = training_plan(run), trainings(run)
    yield f"Seconds: the median over seeds {_seeds(plan.seeds)}, in parentheses its {run.header.plan.confidence:.0%}"
    yield "interval; warm-up and evaluations do not count."
    started = [attempt.started for cell in cells for attempt in cell.attempts if attempt.started]
    if started:
        every = "every epoch" if plan.evaluate_steps is None else f"every {counted(plan.evaluate_steps, 'step')}"
        yield f"Accuracy: on {started[0].held_out:,} held-out examples, {every}."
        if started[0].train_items is not None:
            yield f"Trained on {started[0].train_items:,} other examples, with Adam at {plan.learning_rate:g}"
            yield f"for at most {counted(plan.epochs, 'epoch')}."
    if len(cells) > 1:
        yield f"Sooner and speed-up: over {variant(run, cells[0])}, from trainings with the same seed."
    count = sum(len(cell.attempts) for cell in cells)
    if count > MOST_CELLS:
        yield f"The first {MOST_CELLS} of {count} trainings are shown."
    if any(cell.reached < cell.counted for cell in cells):
        yield "A training that did not get there counts as longer than the time that it had."


def _seeds(seeds: Sequence[int]) -> str:
    is_range = len(seeds) > 1 and tuple(seeds) == tuple(range(seeds[0], seeds[0] + len(seeds)))
    return f"{seeds[0]} to {seeds[-1]}" if is_range else ", ".join(map(str, seeds))


def ended_line(run: Run, ended: TrainingEnded) -> str:
    """A training that has ended, in one line, for a log."""
    attempt = attempts_of(run)[ended.cell, ended.seed]
    cell = run.header.plan.groups[0].cells[ended.cell]
    cell = replace(cell, workload=replace(cell.workload, model=model_names(run)[cell.workload.model]))
    accuracy = "" if attempt.accuracy is None else f", accuracy {attempt.accuracy:.1%}"
    spent = f"{significant(attempt.seconds)} s, {significant(attempt.epochs)} epochs{accuracy}"
    return clean(f"{cell}, seed {ended.seed}: {OUTCOMES[ended.outcome]} ({spent})")


def failures(run: Run) -> tuple[str, ...]:
    """A line for each training that failed."""
    return tuple(
        clean(f"{cell.cell}, seed {attempt.seed}: {sentence(attempt.ended.reason)}")
        for cell in trainings(run)
        for attempt in cell.attempts
        if attempt.ended and attempt.outcome in ("failed", "not_finite")
    )
