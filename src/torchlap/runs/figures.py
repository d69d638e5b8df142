"""From raw laps to figures: every number that is ever shown is computed here, from the events of a run file."""

from array import array
from collections.abc import Iterable, Iterator, Sequence
from statistics import median

from msgspec import Struct
from msgspec.structs import replace

from torchlap.runs.energy import Energy, MeteredTurn, energy_of
from torchlap.runs.starts import LEAST_STARTS, by_start, center, ratio_interval, start_interval
from torchlap.runs.turns import Turns
from torchlap.schema.breakdown import Breakdown, Peaks
from torchlap.schema.energy import IdlePower, TurnEnergy
from torchlap.schema.events import (
    BreakdownMeasured,
    CellPrepared,
    ClockJumped,
    Conditions,
    Event,
    Failure,
    GroupFinished,
    GroupStarted,
    IdleMeasured,
    Lap,
    NumericsChecked,
    PeaksMeasured,
    Preparation,
    Round,
    Run,
    StopReason,
    Watched,
)
from torchlap.schema.numerics import Numerics
from torchlap.schema.tuning import CandidateAdded, CodeRun, Trajectory, TrajectoryFollowed
from torchlap.schema.workload import Cell, Group
from torchlap.stats import Interval, Ratio, mean_interval, turn_interval

SLOW_STEPS, SLOW_STEP_LAPS = 1.02, 8
"""Rare slow steps count if the figure without them is this many times as large; in fewer laps they may be chance."""

LEAST_LAPS = 2
"""A figure needs a spread, and a spread needs two laps."""


def items_per_second(lap: Lap, batch: int) -> float:
    """The throughput of a lap of steps of that batch."""
    return (lap.items or batch * lap.steps) / lap.seconds


def turn_items_per_second(laps: Sequence[Lap], batch: int) -> float:
    """The throughput of several laps together: all items over all seconds."""
    if len(laps) == 1:
        return items_per_second(laps[0], batch)
    return sum(lap.items or batch * lap.steps for lap in laps) / sum(lap.seconds for lap in laps)


class Build(Struct, frozen=True):
    """A cell as it was built once: how it was warmed up, and the laps that it ran then."""

    preparation: Preparation
    laps: tuple[Lap, ...]


class CellResult(Struct, frozen=True, kw_only=True):
    """What is known about one cell.

    Attributes:
        prepared: how it was warmed up the first time; a cell may be built more than once in a run.
        builds: its laps, by the builds that ran them; each build restarts the training.
        slow_steps: how many times as fast the steps are without the rare slow ones; 1.0 if those do not matter.
        speeds: items a second of each lap.
        clock_jumps: turns in which the machine slept or its clock was set; their laps are not among `laps`.
        ratios: the speed-up of each round.
        ratio_starts: the start of the workers that each of them belongs to; `speed_starts`, that of each lap. Both are
            empty where the workers were started only once.
        throughput: items a second; the workload names the unit.
        speed_up: over the group's baseline.
        energy: None if it was not requested, or no meter was read.
    """

    cell: Cell
    is_baseline: bool
    prepared: Preparation | None
    laps: tuple[Lap, ...]
    ratios: tuple[float, ...]
    throughput: Interval | None
    speed_up: Ratio | None
    failure: Failure | None
    numerics: Numerics | None = None
    breakdown: Breakdown | None = None
    builds: tuple[Build, ...] = ()
    slow_steps: float = 1.0
    energy: Energy | None = None
    speeds: tuple[float, ...] = ()
    ratio_starts: tuple[int, ...] = ()
    speed_starts: tuple[int, ...] = ()
    clock_jumps: tuple[ClockJumped, ...] = ()

    @property
    def estimate(self) -> float | None:
        """Items a second, also where a single lap leaves it without an interval; None for a cell without a figure."""
        if self.throughput is not None:
            return self.throughput.value
        return median(self.speeds) if self.speeds and self.failure is None else None


class GroupResult(Struct, frozen=True):
    """What is known about the cells of a group, in the plan's order; `stopped` is None while it is being measured."""

    cells: tuple[CellResult, ...]
    rounds: int
    stopped: StopReason | None
    conditions: Conditions | None = None


