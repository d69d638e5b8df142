"""From raw laps to figures: every number that is ever shown is computed here, from the events of a run file."""

from statistics import median

from msgspec import Struct
from msgspec.structs import replace

from torchlap.records import (
    Cell,
    CellPrepared,
    Comparison,
    ComparisonFinished,
    ComparisonStarted,
    Conditions,
    Event,
    Explained,
    Failure,
    Lap,
    NumbersChecked,
    PeaksMeasured,
    Round,
    Run,
    StopReason,
    Watched,
)
from torchlap.stats import Interval, Ratio, lap_interval, paired_ratio

TWO = 2
"""A figure needs a spread, and a spread needs two laps."""


def images_per_second(lap: Lap, batch: int) -> float:
    """The speed of a lap of steps of that batch."""
    return (lap.images or batch * lap.steps) / lap.seconds


class CellResult(Struct, frozen=True, kw_only=True):
    """What is known of one cell. `throughput` is in images a second; `speed_up` is over the comparison's baseline.

    `ratios` holds the speed-up of each round.
    """

    cell: Cell
    is_baseline: bool
    prepared: CellPrepared | None
    laps: tuple[Lap, ...]
    ratios: tuple[float, ...]
    throughput: Interval | None
    speed_up: Ratio | None
    failure: Failure | None
    numbers: NumbersChecked | None = None
    explained: Explained | None = None

    @property
    def estimate(self) -> float | None:
        """Images a second, also where a single lap leaves it without an interval; None for a cell without a figure."""
        if self.throughput is not None:
            return self.throughput.value
        speeds = [images_per_second(lap, self.cell.workload.batch) for lap in self.laps]
        return median(speeds) if speeds and self.failure is None else None


class ComparisonResult(Struct, frozen=True):
    """What is known of the cells that took turns, in the plan's order; `stopped` is None while it is under way."""

    cells: tuple[CellResult, ...]
    rounds: int
    stopped: StopReason | None
    conditions: Conditions | None = None


class Tally:
    """The events of one comparison, as far as they count; both the session and a reader of its file keep one."""

    def __init__(self, comparison: Comparison) -> None:
        self.comparison = comparison
        self._reset()

    def _reset(self) -> None:
        self.prepared: dict[int, CellPrepared] = {}
        self.failures: dict[int, Failure] = {}
        self.numbers: dict[int, NumbersChecked] = {}
        self.explained: dict[int, Explained] = {}
        self.rounds: list[dict[int, Lap]] = []
        self.stopped: StopReason | None = None
        self.conditions: Conditions | None = None

    def add(self, event: Event) -> None:
        """Take in one event of this comparison."""
        match event:
            case ComparisonStarted():
                self._reset()
            case CellPrepared(cell=cell):
                self.prepared[cell] = event
            case NumbersChecked(cell=cell):
                self.numbers[cell] = event
            case Explained(cell=cell):
                self.explained[cell] = event
            case Failure(cell=cell):
                self.failures[cell] = event
            case Round(laps=laps):
                self.rounds.append({lap.cell: lap for lap in laps})
            case Conditions():
                self.conditions = event
            case ComparisonFinished(reason=reason):
                self.stopped = reason
            case _:
                pass

    def living(self) -> list[int]:
        """The cells that are prepared and have not failed, in the plan's order."""
        return [
            cell for cell in range(len(self.comparison.cells)) if cell in self.prepared and cell not in self.failures
        ]

    def throughputs(self, cell: int, beside: int | None = None) -> list[float]:
        """Images a second of the cell's laps; with `beside`, only of the rounds in which that cell has a lap too."""
        batch = self.comparison.cells[cell].workload.batch
        laps = [laps[cell] for laps in self.rounds if cell in laps and (beside is None or beside in laps)]
        return [images_per_second(lap, batch) for lap in laps]

    def ratios(self, cell: int) -> list[float]:
        """The cell's throughput over the baseline's, a round each."""
        pairs = zip(self.throughputs(cell, beside=0), self.throughputs(0, beside=cell), strict=True)
        return [mine / baseline for mine, baseline in pairs]

    def series(self) -> list[list[float]]:
        """Every quantity whose interval must be narrow enough: the living cells' throughputs and speed-ups."""
        living = self.living()
        ratios = [self.ratios(cell) for cell in living if cell != 0 and 0 in living]
        return [self.throughputs(cell) for cell in living] + ratios

    def result(self, confidence: float) -> ComparisonResult:
        """The figures, with intervals at `confidence`."""
        cells = tuple(self._cell(number, confidence) for number in range(len(self.comparison.cells)))
        return ComparisonResult(cells, len(self.rounds), self.stopped, self.conditions)

    def _cell(self, number: int, confidence: float) -> CellResult:
        failure = self.failures.get(number)
        laps = self.throughputs(number)
        shown = failure is None or failure.kind == "not_finite"  # of those there is a figure, but a void one
        throughput = lap_interval(laps, confidence) if shown and len(laps) >= TWO else None
        speed_up = None
        if number != 0 and throughput and 0 not in self.failures and len(self.ratios(number)) >= TWO:
            mine, baseline = self.throughputs(number, beside=0), self.throughputs(0, beside=number)
            speed_up = paired_ratio(mine, baseline, confidence)
        return CellResult(
            cell=self.comparison.cells[number],
            is_baseline=number == 0,
            prepared=self.prepared.get(number),
            laps=tuple(laps[number] for laps in self.rounds if number in laps),
            ratios=tuple(self.ratios(number)) if number != 0 else (),
            throughput=throughput,
            speed_up=speed_up,
            failure=failure,
            numbers=self.numbers.get(number),
            explained=self.explained.get(number),
        )


def tally(run: Run) -> list[Tally]:
    """Sort a run's events by comparison, in the plan's order."""
    tallies = [Tally(comparison) for comparison in run.header.plan.comparisons]
    for event in run.events:
        number = getattr(event, "comparison", None)
        if number is not None:
            tallies[number].add(event)
    return tallies


def figures(run: Run) -> tuple[ComparisonResult, ...]:
    """All figures of a run, in the plan's order."""
    return tuple(each.result(run.header.plan.confidence) for each in tally(run))


def watched(cell: CellResult) -> Watched | None:
    """How the host kept ahead of the device; None where there is no device beside the host, or where that is not known.

    The loss scaling of fp16 waits for the gradients before the optimizer's step, unless the optimizer is fused: then
    enqueuing takes as long as the step whatever the host does.
    """
    recipe = cell.cell.recipe
    waits = recipe.precision == "fp16" and cell.cell.workload.phase == "train" and not recipe.fused
    if cell.prepared is None or cell.cell.device == "cpu" or waits:
        return None
    return cell.prepared.watched


def peaks(run: Run) -> dict[str, PeaksMeasured]:
    """What each device was seen to reach, by its name; a later look adds precisions to an earlier one's."""
    seen: dict[str, PeaksMeasured] = {}
    for event in run.events:
        if isinstance(event, PeaksMeasured):
            before = seen.get(event.device, event)
            seen[event.device] = replace(
                before,
                flops=before.flops | event.flops,
                copy_bytes=before.copy_bytes or event.copy_bytes,
                operator_seconds=before.operator_seconds or event.operator_seconds,
                refused=before.refused | event.refused,
            )
    return seen
