"""Which cells in which order; rounds; when to stop. Drives the workers and hands on records as they come."""

from collections.abc import Callable, Sequence
from math import floor, log10
from typing import get_args

from msgspec import Struct, structs
from msgspec.structs import asdict, replace

from torchlap.conditions import GpuUsers, Watch
from torchlap.facts import cpu_threads
from torchlap.isolate import CellFailedError, Launcher, Worker
from torchlap.protocol import (
    Build,
    Built,
    Explain,
    Explanation,
    LapDone,
    MeasurePeaks,
    Peaks,
    Prepared,
    RunLap,
    Verified,
    Verify,
    WarmUp,
)
from torchlap.records import (
    OUT_OF_TIME,
    Cell,
    CellPrepared,
    ComparisonFinished,
    ComparisonStarted,
    DeviceFacts,
    Event,
    Explained,
    Failure,
    FailureKind,
    Lap,
    MemoryFormat,
    NumbersChecked,
    PeaksMeasured,
    Plan,
    Precision,
    Round,
    RunFinished,
    StopReason,
)
from torchlap.results import TWO, Tally
from torchlap.schedule import (
    FAIR_ROUNDS,
    OVERRUN,
    Pending,
    StepTime,
    estimate_step,
    is_hopeless,
    lap_steps,
    lead_in_steps,
    next_up,
    pending,
    share,
    turn_order,
    warm_up_seconds,
)
from torchlap.stats import verdict

HANG_SECONDS = 120.0
"""A worker that gives no sign of life for so long hangs. Compiling is given `COMPILE_FACTOR` times as long."""

COMPILE_FACTOR = 10
SLOW_LAP_FACTOR = 10
"""A lap may take this many times what was expected before it counts as hanging."""

LEAST_WAIT_SECONDS = 1.0
"""A cell that was started may take so long although the budget is spent."""

VERIFY_SHARE = 0.15
"""So much of the budget may go into verifying accelerators' numbers."""

LEAST_VERIFY_SECONDS = 1.0
EXPLAIN_SHARE, EXPLAIN_HEAD_START = 0.15, 10.0
"""So much of the time that has passed may go into explaining; for what a word needs, of so many seconds at least."""

EXPLAIN_STEPS = 3
"""What explaining costs at least: a step in phases, a whole one, and one whose operators are counted."""

EXPLAIN_MOST = 1.5
"""A cell may take this many times its part of all time for explaining: many need less."""

PEAKS_SECONDS, LEAST_PEAKS_SECONDS = 2.0, 0.6
"""For what a device reaches in all precisions, and in one: without that no word can be given, so it is kept for it."""

LOOK_PATIENCE_SECONDS = 30.0
GRACE = 0.1
"""A second lap may overrun the budget by this share: without it the first would be lost."""


class Status(Struct, frozen=True):
    """What is going on, for a display: the comparison's place in the plan, and the most time that may be left."""

    done: int
    of: int
    doing: str
    left_seconds: float


