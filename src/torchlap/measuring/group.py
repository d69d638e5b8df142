"""One group: prepare its cells, then let them take turns until their intervals are narrow enough."""

from math import floor, log10

from torchlap.machine.conditions import Watch
from torchlap.measuring.context import Context
from torchlap.measuring.looks import EXPLAIN_SHARE, Looks, build_request, hang_limit
from torchlap.measuring.schedule import (
    FAIR_ROUNDS,
    OVERRUN,
    Pending,
    estimate_step,
    is_hopeless,
    lap_steps,
    lead_in_steps,
    turn_order,
    warm_up_seconds,
)
from torchlap.processes.failures import CellFailedError
from torchlap.processes.worker import Worker
from torchlap.runs.figures import LEAST_LAPS
from torchlap.schema.base import FailureKind
from torchlap.schema.events import CellPrepared, GroupFinished, GroupStarted, Lap, Round, StopReason
from torchlap.schema.messages import Built, LapDone, Prepared, RunLap, WarmUp
from torchlap.stats import verdict

SLOW_LAP_FACTOR = 10
"""A lap may take this many times what was expected before its worker counts as hung."""

LEAST_WAIT_SECONDS = 1.0
"""A cell that was started may take this long even though the budget is spent."""

GRACE = 0.1
"""A second lap may overrun the budget by this share: without it the first would be lost."""