class Tally:
    """The events of one group, as far as they count; the session keeps one, and so does a reader of its file."""

    def __init__(self, group: Group) -> None:
        self.group = group
        self.candidates: dict[int, CandidateAdded] = {}
        """Cells that joined the group after it was planned, by their number."""
        self.trajectories: dict[int, list[Trajectory]] = {}
        self.codes: dict[int, CodeRun] = {}
        self._reset()

    def _reset(self) -> None:
        self.prepared: dict[int, Preparation] = {}
        self.builds: dict[int, list[tuple[Preparation, int]]] = {}
        """Each preparation of a cell, and how many laps the cell had then."""
        self.failures: dict[int, Failure] = {}
        self.numerics: dict[int, Numerics] = {}
        self.breakdowns: dict[int, Breakdown] = {}
        self.clock_jumps: list[ClockJumped] = []
        self.rounds = 0
        self.starts = array("q")
        """The start of each round."""
        self.turns: dict[int, Turns] = {}
        """Those of each cell."""
        self.energy: dict[int, list[MeteredTurn]] = {}
        """What the meter counted in each turn of each cell."""
        self.stopped: StopReason | None = None
        self.conditions: Conditions | None = None

    def add(self, event: Event) -> None:
        """Take in one event of this group."""
        match event:
            case Round(laps=laps, energy=energy, start=start):  # first: almost all events are rounds
                self.starts.append(start)
                self._add_round(laps, energy)
            case GroupStarted(fresh=fresh):
                if fresh:
                    self._reset()
            case CellPrepared(cell=cell, preparation=preparation):
                self.prepared.setdefault(cell, preparation)
                self.builds.setdefault(cell, []).append((preparation, self._turns(cell).laps))
            case NumericsChecked(cell=cell, numerics=numerics):
                self.numerics[cell] = numerics
            case BreakdownMeasured(cell=cell, breakdown=breakdown):
                self.breakdowns[cell] = breakdown
            case Failure(cell=cell):
                self.failures[cell] = event
            case _:
                self._add_of_group(event)

    def _add_of_group(self, event: Event) -> None:
        """Take in one event about several cells, or about when they ran."""
        match event:
            case ClockJumped():
                self.clock_jumps.append(event)
            case Conditions():
                self.conditions = event
            case GroupFinished(reason=reason):
                self.stopped = reason
            case _:
                self._add_of_tuning(event)

    def _add_of_tuning(self, event: Event) -> None:
        match event:
            case CandidateAdded(added=added):
                self.candidates[len(self.group.cells)] = event
                self.group = Group((*self.group.cells, added))
            case TrajectoryFollowed(cell=cell, trajectory=trajectory):
                self.trajectories.setdefault(cell, []).append(trajectory)
            case CodeRun(cell=cell):
                self.codes[cell] = event
            case _:
                pass

    def _add_round(self, laps: Iterable[Lap], energy: Iterable[TurnEnergy]) -> None:
        by_cell: dict[int, list[Lap]] = {}
        for lap in laps:
            by_cell.setdefault(lap.cell, []).append(lap)
        for cell, turn in by_cell.items():
            if cell not in self.turns:
                self.turns[cell] = Turns()
            self.turns[cell].add(self.rounds, tuple(turn))
        self.rounds += 1
        for used in energy:
            batch = self.group.cells[used.cell].workload.batch
            items = sum(lap.items or batch * lap.steps for lap in by_cell.get(used.cell, ()))
            metered = MeteredTurn(used.joules, used.seconds, items)
            self.energy.setdefault(used.cell, []).append(metered)

    def paired_turns(self, cell: int, other: int) -> Iterable[tuple[Sequence[Lap], Sequence[Lap]]]:
        """The laps of two cells' turns, in each round in which both have one."""
        return self._turns(cell).beside(self._turns(other))

    def _turns(self, cell: int) -> "Turns":
        return self.turns.get(cell) or Turns()

    def living(self) -> list[int]:
        """The cells that are prepared and have not failed, in the plan's order."""
        return [cell for cell in range(len(self.group.cells)) if cell in self.prepared and cell not in self.failures]

    def laps(self, cell: int) -> list[Lap]:
        """The cell's laps, in the order of time."""
        return [lap for turn in self._turns(cell).of_round for lap in turn]

    def throughputs(self, cell: int) -> list[list[float]]:
        """Items a second of the cell's laps, turn by turn."""
        batch = self.group.cells[cell].workload.batch
        return [[items_per_second(lap, batch) for lap in turn] for turn in self._turns(cell).of_round]

    def ratios(self, cell: int) -> list[float]:
        """The cell's throughput divided by the baseline's, one value for each round in which both have a turn."""
        return self.ratios_over(cell, 0)

    def ratios_over(self, cell: int, other: int) -> list[float]:
        """The cell's throughput divided by another's, one value for each round in which both have a turn."""
        batch, of_other = self.group.cells[cell].workload.batch, self.group.cells[other].workload.batch
        return [
            turn_items_per_second(turn, batch) / turn_items_per_second(first, of_other)
            for turn, first in self.paired_turns(cell, other)
        ]

    def series(self, cells: Sequence[int] | None = None) -> list[list[list[float]]]:
        """Every quantity whose interval must be narrow enough: throughputs and speed-ups of the living cells, in turns.

        Those since the workers were last started: each start is measured by itself.

        Args:
            cells: only of these.
        """
        cells = self.living() if cells is None else cells
        others = [cell for cell in cells if cell != 0 and 0 in cells]
        throughputs = [(self._turns(cell).numbers, self.throughputs(cell)) for cell in cells]
        ratios = [(self._paired_rounds(cell), [[ratio] for ratio in self.ratios(cell)]) for cell in others]
        return [self._latest(rounds, values) for rounds, values in (*throughputs, *ratios)]

    def _latest(self, rounds: Iterable[int], values: list[list[float]]) -> list[list[float]]:
        """Values of rounds, as far as they are from the last start."""
        starts = self._starts_of(rounds)
        if not starts:
            return values
        return [value for start, value in zip(starts, values, strict=True) if start == self.starts[-1]]

    def _starts_of(self, rounds: Iterable[int]) -> list[int]:
        """The start of each of these rounds; empty where the workers were started only once."""
        several = bool(self.starts) and self.starts[0] != self.starts[-1]
        return [self.starts[number] for number in rounds] if several else []

    def _paired_rounds(self, cell: int) -> Iterable[int]:
        """The rounds of a cell's speed-ups."""
        return self._turns(cell).rounds_beside(self._turns(0))

    def result(self, confidence: float, *, speed_ups: bool = True) -> GroupResult:
        """The figures, with intervals at `confidence`; without speed-ups it takes two thirds of the time."""
        cells = tuple(self._cell(number, confidence, speed_ups) for number in range(len(self.group.cells)))
        return GroupResult(cells, self.rounds, self.stopped, self.conditions)

    def _cell(self, number: int, confidence: float, speed_ups: bool) -> CellResult:  # noqa: FBT001  of result
        failure = self.failures.get(number)
        turns, laps = self.throughputs(number), self.laps(number)
        has_figure = failure is None or failure.kind == "not_finite"  # a void figure is shown, and marked
        throughput, slow_steps = None, 1.0
        turn_starts = self._starts_of(self._turns(number).numbers)
        starts = [start for start, turn in zip(turn_starts, turns, strict=True) for _ in turn] if turn_starts else []
        if has_figure and len(laps) >= LEAST_LAPS:
            batch = self.group.cells[number].workload.batch
            throughput, slow_steps = _throughput(turns, laps, batch, confidence, starts)
        speed_up = None
        ratios = self.ratios(number) if number != 0 and speed_ups else []
        ratio_starts = self._starts_of(self._paired_rounds(number)) if ratios else []
        if throughput and 0 not in self.failures and len(ratios) >= LEAST_LAPS:
            speed_up = ratio_interval(ratios, ratio_starts, confidence)
        return CellResult(
            cell=self.group.cells[number],
            is_baseline=number == 0,
            prepared=self.prepared.get(number),
            laps=tuple(laps),
            ratios=tuple(ratios),
            throughput=throughput,
            speed_up=speed_up,
            failure=failure,
            numerics=self.numerics.get(number),
            breakdown=self.breakdowns.get(number),
            builds=tuple(self._builds(number, laps)),
            slow_steps=slow_steps,
            energy=energy_of(self.energy.get(number, ()), confidence) if has_figure else None,
            speeds=tuple(speed for turn in turns for speed in turn),
            ratio_starts=tuple(ratio_starts),
            speed_starts=tuple(starts),
            clock_jumps=tuple(jump for jump in self.clock_jumps if jump.cell == number),
        )

    def _builds(self, number: int, laps: list[Lap]) -> Iterator[Build]:
        starts = self.builds.get(number, [])
        ends = [start for _, start in starts[1:]] + [len(laps)][: len(starts)]
        for (preparation, start), end in zip(starts, ends, strict=True):
            yield Build(preparation, tuple(laps[start:end]))


