"""How the budget is divided: which group is next, how long it may take, how long a lap is. Arithmetic only."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from math import ceil
from statistics import median
from typing import NamedTuple

from msgspec import Struct

from torchlap.runs.figures import Tally
from torchlap.schema.events import Lap
from torchlap.schema.recipe import Recipe
from torchlap.schema.workload import Cell, has_own_batch
from torchlap.stats import next_look

LAP_SECONDS = 0.05
"""No lap is shorter, so that the clock and the synchronization do not matter."""

TURN_SECONDS = 2.0
"""A cell without partners laps this long in a row, then the display is brought up to date."""

LONGEST_STEP_SECONDS = 0.5
"""A longer step is its own lead-in."""

WATCHED_STEPS, WATCHED_SECONDS, ENOUGH_SECONDS = 1000, 5.0, 10.0
"""A user's model or a loader that has lapped for fewer steps and less time may have slow steps so rare that none was
seen, such as a validation or a checkpoint. Time that is left goes there when all intervals are narrow."""

METER_SECONDS, METERED_TURN_SECONDS = 0.1, 0.5
"""Drivers update their energy counters about ten times a second. A device that has worked for that long before a turn
has the same power before the turn as in it, so that a counter which lags behind at both ends by chance has the right
energy on average. In a turn of half a second the lag is a small part."""

ENOUGH_METERED_SECONDS = 5.0
"""In turns of half a second whose ends are known to within a tenth of one, the energy is then known to about 3 %."""

MOST_EXTRA_STEPS = 8
SYNCHRONIZE_SHARE = 0.01
"""The closing synchronization may take this share of a lap."""

WARM_UP_SHARE, WARM_UP_FLOOR = 0.4, 0.05
"""The warm-up of all cells of a group may take this part of the group's share, or of everything that is left."""

BATCH_POWER = 0.25
"""Larger batches get more time, but not in proportion: their laps are longer, so fewer are needed."""

LEAST_FREE_CORES, LEAST_COMPILER_CORES, MANY_COMPILERS = 4, 2, 2

LEAST_STEPS = 3
"""The least that a figure needs: one step to warm up, and two laps of one step."""


class StepTime(Struct, frozen=True):
    """Seconds of a step, and of its part that does not grow with the batch: the optimizer's update."""

    seconds: float
    fixed: float = 0.0

    def at(self, factor: float) -> float:
        """Seconds at a batch `factor` times as large, linear except for the fixed part: too long rather than short."""
        fixed = min(self.fixed, self.seconds)
        return fixed + (self.seconds - fixed) * max(1.0, factor)


class Pending(Struct, frozen=True):
    """A group that is still to be measured.

    Attributes:
        step_seconds: a round of single steps, where that can be estimated.
        start_seconds: preparing its cells, without their warm-up.
        expected_seconds: the same, where a cell that is not known counts as much as other models do.
    """

    number: int
    batch: int
    step_seconds: float | None
    start_seconds: float = 0.0
    expected_seconds: float = 0.0

    @property
    def least_seconds(self) -> float:
        """The least that it takes, as far as that is known."""
        return self.start_seconds + LEAST_STEPS * max(self.step_seconds or 0.0, self.expected_seconds)


class Estimates:
    """What steps are expected to take, from the step times of other cells of the same run.

    A step is at most linear in the batch. How much of that larger batches really took, on a device so far, counts for
    its other models, too.

    Args:
        known: step times of measured cells.
    """

    def __init__(self, known: Mapping[Cell, StepTime]) -> None:
        self._steps: dict[Variant, dict[int, StepTime]] = {}
        for cell, step in known.items():
            self._steps.setdefault(_variant(cell), {})[cell.workload.batch] = step
        self._growth: dict[str, float] = {}
        for variant, steps in self._steps.items():
            for growth in _growth(steps):
                self._growth[variant.device] = min(1.0, max(self._growth.get(variant.device, 0.0), growth))

    def of(self, cell: Cell) -> float | None:
        """The expected seconds of a cell's step, from the nearest batch of the same cell; None if there is none."""
        steps = self._steps.get(_variant(cell))
        return self._at(steps, cell) if steps else None

    def typical(self, cell: Cell) -> float | None:
        """The median of what a device's measured models take at the cell's batch; None if there are none."""
        others = [self._at(steps, cell) for variant, steps in self._steps.items() if variant.device == cell.device]
        return median(others) if others else None

    def _at(self, steps: Mapping[int, StepTime], cell: Cell) -> float:
        nearest = min(steps, key=lambda batch: abs(batch - cell.workload.batch))
        linear = steps[nearest].at(cell.workload.batch / nearest)
        if cell.workload.batch <= nearest:
            return linear
        return max(steps[nearest].seconds, self._growth.get(cell.device, 1.0) * linear)


class Variant(NamedTuple):
    """What has step times at several batches."""

    model: str
    phase: str
    recipe: Recipe
    device: str
    arm: str


def _variant(cell: Cell) -> Variant:
    return Variant(cell.workload.model, cell.workload.phase, cell.recipe, cell.device, cell.arm)


def _growth(steps: Mapping[int, StepTime]) -> Iterator[float]:
    """From each batch to the next: the seconds of a step, divided by what they would be if they were linear."""
    for small, large in pairwise(sorted(steps)):
        if linear := steps[small].at(large / small):
            yield steps[large].seconds / linear


def pending(number: int, cells: Sequence[Cell], estimates: Estimates, starts: Sequence[float] = ()) -> Pending:
    """Describe a group by what is known so far: its cells' step times, and how long other groups took to start."""
    known = [step for step in map(estimates.of, cells) if step is not None]
    expected = [estimates.of(cell) or estimates.typical(cell) or 0.0 for cell in cells]
    return Pending(
        number=number,
        batch=max(cell.workload.batch for cell in cells),
        step_seconds=sum(known) if known else None,
        start_seconds=median(starts) if starts else 0.0,
        expected_seconds=sum(expected),
    )


