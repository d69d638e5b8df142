"""What follows the figures, each within its share of the budget: numerics, and bottlenecks."""

from typing import get_args

from torchlap.machine.facts import cpu_threads
from torchlap.measuring.context import LONGEST_TEXT, Context
from torchlap.processes.failures import CellFailedError
from torchlap.processes.worker import Worker
from torchlap.runs.figures import LEAST_LAPS
from torchlap.schema.breakdown import Breakdown, Peaks
from torchlap.schema.events import BreakdownMeasured, NumericsChecked, PeaksMeasured
from torchlap.schema.messages import Build, Explain, Explained, MeasurePeaks, PeaksReached, Verified, Verify
from torchlap.schema.numerics import Numerics
from torchlap.schema.recipe import Precision
from torchlap.schema.workload import Cell, Plan

COMPILE_FACTOR = 10
"""Compiling gives no sign of life, so a compiled cell may be silent for this many times as long."""

VERIFY_SHARE = 0.15
"""The share of the budget that checking accelerators' results may take."""

LEAST_VERIFY_SECONDS = 1.0
EXPLAIN_SHARE, EXPLAIN_HEAD_START = 0.15, 10.0
"""The share of the elapsed time that explaining may take; counted as at least this many seconds at the start."""

EXPLAIN_STEPS = 3
"""The least that a breakdown needs: a step in phases, a whole one, and one whose operators are counted."""

EXPLAIN_MOST = 1.5
"""A cell may take this many times its part of the time for explaining: many need less."""

PEAKS_SECONDS, LEAST_PEAKS_SECONDS = 2.0, 0.6
"""For a device's peaks in all precisions, and in one: the latter is reserved, because the bottleneck needs it."""

LOOK_PATIENCE_SECONDS = 30.0


class Looks:
    """Checks the numerics of cells, breaks down their steps, and measures what devices reach."""

    def __init__(self, context: Context) -> None:
        self._context = context

    def check_numerics(self, number: int, position: int, worker: Worker) -> bool:
        """Check once whether an accelerator's cell computes correct results; False when that ended its worker."""
        context = self._context
        cell = context.plan.groups[number].cells[position]
        if cell.device == "cpu" or not context.plan.verify:
            return True
        numerics = context.ledger.verified.get(cell)
        alive = True
        if numerics is None:
            numerics, alive = self._numerics(cell, worker)
        context.emit(NumericsChecked(group=number, cell=position, numerics=numerics))
        return alive

    def _numerics(self, cell: Cell, worker: Worker) -> tuple[Numerics, bool]:
        """What a check finds, and whether the worker survived it."""
        context = self._context
        limit, expected = self._time_to_verify(), self._expected_to_verify(cell)
        if limit < LEAST_VERIFY_SECONDS or expected > limit:
            return Numerics(reason=f"would take about {expected:.0f} s" if expected else "out of time"), True
        context.say(f"{cell}: checking its results")
        request, limit = Verify(limit_seconds=limit, sampled=True), hang_limit(cell, context.hang_seconds)
        try:
            reply = worker.ask(request, Verified, limit, lambda doing: context.say(f"{cell}: {doing}"))
        except CellFailedError as failure:
            return Numerics(reason=look_failed(failure, "check")), False
        return reply.numerics, True

    def _time_to_verify(self) -> float:
        spent = sum(numerics.seconds for numerics in self._context.ledger.verified.values())
        return min(VERIFY_SHARE * self._context.plan.budget_seconds - spent, self._context.left())

    def _expected_to_verify(self, cell: Cell) -> float:
        """Seconds, from the same model at other batches; 0 where none was checked."""
        rates = [
            numerics.seconds / other.workload.batch
            for other, numerics in self._context.ledger.verified.items()
            if (other.workload.model, other.device) == (cell.workload.model, cell.device)
        ]
        return min(rates, default=0.0) * cell.workload.batch

    def explain(self, number: int, workers: dict[int, Worker]) -> None:
        """Find out why the cells of a group take as long as they do, and, once a device, what it reaches."""
        tally = self._context.ledger.tallies[number]
        for position in tally.living():
            if len(tally.throughputs(position)) < LEAST_LAPS:
                continue
            cell = tally.group.cells[position]
            breakdown = self._breakdown(cell, workers[position])
            self._context.emit(BreakdownMeasured(group=number, cell=position, breakdown=breakdown))
            if not breakdown.reason:
                self._measure_peaks(cell, workers[position])

    def _time_to_explain(self, head_start: float = EXPLAIN_HEAD_START) -> float:
        context = self._context
        passed = max(context.clock() - context.started, min(head_start, context.plan.budget_seconds))
        return min(EXPLAIN_SHARE * passed - context.ledger.explained_seconds, context.left())

    def _breakdown(self, cell: Cell, worker: Worker) -> Breakdown:
        context = self._context
        step = context.ledger.steps[cell].seconds
        least, limit = EXPLAIN_STEPS * step, self._time_to_explain()
        if cell.device not in context.ledger.peaks:
            limit -= LEAST_PEAKS_SECONDS
        if least > limit:
            return Breakdown(reason=f"would take about {least:.2g} s; raise --budget")
        cells = sum(len(group.cells) for group in context.plan.groups)
        part = EXPLAIN_MOST * EXPLAIN_SHARE * context.plan.budget_seconds / cells
        request = Explain(min(limit, max(least, part)), step)
        begun = context.clock()
        try:
            reply = worker.ask(request, Explained, self._patience(limit), lambda doing: context.say(f"{cell}: {doing}"))
        except CellFailedError as failure:  # the figure stands: it was measured before
            return Breakdown(reason=look_failed(failure, "analysis"), seconds=context.clock() - begun)
        return reply.breakdown

    def _patience(self, limit_seconds: float) -> float:
        """How long a look may give no sign of life."""
        return min(self._context.hang_seconds, limit_seconds + LOOK_PATIENCE_SECONDS)

    def _measure_peaks(self, cell: Cell, worker: Worker) -> None:
        context = self._context
        known, limit = context.ledger.peaks.get(cell.device, set()), self._time_to_explain(head_start=0.0)
        is_first = not known and self._time_to_explain() >= LEAST_PEAKS_SECONDS
        if not is_first and (known >= set(get_args(Precision)) or limit < LEAST_PEAKS_SECONDS):
            return
        request, begun = MeasurePeaks(min(PEAKS_SECONDS, limit), tuple(sorted(known))), context.clock()
        try:
            reply = worker.ask(
                request,
                PeaksReached,
                self._patience(PEAKS_SECONDS),
                lambda doing: context.say(f"{cell.device}: {doing}"),
            )
            peaks = reply.peaks
        except CellFailedError as failure:  # another attempt would fail the same way
            refused = dict.fromkeys(get_args(Precision), failure.reason[:LONGEST_TEXT])
            peaks = Peaks(device=cell.device, refused=refused, seconds=context.clock() - begun)
        context.emit(PeaksMeasured(peaks))


def build_request(plan: Plan, cell: Cell) -> Build:
    """The request to build a cell as the plan says, with its fair number of threads."""
    threads, why = cpu_threads()
    return Build(cell=cell, data=plan.data, weights=plan.weights, threads=threads, threads_reason=why)


def hang_limit(cell: Cell, hang_seconds: float) -> float:
    """How long a cell may be silent."""
    return hang_seconds * (COMPILE_FACTOR if cell.recipe.compile else 1)


def look_failed(failure: CellFailedError, what: str) -> str:
    """Why there is no result, where the check or analysis itself failed."""
    return f"the {what} failed ({failure.kind}): {failure.reason}"[:LONGEST_TEXT]
