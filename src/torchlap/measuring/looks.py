"""Numerics and bottlenecks: most follow the figures, each within its share of the budget."""

from collections.abc import Iterator, Sequence
from contextlib import closing
from typing import get_args

from torchlap.measuring.context import LONGEST_TEXT, Context
from torchlap.measuring.lanes import SLOT, Check, check_numerics, check_together, look_failed
from torchlap.processes.failures import CellFailedError
from torchlap.runs.figures import LEAST_LAPS
from torchlap.schema.breakdown import Breakdown, Peaks
from torchlap.schema.events import BreakdownMeasured, NumericsChecked, PeaksMeasured
from torchlap.schema.numerics import Numerics
from torchlap.schema.recipe import Precision
from torchlap.schema.replies import Explained, PeaksReached, Prepared
from torchlap.schema.requests import Explain, MeasurePeaks, Verify, WarmUp
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

HELD_SHARE, MOST_HELD_SHARE = 0.001, 0.01
"""Of the budget, for the breakdown of a cell that is held and warm after its laps, and the most that it may need."""

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
        self._brief: list[tuple[int, int, Cell]] = []
        """Cells whose breakdown took little time, so that some of it, such as energy, is missing."""

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
            problem = f"the check would take about {expected:.0f} s" if expected else "out of time"
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

    def explain_held(self, number: int, positions: Sequence[int]) -> None:
        """Break down the steps of a group's accelerator cells while they are held: that costs little beyond the steps.

        Not a cell that shares its device with others, whose memory would be counted as its own, nor one whose loader
        has to be timed alone or that was compiled: these wait until the figures are complete.
        """
        context = self._context
        tally, cells = context.ledger.tallies[number], context.plan.groups[number].cells
        devices = [cells[position].device for position in positions]
        budget = context.plan.budget_seconds
        for position in positions:
            cell, recipe = cells[position], cells[position].recipe
            is_plain = not recipe.compile and recipe.workers is None and devices.count(cell.device) == 1
            has_figure = len(tally.laps(position)) >= LEAST_LAPS and context.crew.holds(position)
            if cell.device == "cpu" or not is_plain or not has_figure or position in tally.breakdowns:
                continue
            least = EXPLAIN_STEPS * context.ledger.steps[cell].seconds
            seconds = max(least, min(HELD_SHARE * budget, MOST_EXPLAIN_SECONDS))
            if seconds > min(MOST_HELD_SHARE * budget, context.left()):
                continue
            try:
                breakdown = self._explain(position, cell, seconds)
                self._brief.append((number, position, cell))
                if cell.device not in context.ledger.peaks:
                    self._measure_peaks(position, cell.device, LEAST_PEAKS_SECONDS)
            except CellFailedError as failure:  # it is tried again after the figures
                breakdown = Breakdown(reason=look_failed(failure, "analysis"))
            context.emit(BreakdownMeasured(group=number, cell=position, breakdown=breakdown))

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
        for number, position, cell in self._brief:
            if context.left() >= MOST_EXPLAIN_SECONDS:
                breakdown = self._breakdown(cell, MOST_EXPLAIN_SECONDS)
                if not breakdown.reason:
                    context.emit(BreakdownMeasured(group=number, cell=position, breakdown=breakdown))

    def _breakdown(self, cell: Cell, share: float) -> Breakdown:
        """Where a cell's step spends its time; it may take more than its share where the least needs that."""
        context = self._context
        step = context.ledger.steps[cell].seconds
        least, limit = EXPLAIN_STEPS * step, context.left()
        if cell.device not in context.ledger.peaks:
            limit -= LEAST_PEAKS_SECONDS
        if least > limit:
            problem = "out of time" if limit <= 0 else f"the analysis would take about {least:.2g} s"
            return Breakdown(reason=f"{problem}; raise --budget")
        begun = context.clock()
        try:
            context.crew.build_one(SLOT, context.build_request(SLOT, cell), context.hang_seconds)
            self._warm_up(cell)
            breakdown = self._explain(SLOT, cell, min(limit, max(least, min(share, MOST_EXPLAIN_SECONDS))))
            self._measure_peaks(SLOT, cell.device, PEAKS_SECONDS)
        except CellFailedError as failure:  # the figure stands: it was measured before
            return Breakdown(reason=look_failed(failure, "analysis"), seconds=context.clock() - begun)
        finally:
            context.crew.release(trim=True)  # its peak memory is that of one cell
        return breakdown

    def _explain(self, slot: int, cell: Cell, seconds: float) -> Breakdown:
        """Where the step of a cell that is built and warm spends its time; raises CellFailedError."""
        context = self._context
        request = Explain(slot=slot, limit_seconds=seconds, step_seconds=context.ledger.steps[cell].seconds)
        patience, report = self._patience(seconds), context.reporter(cell)
        return context.crew.ask(slot, request, Explained, patience, report).breakdown

    def _warm_up(self, cell: Cell) -> None:
        context = self._context
        request = WarmUp(
            slot=SLOT, limit_seconds=WARM_UP_SECONDS, memory_format=context.ledger.format_of(cell, (cell,))
        )
        context.crew.ask(SLOT, request, Prepared, context.hang_limit(cell))

    def _patience(self, limit_seconds: float) -> float:
        """How long a look may give no sign of life."""
        return min(self._context.hang_seconds, limit_seconds + LOOK_PATIENCE_SECONDS)

    def _measure_peaks(self, slot: int, device: str, seconds: float) -> None:
        """Measure what the device reaches in the precisions that are not known yet, the first in any case."""
        context = self._context
        known, limit = context.ledger.peaks.get(device, set()), context.left()
        if known >= set(get_args(Precision)) or (known and limit < LEAST_PEAKS_SECONDS):
            return
        begun = context.clock()
        request = MeasurePeaks(slot=slot, limit_seconds=min(seconds, limit), known=tuple(sorted(known)))
        try:
            patience, report = self._patience(PEAKS_SECONDS), context.reporter(device)
            peaks = context.crew.ask(slot, request, PeaksReached, patience, report).peaks
        except CellFailedError as failure:  # another attempt would fail the same way
            refused = dict.fromkeys(get_args(Precision), failure.reason[:LONGEST_TEXT])
            peaks = Peaks(device=device, refused=refused, seconds=context.clock() - begun)
        context.emit(PeaksMeasured(peaks))