def next_up(waiting: Sequence[Pending]) -> Pending:
    """Small batches first, because they show what large ones cost; then the cheapest, so that most get a figure."""
    return min(waiting, key=lambda group: (group.batch, group.step_seconds or 0.0, group.number))


def share(chosen: Pending, waiting: Sequence[Pending], left_seconds: float) -> float:
    """Seconds that a group may take of what is left for all that wait, itself included.

    The least that the others need is reserved where it fits; the rest is divided by a slow function of the batch.
    """
    reserved, weight = 0.0, 0.0
    for group in sorted(waiting, key=lambda group: group.least_seconds):
        if group is chosen or reserved + group.least_seconds <= left_seconds:
            reserved += group.least_seconds
            weight += _weight(group)
    spare = max(0.0, left_seconds - reserved)
    return min(left_seconds, chosen.least_seconds + spare * _weight(chosen) / weight)


def _weight(group: Pending) -> float:
    return float(group.batch**BATCH_POWER)


def warm_up_seconds(share_seconds: float, left_seconds: float, cells: int) -> float:
    """How long each cell of a group may warm up, after its first step."""
    return max(WARM_UP_SHARE * share_seconds, WARM_UP_FLOOR * left_seconds) / cells


def cores_apart(cores: Sequence[int], processes: int) -> list[list[int]]:
    """Cores for each of so many processes that must not disturb a measurement; empty if there are too few.

    A quarter of the cores, and at least four, stay free for the measurement.
    """
    free = list(cores)[max(LEAST_FREE_CORES, len(cores) // 4) :]
    if not processes or len(free) < LEAST_COMPILER_CORES * min(processes, MANY_COMPILERS):
        return []
    each = max(LEAST_COMPILER_CORES, len(free) // processes)
    slices = [free[start : start + each] for start in range(0, len(free) - each + 1, each)]
    return [slices[number % len(slices)] for number in range(processes)]


def is_hopeless(step_seconds: float | None, left_seconds: float) -> bool:
    """Whether a cell's first step is not worth starting: a figure needs `LEAST_STEPS`, but estimates are too long."""
    return left_seconds <= 0 or (step_seconds is not None and step_seconds > left_seconds)


def lap_steps(step_seconds: float, synchronize_seconds: float) -> int:
    """Steps of a cell's lap: enough to trust the clock.

    Args:
        step_seconds: of this cell.
        synchronize_seconds: of a synchronization when the device is idle.
    """
    return max(1, ceil(max(LAP_SECONDS, synchronize_seconds / SYNCHRONIZE_SHARE) / step_seconds))


def turn_laps(count: int, lap_seconds: float, longest_seconds: float) -> int:
    """Laps of a cell's next turn: up to the next check of its interval, as far as they fit.

    Args:
        count: of the cell's laps so far.
        lap_seconds: of this cell.
        longest_seconds: of the turn: a lap of the slowest partner, or what is left up to `TURN_SECONDS`.
    """
    return max(1, min(next_look(count) - count, int(longest_seconds / lap_seconds)))


def metered_laps(laps: int, lap_seconds: float) -> int:
    """Laps of a cell's turn during which the device's energy meter is read: no fewer than fill such a turn."""
    return max(laps, ceil(METERED_TURN_SECONDS / lap_seconds))


def metered_lead_in(lead_in: int, step_seconds: float) -> int:
    """Untimed steps before such a turn."""
    return max(lead_in, ceil(METER_SECONDS / step_seconds))


def lead_in_steps(step_seconds: float, steps: int, chance: float) -> int:
    """Untimed steps before a turn: they bring the device's clock and caches back after the other cells' turns.

    They take `LAP_SECONDS`, or are one step; a step of over `LONGEST_STEP_SECONDS` does not need any. Without them,
    steps of 0.1 s came out 2 to 4 % slower than in torch.utils.benchmark.Timer, which has its own lead-in. Up to
    `MOST_EXTRA_STEPS` more are drawn by chance: a step whose cost has a period must not always start in one phase.

    Args:
        step_seconds: of this cell.
        steps: of its lap.
        chance: a random number from 0 to 1, without 1.
    """
    if step_seconds >= LONGEST_STEP_SECONDS:
        return 0
    return min(steps, ceil(LAP_SECONDS / step_seconds)) + int(chance * (1 + min(steps, MOST_EXTRA_STEPS)))


def are_watched(tally: Tally, positions: Sequence[int]) -> bool:
    """Whether those cells of a group have lapped long enough to see rare slow steps, if they may have any."""
    return all(_is_watched(tally.group.cells[position], tally.laps(position)) for position in positions)


def _is_watched(cell: Cell, laps: Sequence[Lap]) -> bool:
    if not has_own_batch(cell.workload.model) and cell.recipe.workers is None:
        return True
    steps, seconds = sum(lap.steps for lap in laps), sum(lap.seconds for lap in laps)
    return seconds >= ENOUGH_SECONDS or (steps >= WATCHED_STEPS and seconds >= WATCHED_SECONDS)


def are_metered(tally: Tally, positions: Sequence[int]) -> bool:
    """Whether the energy meter was read long enough for those cells of a group that have one."""
    used = [tally.energy[position] for position in positions if position in tally.energy]
    return all(sum(turn.seconds for turn in turns) >= ENOUGH_METERED_SECONDS for turns in used)


def turn_order(cells: Sequence[int], round_number: int) -> list[int]:
    """The order of a round: A B, B A, A B ..., so that a trend affects all cells equally."""
    return list(cells) if round_number % 2 == 0 else list(reversed(cells))
