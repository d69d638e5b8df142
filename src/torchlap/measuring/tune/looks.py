"""What the search knows about the plain step before it races anything: its place, its breakdown, its memory."""

from torchlap.machine.facts import usable_cores
from torchlap.measuring.context import Context
from torchlap.measuring.lanes import look_failed
from torchlap.measuring.tune.candidates import IMAGE_DIMENSIONS, Place
from torchlap.measuring.tune.race import GROUP, PLAIN
from torchlap.processes.failures import CellFailedError
from torchlap.schema.breakdown import Breakdown
from torchlap.schema.events import BreakdownMeasured, PeaksMeasured, Preparation
from torchlap.schema.machine import DeviceFacts
from torchlap.schema.replies import Explained, PeaksReached
from torchlap.schema.requests import Explain, MeasurePeaks
from torchlap.schema.workload import Cell, is_own_file

EXPLAIN_SECONDS, PEAKS_SECONDS, PATIENCE_SECONDS = 1.0, 2.0, 30.0
EXPLAIN_STEPS = 4
"""The least that a breakdown needs."""

MEMORY_SHARE, LEAST_TOGETHER, MOST_TOGETHER = 0.8, 2, 3
"""So much of a device's memory may be filled by cells that take turns."""

WAIT_SHARE = 0.02
"""Of a step on an accelerator, that only a loader makes it wait for its batch."""


def place_of(context: Context) -> Place:
    """Where the plain step runs, once it is prepared."""
    tally = context.ledger.tallies[GROUP]
    cell, prepared = tally.group.cells[PLAIN], tally.prepared[PLAIN]
    return Place(
        kind=cell.device.partition(":")[0],
        threads=context.threads,
        cores=usable_cores(),
        images=len(prepared.input_shape) == IMAGE_DIMENSIONS,
        trains=cell.workload.phase == "train",
        own_loader=_has_own_loader(cell, prepared),
    )


def _has_own_loader(cell: Cell, prepared: Preparation) -> bool:
    """Whether a user's model waits for a loader: on the CPU only such a cell is watched."""
    watched = prepared.watched
    waits = watched is not None and watched.input_wait_seconds > WAIT_SHARE * watched.step_seconds
    is_watched = watched is not None and cell.device == "cpu"
    return is_own_file(cell.workload.model) and (prepared.prefetched > 0 or is_watched or waits)


def cells_that_fit(breakdown: Breakdown | None, device: DeviceFacts | None) -> int:
    """How many cells like the plain step may be held at the same time; the most where its memory is not known."""
    peak = breakdown.peak_memory_bytes if breakdown else None
    if not peak or device is None or device.memory_bytes is None:
        return MOST_TOGETHER
    return max(LEAST_TOGETHER, min(MOST_TOGETHER, int(MEMORY_SHARE * device.memory_bytes / peak)))


def explain(context: Context, number: int) -> None:
    """Break down the step of a cell that is held, once, and measure what its device reaches."""
    tally = context.ledger.tallies[GROUP]
    cell = tally.group.cells[number]
    if number in tally.breakdowns or not context.crew.holds(number):
        return
    step = context.ledger.steps[cell].seconds
    request = Explain(slot=number, limit_seconds=max(EXPLAIN_SECONDS, EXPLAIN_STEPS * step), step_seconds=step)
    limit = min(context.hang_seconds, request.limit_seconds + PATIENCE_SECONDS)
    context.say(f"{cell}: analyzing the step")
    try:
        breakdown = context.crew.ask(number, request, Explained, limit, context.reporter(cell)).breakdown
        if cell.device not in context.ledger.peaks:
            peaks = MeasurePeaks(slot=number, limit_seconds=PEAKS_SECONDS)
            reached = context.crew.ask(number, peaks, PeaksReached, limit, context.reporter(cell.device))
            context.emit(PeaksMeasured(reached.peaks))
    except CellFailedError as failure:  # the figure stands: it was measured before
        breakdown = Breakdown(reason=look_failed(failure, "analysis"))
    context.emit(BreakdownMeasured(group=GROUP, cell=number, breakdown=breakdown))