def _throughput(
    turns: list[list[float]], laps: Sequence[Lap], batch: int, confidence: float, starts: Sequence[int]
) -> tuple[Interval, float]:
    """The throughput, and how many times as fast the steps are without the rare slow ones.

    The usual estimate discards laps that something disturbed. Where that is the step itself, as with a validation or a
    checkpoint every so many steps, it belongs to the figure: then all items over all seconds are the figure. Several
    starts of the workers count as the independent values; `starts` has that of each lap.
    """
    robust = turn_interval(turns, confidence)
    overall = turn_items_per_second(laps, batch)
    factor = robust.value / overall
    is_usual = len(laps) < SLOW_STEP_LAPS or factor < SLOW_STEPS
    parts = by_start(starts, laps) if starts else []
    if len(parts) >= LEAST_STARTS:
        centers = [
            center([items_per_second(lap, batch) for lap in part]) if is_usual else turn_items_per_second(part, batch)
            for part in parts
        ]
        return start_interval(centers, len(laps), confidence), 1.0 if is_usual else factor
    if is_usual:
        return robust, 1.0
    return mean_interval([value for turn in turns for value in turn], overall, confidence), factor


def tally(run: Run) -> list[Tally]:
    """Sort a run's events by group, in the plan's order."""
    tallies = [Tally(group) for group in run.header.plan.groups]
    for event in run.events:
        number = getattr(event, "group", None)
        if number is not None:
            tallies[number].add(event)
    return tallies