class GroupRun:
    """Measures one group: one worker a cell, all alive at the same time."""

    def __init__(self, context: Context, looks: Looks, chosen: Pending, watch: Watch) -> None:
        self._context, self._looks, self._watch = context, looks, watch
        self._number, self._start_seconds = chosen.number, chosen.start_seconds
        self._cells = context.plan.groups[chosen.number].cells
        self._tally = context.ledger.tallies[chosen.number]
        self._workers: dict[int, Worker] = {}

    def measure(self, seconds: float) -> float:
        """Measure the group within about `seconds`; the seconds that preparing its cells took, without warm-up."""
        context = self._context
        begun, left = context.clock(), context.left()
        context.emit(GroupStarted(self._number))
        try:
            preparing = self._prepare(max(0.0, seconds - self._start_seconds), left)
            self._watch.begin()
            reserved = EXPLAIN_SHARE * seconds if context.plan.explain else 0.0
            reason = self._take_turns(begun + seconds - reserved, OVERRUN * left)
            context.emit(self._watch.end(self._number))
            context.emit(GroupFinished(self._number, reason))
            if context.plan.explain:
                self._looks.explain(self._number, self._workers)
        finally:
            for worker in self._workers.values():
                worker.kill()
        return preparing

    def _prepare(self, spare_seconds: float, left_seconds: float) -> float:
        """Build, check and warm up the cells; the seconds that took, without the checks and the warm-up."""
        clock = self._context.clock
        begun = clock()
        self._build()
        built = self._cheapest_first(self._await_built())
        before = clock()
        built = [position for position in built if self._check(position)]
        checking = clock() - before
        for position in built:
            self._warm_up(position, warm_up_seconds(spare_seconds, left_seconds, len(self._cells)))
        warming = sum(preparation.warm_up_seconds for preparation in self._tally.prepared.values())
        return max(0.0, clock() - begun - warming - checking)

    def _fail(self, position: int, failure: CellFailedError) -> None:
        self._context.fail(self._number, position, failure.kind, failure.reason, failure.detail)

    def _build(self) -> None:
        """Start a worker for each cell that has a chance, and let all of them build at the same time."""
        context = self._context
        for position, cell in enumerate(self._cells):
            expected, left = estimate_step(cell, context.ledger.steps), context.left()
            if is_hopeless(expected, left):
                kind: FailureKind = "no_time" if left <= 0 else "too_slow"
                context.fail(self._number, position, kind, _not_started(expected, left))
                continue
            context.say(f"{cell}: preparing")
            try:
                self._workers[position] = context.launcher.start()
                self._workers[position].tell(build_request(context.plan, cell))
            except CellFailedError as failure:
                self._fail(position, failure)

    def _await_built(self) -> list[int]:
        """The cells that are on their devices."""
        built = []
        for position in set(self._workers) - set(self._tally.failures):
            try:
                self._workers[position].hear(Built, self._context.hang_seconds)
            except CellFailedError as failure:
                self._fail(position, failure)
            else:
                built.append(position)
        return built

    def _cheapest_first(self, positions: list[int]) -> list[int]:
        """A slow cell must not take the time of those that need little."""
        steps = self._context.ledger.steps
        return sorted(positions, key=lambda position: estimate_step(self._cells[position], steps) or 0.0)

    def _check(self, position: int) -> bool:
        """Check a cell's numerics; whether there is still a worker for it."""
        return self._looks.check_numerics(self._number, position, self._workers[position]) or self._rebuild(position)

    def _rebuild(self, position: int) -> bool:
        """Replace a worker that the check ended; whether that worked."""
        context = self._context
        del self._workers[position]
        try:
            self._workers[position] = context.launcher.start()
            request = build_request(context.plan, self._cells[position])
            self._workers[position].ask(request, Built, context.hang_seconds)
        except CellFailedError as failure:
            self._fail(position, failure)
            return False
        return True

    def _warm_up(self, position: int, limit_seconds: float) -> None:
        context, cell = self._context, self._cells[position]
        expected = estimate_step(cell, context.ledger.steps)
        hang = hang_limit(cell, context.hang_seconds)
        limit = min(hang, max(context.left(), LEAST_WAIT_SECONDS))
        request = WarmUp(
            limit_seconds=limit_seconds,
            memory_format=context.ledger.formats.get(cell, "auto"),
            memory_format_hint=context.ledger.format_at_other_batch(cell),
        )
        try:
            reply = self._workers[position].ask(request, Prepared, limit, lambda doing: context.say(f"{cell}: {doing}"))
        except CellFailedError as failure:
            if failure.kind == "hang" and limit < hang:
                reason = f"No step finished within {limit:.0f} s.{_estimate(expected)}"
                context.fail(self._number, position, "too_slow", reason, failure.detail)
            else:
                self._fail(position, failure)
            return
        context.emit(CellPrepared(group=self._number, cell=position, preparation=reply.preparation))

    def _take_turns(self, end: float, overrun: float) -> StopReason:
        """Rounds until every interval is narrow enough, noise no longer averages out, or the time is up."""
        plan = self._context.plan
        while living := self._tally.living():
            rounds = len(self._tally.rounds)
            if rounds >= LEAST_LAPS:
                decided = verdict(self._tally.series(), plan.precision_target, plan.confidence)
                if decided:
                    return decided
            if not self._another_round_fits(living, end + overrun if rounds < FAIR_ROUNDS else end):
                if rounds >= LEAST_LAPS:
                    return "budget"
                self._give_up_on_the_slowest(living)
                continue
            self._context.say(f"{self._cells[0].workload.model}: round {rounds + 1}")
            self._round(turn_order(living, rounds))
            self._watch.glance()
        return "failed"

    def _step_seconds(self, position: int) -> float:
        return self._context.ledger.steps[self._cells[position]].seconds

    def _another_round_fits(self, living: list[int], end: float) -> bool:
        context, rounds = self._context, len(self._tally.rounds)
        needed = sum(sum(self._lap_of(position)) * self._step_seconds(position) for position in living)
        if rounds >= LEAST_LAPS:
            return context.clock() + needed <= end
        grace = GRACE * context.plan.budget_seconds
        return context.clock() + needed * (LEAST_LAPS - rounds) <= context.end + grace

    def _lap_of(self, position: int) -> tuple[int, int]:
        """Steps of a lap, and of its lead-in, from what is known about the step's time now."""
        step = self._step_seconds(position)
        slowest = max(self._step_seconds(other) for other in self._tally.living())
        steps = lap_steps(step, self._tally.prepared[position].synchronize_seconds, slowest)
        return steps, lead_in_steps(step, steps)

    def _give_up_on_the_slowest(self, living: list[int]) -> None:
        """A cell without two laps has no spread, so no figure; the others, which are faster, may still get theirs."""
        slowest = max(living, key=self._step_seconds)
        step = self._step_seconds(slowest)
        too_slow = LEAST_LAPS * step > GRACE * self._context.plan.budget_seconds
        reason = f"A step took {step:.2g} s: two laps did not fit into the remaining time."
        self._context.fail(self._number, slowest, "too_slow" if too_slow else "no_time", reason)

    def _round(self, order: list[int]) -> None:
        context, laps = self._context, []
        for position in order:
            steps, lead_in = self._lap_of(position)
            expected = (steps + lead_in) * self._step_seconds(position)
            limit = max(context.hang_seconds, SLOW_LAP_FACTOR * expected)
            try:
                lap = self._workers[position].ask(RunLap(steps, lead_in), LapDone, limit)
            except CellFailedError as failure:
                self._fail(position, failure)
            else:
                laps.append(Lap(position, steps, lap.seconds, lap.loss))
        if laps:
            context.emit(Round(self._number, context.clock() - context.started, tuple(laps)))


def _not_started(expected: float | None, left: float) -> str:
    why = "the budget was spent" if left <= 0 else f"only {left:.0f} s were left"
    return f"Not started: {why}.{_estimate(expected)}"


def _estimate(expected: float | None) -> str:
    """What a step is expected to take, with at least two digits."""
    if expected is None:
        return ""
    decimals = max(0, 1 - floor(log10(expected)))
    return f" A step is estimated at up to {expected:.{decimals}f} s, from the smaller batch."
