"""The memory format of a cell: the requested one, or on the CPU the faster of both, found by trial."""

from collections.abc import Callable, Sequence
from copy import deepcopy
from math import ceil

from msgspec import Struct

from torchlap.schema.recipe import MemoryFormat
from torchlap.schema.requests import WarmUp
from torchlap.worker.cell.bench import Bench
from torchlap.worker.cell.step import Step
from torchlap.worker.cell.timing import LAP_SECONDS

TRIAL_STEPS = 5
"""A first step, and at least two in each format: the first of each is cold."""

TRIAL_TURNS, TRIAL_SHARE = 3, 0.3
"""Laps in each format, if they fit into this share of the time to warm up."""

UNTRIED = "torch's default (no time to try both)"

Timed = Callable[[Step, int], float]
"""Runs a number of steps, and returns the seconds a step."""


class Choice(Struct, frozen=True):
    """A memory format, and why it was chosen.

    Attributes:
        step: the step that was run, if it can be used further.
        earlier_seconds: seconds of steps of the chosen kind that were already run, the first of them cold.
        first_loss: the loss of the first of these steps.
    """

    memory_format: MemoryFormat
    reason: str
    step: Step | None = None
    earlier_seconds: Sequence[float] = ()
    first_loss: float | None = None


def choose_format(bench: Bench, request: WarmUp, timed: Timed) -> Choice:
    """Choose the memory format; after a trial of both formats the model is as it was before.

    Args:
        bench: the model on its device.
        request: its limit holds for all steps of the trial but the first.
        timed: runs a number of steps, and returns the seconds a step.
    """
    recipe, batch = bench.cell.recipe, bench.cell.workload.batch
    if request.memory_format != "auto":
        return _without_trial(request.memory_format, "chosen earlier for this device and model")
    if recipe.memory_format != "auto":
        return _without_trial(recipe.memory_format, "requested by the recipe")
    if not bench.can_try_formats():
        return _without_trial("contiguous", "torch's default")
    rows, untouched = min(batch, bench.trial_batch), deepcopy(bench.module.state_dict())
    step = bench.step("contiguous", rows)
    first = timed(step, 1)
    first_loss = step.loss() if rows == batch else None
    if (TRIAL_STEPS - 1) * first > request.limit_seconds:
        if rows == batch:
            return Choice("contiguous", f"Memory format: contiguous, {UNTRIED}", step, [first], first_loss)
        bench.module.load_state_dict(untouched)
        return _without_trial("contiguous", UNTRIED)
    contiguous, channels_last = _trial(bench, rows, first, request.limit_seconds, timed)
    bench.module.load_state_dict(untouched)
    best: MemoryFormat = "contiguous" if contiguous <= channels_last else "channels_last"
    measured = f"a step of batch {rows} took {contiguous:.3g} s contiguous and {channels_last:.3g} s channels_last"
    earlier = [first, min(contiguous, channels_last)] if rows == batch else []
    return Choice(best, f"Memory format: {best}; {measured}", None, earlier, first_loss)


def _without_trial(memory_format: MemoryFormat, why: str) -> Choice:
    return Choice(memory_format, f"Memory format: {memory_format}, {why}")


def _trial(bench: Bench, rows: int, first: float, limit_seconds: float, timed: Timed) -> tuple[float, float]:
    """The least seconds a step, contiguous and channels_last, of alternating laps, so that no disturbed lap decides."""
    steps = ceil(LAP_SECONDS / first)
    turns = max(1, min(TRIAL_TURNS, int(TRIAL_SHARE * limit_seconds / (2 * steps * first))))
    laps: dict[MemoryFormat, list[float]] = {"contiguous": [], "channels_last": []}
    for turn in range(turns):
        for memory_format in list(laps)[:: 1 if turn % 2 == 0 else -1]:
            step = bench.step(memory_format, rows)
            timed(step, 1)  # cold
            laps[memory_format].append(timed(step, steps))
    return min(laps["contiguous"]), min(laps["channels_last"])
