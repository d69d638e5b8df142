"""What follows the figures, each within its share of the budget: numerics, then bottlenecks."""

from collections.abc import Iterator, Sequence
from contextlib import closing
from typing import get_args

from torchlap.measuring.context import LONGEST_TEXT, Context
from torchlap.measuring.lanes import SLOT, Check, check_numerics, check_together, look_failed
from torchlap.processes.failures import CellFailedError
from torchlap.runs.figures import LEAST_LAPS
from torchlap.schema.breakdown import Breakdown, Peaks
from torchlap.schema.events import BreakdownMeasured, NumericsChecked, PeaksMeasured
from torchlap.schema.messages import (
    Explain,
    Explained,
    MeasurePeaks,
    PeaksReached,
    Prepared,
    Verify,
    WarmUp,
)
from torchlap.schema.numerics import Numerics
from torchlap.schema.recipe import Precision
from torchlap.schema.workload import Cell

NUMERICS_SHARE = 0.85
"""Of what the figures leave, if bottlenecks follow: these get what numerics do not need, too."""

LEAST_VERIFY_SECONDS = 1.0
GROWTH_WITH_BATCH = 0.15
"""Power of the batch by which a check takes longer."""

EXPLAIN_STEPS = 4
"""The least that a breakdown needs: a step to warm up, one in phases, a whole one, and one with operators counted."""

MOST_EXPLAIN_SECONDS = 1.0
"""More time for a cell makes its breakdown no clearer, unless its steps are longer."""

PEAKS_SECONDS, LEAST_PEAKS_SECONDS = 2.0, 0.6
"""For a device's peaks in all precisions, and in one: the latter is reserved, because the bottleneck needs it."""

WARM_UP_SECONDS = 0.2
LOOK_PATIENCE_SECONDS = 30.0


