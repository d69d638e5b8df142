"""Other batches, where the training may change: the same one in parts, then larger ones."""

from msgspec.structs import replace

from torchlap.measuring.context import Context
from torchlap.measuring.tune.candidates import accumulated
from torchlap.measuring.tune.climb import LEAST_RACE_SECONDS, Climb
from torchlap.measuring.tune.looks import explain
from torchlap.measuring.tune.race import Races
from torchlap.runs.tuning import best, out_of_race, standing

LARGEST_FACTOR = 64
"""By which the batch grows at most."""

PARTS = (2, 4)
"""Into which the batch is divided for accumulation, as long as that is faster."""


def race_batches(context: Context, climb: Climb, races: Races, start: int) -> int:
    """Race other batches over a candidate; the number of the fastest, or of the start."""
    _divide(context, climb, start)
    _double(context, climb, races, start)
    return best(climb.tally, "training", start)


def _divide(context: Context, climb: Climb, start: int) -> None:
    """Divide the batch into parts, as long as that is faster."""
    over = start
    for parts in PARTS:
        divided = accumulated(climb.tally.group.cells[start], parts)
        if divided is None or context.left() <= 0:
            return
        number = climb.add(divided, "training", f"accumulate:{parts}", over)
        climb.race(number, over, 2 * len(PARTS))
        if not _is_faster(climb, number, over):
            return
        over = number


def _double(context: Context, climb: Climb, races: Races, start: int) -> None:
    """Double the batch until the throughput no longer grows, and then until the memory is full."""
    leader, cell, growing = start, climb.tally.group.cells[start], True
    batch = cell.workload.batch
    for _ in range(LARGEST_FACTOR.bit_length() - 1):
        batch *= 2
        if context.left() <= 0:
            return
        workload = replace(cell.workload, batch=batch, asked=None)
        number = climb.add(replace(cell, workload=workload), "training", f"batch:{batch}", leader)
        if growing:
            climb.race(number, leader, 2)
            growing = _is_faster(climb, number, leader)
            leader = number if growing else leader
        else:
            races.solo(number, LEAST_RACE_SECONDS, 2)
        if out_of_race(climb.tally, number):
            return
        explain(context, number)  # for its peak memory


def _is_faster(climb: Climb, number: int, over: int) -> bool:
    return not out_of_race(climb.tally, number) and standing(climb.tally.ratios_over(number, over)) == "faster"