def figures(run: Run, *, speed_ups: bool = True) -> tuple[GroupResult, ...]:
    """All figures of a run, in the plan's order; with or without speed-ups."""
    return tuple(group.result(run.header.plan.confidence, speed_ups=speed_ups) for group in tally(run))


def cells(groups: Sequence[GroupResult]) -> Iterator[CellResult]:
    """The cells of all groups, in order."""
    for group in groups:
        yield from group.cells


def watched(cell: CellResult) -> Watched | None:
    """How far the host kept ahead of the device; None where there is no device beside the host, or it is not known.

    The loss scaling of fp16 waits for the gradients before the optimizer's step, unless the optimizer is fused: then
    enqueuing takes as long as the step, whatever the host does.
    """
    recipe = cell.cell.recipe
    waits = recipe.precision == "fp16" and cell.cell.workload.phase == "train" and not recipe.fused
    if cell.prepared is None or cell.cell.device.endswith("cpu") or waits:
        return None
    return cell.prepared.watched


def idle(run: Run) -> dict[str, IdlePower]:
    """What the meter of each device counted while nothing ran, by the device's name."""
    return {event.idle.device: event.idle for event in run.events if isinstance(event, IdleMeasured)}


def peaks(run: Run) -> dict[str, Peaks]:
    """The rates that each device was measured to reach, by its name; later measurements add to earlier ones."""
    reached: dict[str, Peaks] = {}
    for event in run.events:
        if isinstance(event, PeaksMeasured):
            later = event.peaks
            earlier = reached.get(later.device, later)
            reached[later.device] = replace(
                earlier,
                flops=earlier.flops | later.flops,
                copy_bytes=earlier.copy_bytes or later.copy_bytes,
                operator_seconds=earlier.operator_seconds or later.operator_seconds,
                refused=earlier.refused | later.refused,
            )
    return reached
