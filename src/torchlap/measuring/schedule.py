"""How the budget is shared out: which comparison is next, how long it may take, how long a lap is. Arithmetic only."""

from collections.abc import Mapping, Sequence
from math import ceil
from statistics import median

from msgspec import Struct

from torchlap.schema.workload import Cell, Group

LAP_SECONDS = 0.05
"""No lap is shorter: the clock and the synchronisation must not count."""

LONGEST_LAP_SECONDS = 0.5
LAP_SHARE = 0.1
"""A fast cell beside a slow one gets longer laps, as long as they stay under a tenth of the slow one's step."""

SYNCHRONIZE_SHARE = 0.01
"""The closing synchronisation may cost this share of a lap."""

FAIR_ROUNDS = 8
"""With so many, one disturbed lap does not decide the interval."""

OVERRUN = 0.1
"""To reach rounds enough for a fair interval, a comparison may overrun its share by this part of what is left."""

WARM_UP_SHARE, WARM_UP_FLOOR = 0.4, 0.05
"""The warm-up of all cells of a comparison may take this part of its share, or of all that is left."""

BATCH_POWER = 0.25
"""Larger batches get more time, but not in proportion: their laps are longer, and fewer tell as much."""

LEAST_STEPS = 3
"""What a figure costs at least: one step to warm up, and two laps of one step."""

HOPELESS = 3
"""A first step expected to take this many times what is left is not tried: the expectation is linear in the batch,
which small batches make too long, so less is worth a try."""


class StepTime(Struct, frozen=True):
    """Seconds of a step, and of the part of it that does not grow with the batch: the optimizer's update."""

    seconds: float
    fixed: float = 0.0

    def at(self, factor: float) -> float:
        """Seconds at a batch so many times larger: linear but for the fixed part, so rather too long than too short."""
        fixed = min(self.fixed, self.seconds)
        return fixed + (self.seconds - fixed) * max(1.0, factor)


class Pending(Struct, frozen=True):
    """A comparison still to be measured.

    `step_seconds` is its round of single steps, where that can be estimated; `start_seconds` what it takes to get its
    cells ready.
    """

    number: int
    batch: int
    step_seconds: float | None
    start_seconds: float = 0.0

    @property
    def least_seconds(self) -> float:
        """What it takes at least, as far as that is known."""
        return self.start_seconds + LEAST_STEPS * (self.step_seconds or 0.0)


def estimate_step(cell: Cell, known: Mapping[Cell, StepTime]) -> float | None:
    """Seconds a step is expected to take, from the nearest batch of the same cell.

    Args:
        cell: whose step is asked for.
        known: the time of a step, by cells measured in the same run.
    """

    def same(other: Cell) -> bool:
        mine, its = cell.workload, other.workload
        return (mine.model, mine.phase, cell.recipe, cell.device) == (its.model, its.phase, other.recipe, other.device)

    kin = [other for other in known if same(other)]
    if not kin:
        return None
    nearest = min(kin, key=lambda other: abs(other.workload.batch - cell.workload.batch))
    return known[nearest].at(cell.workload.batch / nearest.workload.batch)


def pending(number: int, group: Group, known: Mapping[Cell, StepTime], starts: Sequence[float] = ()) -> Pending:
    """Describe a comparison by what is known so far: of its cells' steps, and of how long others took to start."""
    steps = [estimate_step(cell, known) for cell in group.cells]
    seen = [step for step in steps if step is not None]
    batch = max(cell.workload.batch for cell in group.cells)
    return Pending(number, batch, sum(seen) if seen else None, median(starts) if starts else 0.0)


def next_up(waiting: Sequence[Pending]) -> Pending:
    """Small batches first, for they tell what large ones will cost; then the cheapest, so that most get a figure."""
    return min(waiting, key=lambda one: (one.batch, one.step_seconds or 0.0, one.number))


def share(mine: Pending, waiting: Sequence[Pending], left_seconds: float) -> float:
    """Seconds that a comparison may take, of what is left for all that wait (itself among them).

    What the others need at least is kept for them where it fits; the rest is shared by a slow function of the batch.
    """
    reserved, weight = 0.0, 0.0
    for one in sorted(waiting, key=lambda other: other.least_seconds):
        if one is mine or reserved + one.least_seconds <= left_seconds:
            reserved += one.least_seconds
            weight += _weight(one)
    spare = max(0.0, left_seconds - reserved)
    return min(left_seconds, mine.least_seconds + spare * _weight(mine) / weight)


def _weight(one: Pending) -> float:
    return float(one.batch**BATCH_POWER)


def warm_up_seconds(share_seconds: float, left_seconds: float, cells: int) -> float:
    """How long each of a comparison's cells may warm up, after its first step."""
    return max(WARM_UP_SHARE * share_seconds, WARM_UP_FLOOR * left_seconds) / cells


def is_hopeless(step_seconds: float | None, left_seconds: float) -> bool:
    """Tell whether a cell's first step is not worth starting."""
    return left_seconds <= 0 or (step_seconds is not None and step_seconds > HOPELESS * left_seconds)


def lap_steps(step_seconds: float, synchronize_seconds: float, slowest_step_seconds: float) -> int:
    """How many steps make a lap of a cell: long enough to trust the clock, short enough not to slow the rounds.

    Args:
        step_seconds: of this cell.
        synchronize_seconds: what a synchronisation costs when the device is idle.
        slowest_step_seconds: of the slowest cell that it takes turns with.
    """
    wanted = min(max(LAP_SECONDS, LAP_SHARE * slowest_step_seconds), LONGEST_LAP_SECONDS)
    wanted = max(wanted, synchronize_seconds / SYNCHRONIZE_SHARE)
    return max(1, ceil(wanted / step_seconds))


def lead_in_steps(step_seconds: float, steps: int) -> int:
    """Steps before the clock starts: they bring clocks and caches back after the other cells' turns.

    They take `LAP_SECONDS`, or are one step; a step of over `LONGEST_LAP_SECONDS` hardly feels the cold. Without them
    steps of 0.1 s came out 2 to 4 % too slow beside torch.utils.benchmark.Timer, which has a lead-in of its own.
    """
    return 0 if step_seconds >= LONGEST_LAP_SECONDS else min(steps, ceil(LAP_SECONDS / step_seconds))


def turn_order(cells: Sequence[int], round_number: int) -> list[int]:
    """A B, B A, A B ...: the order of a round, so that a trend hits all alike."""
    return list(cells) if round_number % 2 == 0 else list(reversed(cells))