class Session:
    """Measures a plan. Everything seen is given to `emit` at once; what goes on is told to `watch`."""

    def __init__(
        self,
        plan: Plan,
        launcher: Launcher,
        *,
        emit: Callable[[Event], None],
        watch: Callable[[Status], None],
        clock: Callable[[], float],
        started: float,
        hang_seconds: float = HANG_SECONDS,
        devices: Sequence[DeviceFacts] = (),
    ) -> None:
        self.plan = plan
        self._launcher = launcher
        self._emit_outside = emit
        self._watch = watch
        self._clock = clock
        self._started = started
        self._end = started + plan.budget_seconds
        self._hang_seconds = hang_seconds
        self._devices, self._gpu_users = devices, GpuUsers()
        self.tallies = [Tally(comparison) for comparison in plan.comparisons]
        self._steps: dict[Cell, StepTime] = {}
        """The shortest seen: a lap sized by the latest would be long after a fast one and short after a slow one."""
        self._formats: dict[Cell, MemoryFormat] = {}
        self._verified: dict[Cell, NumbersChecked] = {}
        self._explaining = 0.0
        self._interrupted = False
        self._peaks: dict[str, set[Precision]] = {}
        """In which precisions it is known what a device reaches, or that it does not multiply in them."""
        self._starts: list[float] = []
        """Seconds that each comparison took to get its cells ready, their warm-up left out."""

    def replay(self, events: tuple[Event, ...]) -> None:
        """Take in what an earlier session has measured: finished comparisons are not measured again."""
        for event in events:
            self._learn(event)
            self._interrupted = isinstance(event, RunFinished) and event.reason == "interrupted"
        self._explaining = 0.0  # the time that has passed is this session's, too

    def measure(self) -> None:
        """Measure what is still to be measured; the last event says whether it was all.

        Raises:
            KeyboardInterrupt: when interrupted; every event until then was emitted, and no worker is left.
            RunFileError: when an event could not be written down.
        """
        try:
            waiting = [number for number, each in enumerate(self.tallies) if each.stopped is None]
            if not waiting and not self._interrupted:
                return  # a resumed run that was complete
            while waiting:
                candidates = [pending(n, self.plan.comparisons[n], self._steps, self._starts) for n in waiting]
                mine = next_up(candidates)
                self._compare(mine, share(mine, candidates, self._left()))
                waiting.remove(mine.number)
        except KeyboardInterrupt:
            self._finish("interrupted")
            raise
        self._finish("complete")

    def _finish(self, reason: StopReason | str) -> None:
        wall = self._clock() - self._started
        ended = RunFinished(
            reason="complete" if reason == "complete" else "interrupted",
            wall_seconds=wall,
            start_up_seconds=min(wall, self._launcher.start_up_seconds),
        )
        self._emit(ended)

    def _left(self) -> float:
        return self._end - self._clock()

    def _emit(self, event: Event) -> None:
        self._emit_outside(event)
        self._learn(event)

    def _learn(self, event: Event) -> None:
        match event:
            case PeaksMeasured(device=device, seconds=seconds):
                self._peaks.setdefault(device, set()).update(event.flops, event.refused)
                self._explaining += seconds
            case Explained(seconds=seconds):
                self._explaining += seconds
            case _:
                pass
        number = getattr(event, "comparison", None)
        if number is None:
            return
        tally = self.tallies[number]
        tally.add(event)
        match event:
            case CellPrepared(cell=position, memory_format=memory_format):
                self._steps[tally.comparison.cells[position]] = StepTime(event.step_seconds, event.optimizer_seconds)
                self._formats[tally.comparison.cells[position]] = memory_format
            case NumbersChecked(cell=position, reason=""):
                self._verified.setdefault(tally.comparison.cells[position], event)
            case Round(laps=laps):
                for lap in laps:
                    cell = tally.comparison.cells[lap.cell]
                    known = self._steps.get(cell) or StepTime(lap.seconds / lap.steps)
                    self._steps[cell] = StepTime(min(known.seconds, lap.seconds / lap.steps), known.fixed)
            case _:
                pass

    def _say(self, doing: str) -> None:
        done = sum(each.stopped is not None for each in self.tallies)
        self._watch(Status(done, len(self.tallies), doing, max(0.0, self._left())))

    def _fail(self, number: int, position: int, kind: FailureKind, reason: str, detail: str = "") -> None:
        estimate = estimate_step(self.plan.comparisons[number].cells[position], self._steps)
        self._emit(
            Failure(
                comparison=number,
                cell=position,
                kind=kind,
                reason=reason[:20_000],
                detail=detail[-20_000:],
                estimate_seconds=estimate if kind in OUT_OF_TIME else None,
            )
        )

    def _compare(self, mine: Pending, seconds: float) -> None:
        """Measure one comparison within about `seconds`: make its cells ready, then let them take turns."""
        begun, left = self._clock(), self._left()
        number, workers = mine.number, dict[int, Worker]()
        watch = Watch(self._devices, self._gpu_users, first=not self._starts, clock=self._clock)
        self._emit(ComparisonStarted(number))
        try:
            self._build(number, workers)
            spare = max(0.0, seconds - mine.start_seconds)
            built = self._cheapest_first(number, self._hear_built(number, workers))
            before = self._clock()
            built = [position for position in built if self._verify(number, position, workers)]
            verifying = self._clock() - before
            for position in built:
                limit = warm_up_seconds(spare, left, len(self.plan.comparisons[number].cells))
                self._warm_up(number, position, workers[position], limit)
            warm = sum(each.warm_up_seconds for each in self.tallies[number].prepared.values())
            self._starts.append(max(0.0, self._clock() - begun - warm - verifying))
            watch.begin()
            keep = EXPLAIN_SHARE * seconds * self.plan.explain
            reason = self._take_turns(number, workers, begun + seconds - keep, OVERRUN * left, watch.glance)
            self._emit(watch.end(number))
            self._emit(ComparisonFinished(number, reason))
            if self.plan.explain:
                self._explain(number, workers)
        finally:
            for worker in workers.values():
                worker.kill()

    def _build(self, number: int, workers: dict[int, Worker]) -> None:
        """Start a worker for each cell that has a hope, and let all of them build at the same time."""
        for position, cell in enumerate(self.plan.comparisons[number].cells):
            expected, left = estimate_step(cell, self._steps), self._left()
            if is_hopeless(expected, left):
                self._fail(number, position, "no_time" if left <= 0 else "too_slow", _not_started(expected, left))
                continue
            self._say(f"{cell}: preparing")
            try:
                workers[position] = self._launcher.start()
                workers[position].tell(build_request(self.plan, cell))
            except CellFailedError as failure:
                self._fail(number, position, failure.kind, failure.reason, failure.detail)

    def _hear_built(self, number: int, workers: dict[int, Worker]) -> list[int]:
        """The cells that are on their devices."""
        built = []
        for position in set(workers) - set(self.tallies[number].failures):
            try:
                workers[position].hear(Built, self._hang_seconds)
            except CellFailedError as failure:
                self._fail(number, position, failure.kind, failure.reason, failure.detail)
            else:
                built.append(position)
        return built

    def _verify(self, number: int, position: int, workers: dict[int, Worker]) -> bool:
        """Look whether an accelerator's numbers are right, once a cell; whether there still is a worker for it."""
        cell = self.plan.comparisons[number].cells[position]
        if cell.device == "cpu" or not self.plan.verify:
            return True
        if cell in self._verified:
            self._emit(replace(self._verified[cell], comparison=number, cell=position))
            return True
        limit, expected = self._time_to_verify(), self._expected_to_verify(cell)
        if limit < LEAST_VERIFY_SECONDS or expected > limit:
            said = f"would take about {expected:.0f} s" if expected else "no time was left for it"
            self._emit(NumbersChecked(comparison=number, cell=position, reason=said))
            return True
        self._say(f"{cell}: verifying its numbers")
        try:
            request, hang = Verify(limit_seconds=limit, sampled=True), hang_limit(cell, self._hang_seconds)
            seen = workers[position].ask(request, Verified, hang, lambda doing: self._say(f"{cell}: {doing}"))
        except CellFailedError as failure:
            self._emit(NumbersChecked(comparison=number, cell=position, reason=check_failed(failure)))
            return self._rebuild(number, position, workers)
        self._emit(NumbersChecked(comparison=number, cell=position, **asdict(seen)))
        return True

    def _time_to_verify(self) -> float:
        spent = sum(seen.seconds for seen in self._verified.values())
        return min(VERIFY_SHARE * self.plan.budget_seconds - spent, self._left())

    def _expected_to_verify(self, cell: Cell) -> float:
        """By the same model at other batches, where one was verified; 0 where none was."""
        rates = [
            seen.seconds / other.workload.batch
            for other, seen in self._verified.items()
            if (other.workload.model, other.device) == (cell.workload.model, cell.device)
        ]
        return min(rates, default=0.0) * cell.workload.batch

    def _rebuild(self, number: int, position: int, workers: dict[int, Worker]) -> bool:
        """A fresh worker in place of one that the check ended; whether there is one."""
        del workers[position]
        try:
            workers[position] = self._launcher.start()
            cell = self.plan.comparisons[number].cells[position]
            workers[position].ask(build_request(self.plan, cell), Built, self._hang_seconds)
        except CellFailedError as failure:
            self._fail(number, position, failure.kind, failure.reason, failure.detail)
            return False
        return True

    def _cheapest_first(self, number: int, positions: list[int]) -> list[int]:
        """A slow cell must not take the time of those that need little."""
        cells = self.plan.comparisons[number].cells
        return sorted(positions, key=lambda position: estimate_step(cells[position], self._steps) or 0.0)

    def _warm_up(self, number: int, position: int, worker: Worker, limit_seconds: float) -> None:
        cell = self.plan.comparisons[number].cells[position]
        expected = estimate_step(cell, self._steps)
        hang = hang_limit(cell, self._hang_seconds)
        limit = min(hang, max(self._left(), LEAST_WAIT_SECONDS))
        chosen = self._formats.get(cell, "auto")
        request = WarmUp(limit_seconds=limit_seconds, memory_format=chosen, memory_format_hint=self._hint(cell))
        try:
            prepared = worker.ask(request, Prepared, limit, lambda doing: self._say(f"{cell}: {doing}"))
        except CellFailedError as failure:
            slow = failure.kind == "hang" and limit < hang
            reason = f"No step ended within {limit:.0f} s.{_hope(expected)}" if slow else failure.reason
            self._fail(number, position, "too_slow" if slow else failure.kind, reason, failure.detail)
            return
        self._emit(CellPrepared(comparison=number, cell=position, **structs.asdict(prepared)))

    def _hint(self, cell: Cell) -> MemoryFormat:
        """The memory format that the same cell was found to like best at another batch."""
        for other, memory_format in self._formats.items():
            same_workload = (other.workload.model, other.workload.phase) == (cell.workload.model, cell.workload.phase)
            if same_workload and (other.recipe, other.device) == (cell.recipe, cell.device):
                return memory_format
        return "auto"

    def _take_turns(
        self, number: int, workers: dict[int, Worker], end: float, overrun: float, glance: Callable[[], None]
    ) -> StopReason:
        """Rounds until every interval is narrow enough, noise no longer averages out, or the time is up."""
        tally = self.tallies[number]
        while living := tally.living():
            rounds = len(tally.rounds)
            if rounds >= TWO:
                decided = verdict(tally.series(), self.plan.precision_target, self.plan.confidence)
                if decided:
                    return decided
            if not self._another_round_fits(number, living, end + overrun * (rounds < FAIR_ROUNDS)):
                if rounds >= TWO:
                    return "budget"
                self._give_up_on_the_slowest(number, living)
                continue
            self._say(f"{tally.comparison.cells[0].workload.model}: round {rounds + 1}")
            self._round(number, workers, turn_order(living, rounds))
            glance()
        return "failed"

    def _explain(self, number: int, workers: dict[int, Worker]) -> None:
        """Look why the cells take as long as they do, and once a device what it reaches."""
        tally = self.tallies[number]
        for position in tally.living():
            if len(tally.throughputs(position)) >= TWO:
                seen = self._explained(number, position, workers[position])
                self._emit(seen)
                if not seen.reason:
                    self._measure_peaks(tally.comparison.cells[position], workers[position])

    def _time_to_explain(self, head_start: float = EXPLAIN_HEAD_START) -> float:
        passed = max(self._clock() - self._started, min(head_start, self.plan.budget_seconds))
        return min(EXPLAIN_SHARE * passed - self._explaining, self._left())

    def _explained(self, number: int, position: int, worker: Worker) -> Explained:
        cell = self.plan.comparisons[number].cells[position]
        least, limit = EXPLAIN_STEPS * self._steps[cell].seconds, self._time_to_explain()
        limit -= LEAST_PEAKS_SECONDS * (cell.device not in self._peaks)
        if least > limit:
            said = f"it would take about {least:.2g} s: more --budget"
            return Explained(comparison=number, cell=position, reason=said)
        cells = sum(len(comparison.cells) for comparison in self.plan.comparisons)
        mine = EXPLAIN_MOST * EXPLAIN_SHARE * self.plan.budget_seconds / cells
        request = Explain(min(limit, max(least, mine)), self._steps[cell].seconds)
        begun = self._clock()
        try:
            seen = worker.ask(request, Explanation, self._patience(limit), lambda doing: self._say(f"{cell}: {doing}"))
        except CellFailedError as failure:  # the figure stands: it was measured before
            why = check_failed(failure, "look")
            return Explained(comparison=number, cell=position, reason=why, seconds=self._clock() - begun)
        return Explained(comparison=number, cell=position, **asdict(seen))

    def _patience(self, limit_seconds: float) -> float:
        """How long a look may give no sign of life."""
        return min(self._hang_seconds, limit_seconds + LOOK_PATIENCE_SECONDS)

    def _measure_peaks(self, cell: Cell, worker: Worker) -> None:
        known, limit = self._peaks.get(cell.device, set()), self._time_to_explain(head_start=0.0)
        first = not known and self._time_to_explain() >= LEAST_PEAKS_SECONDS
        if first or (known < set(get_args(Precision)) and limit >= LEAST_PEAKS_SECONDS):
            request, begun = MeasurePeaks(min(PEAKS_SECONDS, limit), tuple(sorted(known))), self._clock()
            patience = self._patience(PEAKS_SECONDS)
            try:
                found = worker.ask(request, Peaks, patience, lambda doing: self._say(f"{cell.device}: {doing}")).seen
            except CellFailedError as failure:  # nor would another try go better
                refused = dict.fromkeys(get_args(Precision), failure.reason[:20_000])
                found = PeaksMeasured(device=cell.device, refused=refused, seconds=self._clock() - begun)
            self._emit(found)

    def _another_round_fits(self, number: int, living: list[int], end: float) -> bool:
        cells, rounds = self.plan.comparisons[number].cells, len(self.tallies[number].rounds)
        needed = sum(sum(self._lap_of(number, position)) * self._steps[cells[position]].seconds for position in living)
        if rounds >= TWO:
            return self._clock() + needed <= end
        grace = GRACE * self.plan.budget_seconds
        return self._clock() + needed * (TWO - rounds) <= self._end + grace

    def _lap_of(self, number: int, position: int) -> tuple[int, int]:
        """Steps of a lap, and of its lead-in, by what is known of the step's time now."""
        cells, tally = self.plan.comparisons[number].cells, self.tallies[number]
        step = self._steps[cells[position]].seconds
        slowest = max(self._steps[cells[other]].seconds for other in tally.living())
        steps = lap_steps(step, tally.prepared[position].synchronize_seconds, slowest)
        return steps, lead_in_steps(step, steps)

    def _give_up_on_the_slowest(self, number: int, living: list[int]) -> None:
        """A cell without two laps has no spread, so no figure; the others, which are faster, may still get theirs."""
        cells = self.plan.comparisons[number].cells
        slowest = max(living, key=lambda position: self._steps[cells[position]].seconds)
        step = self._steps[cells[slowest]].seconds
        kind: FailureKind = "too_slow" if TWO * step > GRACE * self.plan.budget_seconds else "no_time"
        self._fail(number, slowest, kind, f"A step took {step:.2g} s: two laps did not fit into what was left.")

    def _round(self, number: int, workers: dict[int, Worker], order: list[int]) -> None:
        laps = []
        for position in order:
            steps, lead_in = self._lap_of(number, position)
            expected = (steps + lead_in) * self._steps[self.plan.comparisons[number].cells[position]].seconds
            limit = max(self._hang_seconds, SLOW_LAP_FACTOR * expected)
            try:
                done = workers[position].ask(RunLap(steps, lead_in), LapDone, limit)
            except CellFailedError as failure:
                self._fail(number, position, failure.kind, failure.reason, failure.detail)
            else:
                laps.append(Lap(position, steps, done.seconds, done.loss))
        if laps:
            self._emit(Round(number, self._clock() - self._started, tuple(laps)))


def build_request(plan: Plan, cell: Cell) -> Build:
    """Ask to build a cell as the plan says, with its fair number of threads."""
    threads, why = cpu_threads()
    return Build(cell=cell, data=plan.data, weights=plan.weights, threads=threads, threads_reason=why)


def hang_limit(cell: Cell, hang_seconds: float) -> float:
    """How long a cell may be silent: compiling gives no sign of life."""
    return hang_seconds * (COMPILE_FACTOR if cell.recipe.compile else 1)


def check_failed(failure: CellFailedError, what: str = "check") -> str:
    """Why a cell's numbers were not checked, or its step not looked at, where that itself failed."""
    return f"the {what} failed ({failure.kind}): {failure.reason}"[:20_000]


def _not_started(expected: float | None, left: float) -> str:
    why = "the budget was spent" if left <= 0 else f"{left:.0f} s were left"
    return f"Not started: {why}.{_hope(expected)}"


def _hope(expected: float | None) -> str:
    """What a step is expected to take, with two digits at least."""
    if expected is None:
        return ""
    decimals = max(0, 1 - floor(log10(expected)))
    return f" A step is expected to take up to {expected:.{decimals}f} s, by the smaller batch."