class Looks:
    """Checks the numerics of cells, breaks down their steps, and measures what devices reach.

    Args:
        context: of the session.
        lanes: how many checks at the same time.
    """

    def __init__(self, context: Context, lanes: int) -> None:
        self._context, self._lanes = context, lanes

    def _cells(self) -> Iterator[tuple[int, int, Cell]]:
        """The cells that have a figure, the fastest first: group, position, cell."""
        ledger = self._context.ledger
        found = [
            (number, position, tally.group.cells[position])
            for number, tally in enumerate(ledger.tallies)
            for position in tally.living()
            if len(tally.laps(position)) >= LEAST_LAPS
        ]
        yield from sorted(found, key=lambda item: ledger.steps[item[2]].seconds)

    def check_all(self) -> None:
        """Check whether accelerators' cells compute correct results, each once."""
        context = self._context
        share = NUMERICS_SHARE if context.plan.explain else 1.0
        end = context.clock() + share * max(0.0, context.left())
        places: dict[Cell, list[tuple[int, int]]] = {}
        for number, position, cell in self._cells():
            earlier = context.ledger.tallies[number].numerics.get(position)
            if cell.device != "cpu" and (not earlier or earlier.reason):
                places.setdefault(cell, []).append((number, position))
        for cell in [cell for cell in places if cell in context.ledger.verified]:
            self._emit_numerics(places.pop(cell), context.ledger.verified[cell])
        crews = [context.crew, *(context.crew.another() for _ in range(min(self._lanes, len(places)) - 1))]
        jobs = ((cell, self._check_of(cell, end)) for cell in places)
        with closing(check_together(crews, context.plan, jobs, context.build_threads)) as checked:
            for cell, numerics in checked:
                self._emit_numerics(places[cell], numerics)

    def _emit_numerics(self, places: Sequence[tuple[int, int]], numerics: Numerics) -> None:
        for number, position in places:
            self._context.emit(NumericsChecked(group=number, cell=position, numerics=numerics))

    def _check_of(self, cell: Cell, end: float) -> Check:
        """What checks a cell until `end`; or says why there is no time for that."""
        context, expected = self._context, self._expected_to_verify(cell)
        limit = end - context.clock()
        if limit < LEAST_VERIFY_SECONDS or expected > limit:
            problem = f"would take about {expected:.0f} s" if expected else "out of time"
            reason = Numerics(reason=f"{problem}; raise --budget")
            return lambda _crew, _build: reason
        context.say(f"{cell}: checking results")
        request = Verify(slot=SLOT, limit_seconds=limit, sampled=True)
        report = context.reporter(cell) if self._lanes == 1 else lambda _: None
        return lambda crew, build: check_numerics(crew, build, request, context.hang_seconds, report)

    def _expected_to_verify(self, cell: Cell) -> float:
        """Seconds, from the same model at other batches; 0 where none was checked.

        A check costs most operators the same at every batch, so it grows with less than the batch.
        """
        found = [
            numerics.seconds * (cell.workload.batch / other.workload.batch) ** GROWTH_WITH_BATCH
            for other, numerics in self._context.ledger.verified.items()
            if (other.workload.model, other.device) == (cell.workload.model, cell.device)
        ]
        return min(found, default=0.0)

    def explain_all(self) -> None:
        """Find out why the cells take as long as they do, and, once a device, what it reaches."""
        context = self._context
        waiting = []
        for number, position, cell in self._cells():
            earlier = context.ledger.tallies[number].breakdowns.get(position)
            if not earlier or earlier.reason:
                waiting.append((number, position, cell))
        for count, (number, position, cell) in enumerate(waiting):
            breakdown = self._breakdown(cell, context.left() / (len(waiting) - count))
            context.emit(BreakdownMeasured(group=number, cell=position, breakdown=breakdown))

    def _breakdown(self, cell: Cell, share: float) -> Breakdown:
        """Where a cell's step spends its time; it may take more than its share where the least needs that."""
        context = self._context
        step = context.ledger.steps[cell].seconds
        least, limit = EXPLAIN_STEPS * step, context.left()
        if cell.device not in context.ledger.peaks:
            limit -= LEAST_PEAKS_SECONDS
        if least > limit:
            return Breakdown(reason=f"would take about {least:.2g} s; raise --budget")
        begun = context.clock()
        try:
            context.crew.build_one(SLOT, context.build_request(SLOT, cell), context.hang_seconds)
            self._warm_up(cell)
            request = Explain(
                slot=SLOT, limit_seconds=min(limit, max(least, min(share, MOST_EXPLAIN_SECONDS))), step_seconds=step
            )
            patience, report = self._patience(limit), context.reporter(cell)
            breakdown = context.crew.ask(SLOT, request, Explained, patience, report).breakdown
            self._measure_peaks(cell)
        except CellFailedError as failure:  # the figure stands: it was measured before
            return Breakdown(reason=look_failed(failure, "analysis"), seconds=context.clock() - begun)
        finally:
            context.crew.release(trim=True)  # its peak memory is that of one cell
        return breakdown

    def _warm_up(self, cell: Cell) -> None:
        context = self._context
        request = WarmUp(
            slot=SLOT, limit_seconds=WARM_UP_SECONDS, memory_format=context.ledger.format_of(cell, (cell,))
        )
        context.crew.ask(SLOT, request, Prepared, context.hang_limit(cell))

    def _patience(self, limit_seconds: float) -> float:
        """How long a look may give no sign of life."""
        return min(self._context.hang_seconds, limit_seconds + LOOK_PATIENCE_SECONDS)

    def _measure_peaks(self, cell: Cell) -> None:
        """Measure what the device reaches in the precisions that are not known yet."""
        context = self._context
        known, limit = context.ledger.peaks.get(cell.device, set()), context.left()
        if known >= set(get_args(Precision)) or (known and limit < LEAST_PEAKS_SECONDS):
            return
        begun = context.clock()
        request = MeasurePeaks(slot=SLOT, limit_seconds=min(PEAKS_SECONDS, limit), known=tuple(sorted(known)))
        try:
            patience, report = self._patience(PEAKS_SECONDS), context.reporter(cell.device)
            peaks = context.crew.ask(SLOT, request, PeaksReached, patience, report).peaks
        except CellFailedError as failure:  # another attempt would fail the same way
            refused = dict.fromkeys(get_args(Precision), failure.reason[:LONGEST_TEXT])
            peaks = Peaks(device=cell.device, refused=refused, seconds=context.clock() - begun)
        context.emit(PeaksMeasured(peaks))
