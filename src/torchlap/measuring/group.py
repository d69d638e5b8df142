"""One group: prepare its cells, then let them take turns until their intervals are narrow enough."""

from collections.abc import Sequence
from math import floor, inf, log10
from typing import NamedTuple

from msgspec.structs import replace

from torchlap.machine import clocks
from torchlap.machine.conditions import Watch
from torchlap.measuring.context import Context
from torchlap.measuring.schedule import (
    METER_SECONDS,
    METERED_TURN_SECONDS,
    TURN_SECONDS,
    are_metered,
    are_watched,
    is_hopeless,
    lap_steps,
    lead_in_steps,
    metered_laps,
    metered_lead_in,
    turn_laps,
    turn_order,
    warm_up_seconds,
)
from torchlap.processes.failures import CellFailedError
from torchlap.runs.figures import LEAST_LAPS
from torchlap.schema.base import FailureKind
from torchlap.schema.energy import TurnEnergy
from torchlap.schema.events import CellPrepared, ClockJumped, GroupFinished, GroupStarted, Lap, Round, StopReason
from torchlap.schema.replies import LapsDone, Prepared
from torchlap.schema.requests import RunLaps, WarmUp
from torchlap.schema.workload import Cell
from torchlap.stats import verdict

SLOW_LAP_FACTOR = 10
"""A turn may take this many times what was expected before its worker counts as hung."""

LEAST_WAIT_SECONDS = 1.0
"""A cell that was started may take this long even though the budget is spent."""

SETTLE_SHARE = 0.1
"""Of a turn, that waiting for a worker's threads to become idle may take, before another worker has its turn."""

GRACE = 0.1
"""A second lap may overrun the budget by this share: without it the first would be lost."""


class Turn(NamedTuple):
    """A cell's turn: steps of a lap, untimed steps before, laps, and the seconds after which no further lap begins."""

    steps: int
    lead_in: int
    laps: int
    seconds: float


class GroupRun:
    """Measures the cells of one group, or some of them: all are built at the same time, and take turns.

    Args:
        context: of the session.
        number: of the group.
        watch: what else the machine is doing.
        positions: the cells to measure; the group is finished when they are all of them.
    """

    def __init__(self, context: Context, number: int, watch: Watch, positions: Sequence[int]) -> None:
        self._context, self._watch, self._number = context, watch, number
        self._tally = context.ledger.tallies[number]
        self._positions = [position for position in positions if position not in self._tally.failures]
        self._is_whole = len(positions) == len(self._cells)
        self._rounds = 0
        self._held: list[int] = []
        """Cells that are still warm from the visit before."""
        self._end = context.end
        self.turns_seconds = 0.0
        """What the rounds took."""
        self._compile_seconds = 0.0
        """Compilation is not step time: it takes nothing from the group's share for laps."""

    @property
    def _cells(self) -> tuple[Cell, ...]:
        """Of the group; candidates may join it."""
        return self._tally.group.cells

    def measure(
        self, seconds: float, start_seconds: float, *, fresh: bool, most_seconds: float = inf, patient: bool = False
    ) -> float:
        """Measure within about `seconds`; the seconds that building the cells took. Workers then still hold the cells.

        Args:
            seconds: the group's share of the time.
            start_seconds: of these, what building its cells is expected to take.
            fresh: earlier events of the group are void.
            most_seconds: of turns, once the cells are warm.
            patient: go on even if more laps do not seem to help, and until each cell was watched long enough.
        """
        context = self._context
        begun, left = context.clock(), context.left()
        context.emit(GroupStarted(self._number, fresh))
        preparing = self.prepare(max(0.0, seconds - start_seconds), left)
        self._watch.begin()
        warm = context.clock()
        end = min(begun + seconds + self._compile_seconds, warm + most_seconds)
        reason = self._take_turns(end, patient=patient)
        self.turns_seconds = context.clock() - warm
        conditions = self._watch.end(self._number)
        if self._is_whole:
            context.emit(conditions)
            context.emit(GroupFinished(self._number, reason))
        return preparing

    @property
    def round_seconds(self) -> float:
        """What a round took, on average."""
        return self.turns_seconds / max(1, self._rounds)

    def living(self) -> list[int]:
        """The cells to measure that have not failed, in the plan's order."""
        return [position for position in self._tally.living() if position in self._positions]

    def prepare(self, spare_seconds: float, left_seconds: float) -> float:
        """Build and warm up the cells that are not held yet; the seconds that building took."""
        clock, crew = self._context.clock, self._context.crew
        begun = clock()
        self._held = [position for position in self._positions if crew.holds(position)]
        self._build()
        building = clock() - begun
        limit = warm_up_seconds(spare_seconds, left_seconds, max(1, len(self._positions)))
        for position in self._positions:
            if position in self._held and crew.holds(position):
                continue
            if position not in self._tally.failures and self._is_built(position):
                self._warm_up(position, limit)
        return building

    def _fail(self, position: int, failure: CellFailedError) -> None:
        self._context.fail(self._number, position, failure.kind, failure.reason, failure.detail)

    def _skip(self, position: int, kind: FailureKind, reason: str, detail: str = "") -> None:
        """Leave a cell out for want of time; without a figure from before, that is why it has none."""
        self._positions = [other for other in self._positions if other != position]
        if len(self._tally.laps(position)) < LEAST_LAPS:
            self._context.fail(self._number, position, kind, reason, detail)

    def _build(self) -> None:
        """Build each cell that has a chance; a slow cell must not take the time of those that need little."""
        context = self._context
        estimates = {position: context.ledger.estimate(self._cells[position]) for position in self._positions}
        hopeful = []
        for position, expected in sorted(estimates.items(), key=lambda item: item[1] or 0.0):
            left = context.left()
            if is_hopeless(expected, left):
                self._skip(position, "no_time" if left <= 0 else "too_slow", _not_started(expected, left))
            else:
                context.say(f"{self._cells[position]}: preparing")
                hopeful.append(position)
        self._positions = hopeful
        requests = {
            position: context.build_request(position, self._cells[position])
            for position in hopeful
            if not context.crew.holds(position)
        }
        for position, failure in context.crew.build(requests, context.hang_seconds).items():
            self._fail(position, failure)

    def _is_built(self, position: int) -> bool:
        """Build a cell again if its worker is gone; whether a worker holds it now."""
        crew, cell = self._context.crew, self._cells[position]
        if crew.holds(position):
            return True
        try:
            crew.build_one(position, self._context.build_request(position, cell), self._context.hang_seconds)
        except CellFailedError as failure:
            self._fail(position, failure)
        return crew.holds(position)

    def _is_ready(self, position: int) -> bool:
        """Build a cell again and warm it up if its worker is gone; whether it can have its turn."""
        crew = self._context.crew
        if not crew.holds(position) and self._is_built(position):
            self._warm_up(position, LEAST_WAIT_SECONDS)
        return crew.holds(position)

    def _warm_up(self, position: int, limit_seconds: float) -> None:
        context, cell = self._context, self._cells[position]
        expected = context.ledger.estimate(cell)
        hang = context.hang_limit(cell)
        limit = min(hang, max(context.left(), LEAST_WAIT_SECONDS))
        request = WarmUp(
            slot=position,
            limit_seconds=limit_seconds,
            memory_format=context.ledger.format_of(cell, self._cells),
        )
        try:
            reply = context.crew.ask(position, request, Prepared, limit, context.reporter(cell))
        except CellFailedError as failure:
            if failure.kind == "hang" and limit < hang:
                reason = f"No step finished within {limit:.0f} s.{_estimate(expected)}"
                self._skip(position, "too_slow", reason, failure.detail)
            else:
                self._fail(position, failure)
            return
        preparation = replace(reply.preparation, compiled_ahead_seconds=context.compiled_ahead.get(cell, 0.0))
        context.emit(CellPrepared(group=self._number, cell=position, preparation=preparation))
        if cell.recipe.compile:
            self._compile_seconds += reply.preparation.first_step_seconds

    def _take_turns(self, end: float, *, patient: bool) -> StopReason:
        """Rounds until every interval is narrow enough, noise no longer averages out, or the time is up."""
        plan, self._end = self._context.plan, end
        reason: StopReason = "budget"
        while living := self.living():
            if self._rounds:
                decided = verdict(self._tally.series(living), plan.precision_target, plan.confidence)
                if decided and (not patient or (decided == "precise" and self._are_watched(living))):
                    return decided
                reason = "precise" if decided == "precise" else "budget"
            if not self._another_round_fits(living, end):
                if self._has_figures(living):
                    return reason
                self._give_up_on_the_slowest(living)
                continue
            self._context.say(f"{self._cells[0].workload.model}: round {self._rounds + 1}")
            self.round(turn_order(living, self._rounds))
            self._watch.glance()
        return "failed"

    def _are_watched(self, living: Sequence[int]) -> bool:
        return are_watched(self._tally, living) and are_metered(self._tally, living)

    def _has_figures(self, living: Sequence[int]) -> bool:
        """Whether each cell has laps enough for an interval, and each speed-up rounds enough."""
        laps = all(len(self._tally.laps(position)) >= LEAST_LAPS for position in living)
        return laps and (len(living) == 1 or self._rounds >= LEAST_LAPS)

    def _done(self, living: Sequence[int]) -> int:
        """Rounds, or the laps of a cell without partners."""
        return self._rounds if len(living) > 1 else len(self._tally.laps(living[0]))

    def _step_seconds(self, position: int) -> float:
        return self._context.ledger.steps[self._cells[position]].seconds

    def _another_round_fits(self, living: list[int], end: float) -> bool:
        context = self._context
        needed = sum(self._turn_seconds(position) for position in living)
        if self._has_figures(living):
            return context.clock() + needed <= end
        grace = GRACE * context.plan.budget_seconds
        return context.clock() + needed * max(1, LEAST_LAPS - self._done(living)) <= context.end + grace

    def _turn_seconds(self, position: int) -> float:
        """The least that a turn takes."""
        turn = self._turn_of(position, chance=0.0)
        return (turn.steps + turn.lead_in) * self._step_seconds(position)

    def _lap_seconds(self, position: int) -> float:
        step = self._step_seconds(position)
        return step * lap_steps(step, self._tally.prepared[position].synchronize_seconds)

    def _turn_of(self, position: int, chance: float) -> Turn:
        """A cell's next turn, from what is known about the step's time now."""
        step = self._step_seconds(position)
        steps = lap_steps(step, self._tally.prepared[position].synchronize_seconds)
        partners = [self._lap_seconds(other) for other in self.living() if other != position]
        longest = max(partners) if partners else min(TURN_SECONDS, self._end - self._context.clock())
        laps = turn_laps(len(self._tally.laps(position)), steps * step, longest)
        lead_in = self._lead_in(position, step, steps, chance, alone=not partners)
        if self._context.plan.energy:
            laps, lead_in = metered_laps(laps, steps * step), metered_lead_in(lead_in, step)
            longest = max(longest, METERED_TURN_SECONDS)
        return Turn(steps, lead_in, laps, max(0.0, longest))

    def _lead_in(self, position: int, step: float, steps: int, chance: float, *, alone: bool) -> int:
        """Steps before a turn; a cell that nothing has interrupted since its last turn needs none."""
        if alone:
            return 0 if self._rounds or position in self._held else lead_in_steps(step, steps, chance)
        return max(lead_in_steps(step, steps, chance), self._tally.prepared[position].prefetched)

    def _give_up_on_the_slowest(self, living: list[int]) -> None:
        """A cell without two laps has no spread, so no figure; the others, which are faster, may still get theirs."""
        slowest = max(living, key=self._step_seconds)
        step = self._step_seconds(slowest)
        too_slow = LEAST_LAPS * step > GRACE * self._context.plan.budget_seconds
        reason = f"A step took {step:.2g} s: two laps did not fit into the remaining time."
        self._skip(slowest, "too_slow" if too_slow else "no_time", reason)

    def round(self, order: list[int]) -> None:
        """One round: a turn of each of these cells, in this order."""
        context, laps, energy = self._context, list[Lap](), list[TurnEnergy]()
        for position in order:
            laps += self._turn(position, energy)
        self._rounds += 1
        if laps:
            at = context.clock() - context.started
            context.emit(Round(self._number, at, tuple(laps), tuple(energy), context.start))

    def _turn(self, position: int, energy: list[TurnEnergy]) -> list[Lap]:
        """The laps of a cell's turn; none when it fails. What the meter counted is added to `energy`."""
        context = self._context
        if not self._is_ready(position):
            return []
        planned = self._turn_of(position, context.random())
        lapping = planned.laps * planned.steps * self._step_seconds(position)
        expected = lapping + planned.lead_in * self._step_seconds(position)
        limit = max(context.hang_seconds, SLOW_LAP_FACTOR * expected)
        homes = {(self._cells[other].device, self._cells[other].arm) for other in self.living()}
        alone = len(homes) == 1 and not (context.crew.isolates and len(self.living()) > 1)
        request = RunLaps(
            slot=position,
            steps=planned.steps,
            lead_in=planned.lead_in,
            laps=planned.laps,
            seconds=planned.seconds,
            settle_seconds=0.0 if alone else SETTLE_SHARE * lapping,
            metered=context.plan.energy,
            wait_seconds=context.random() * METER_SECONDS if context.plan.energy else 0.0,
        )
        before = clocks.read()
        try:
            turn = context.crew.ask(position, request, LapsDone, limit)
        except CellFailedError as failure:
            self._fail(position, failure)
            return []
        if turn.failed:
            context.crew.drop(position)
            self._fail(position, CellFailedError(turn.failed.kind, turn.failed.reason, turn.failed.detail))
        laps = [Lap(position, planned.steps, lap.seconds, lap.loss, lap.items, lap.rank_seconds) for lap in turn.laps]
        if self._was_disturbed(position, laps, clocks.jump(before, clocks.read())):
            return []
        if turn.used:
            energy.append(TurnEnergy(position, turn.used.joules, turn.used.seconds))
        return laps

    def _was_disturbed(self, position: int, laps: Sequence[Lap], jump: clocks.Jump | None) -> bool:
        """Whether the machine slept during a turn, or its clock was set: then its laps are recorded apart."""
        if jump is None:
            return False
        at = self._context.clock() - self._context.started
        disturbed = ClockJumped(
            group=self._number,
            cell=position,
            at_seconds=at,
            asleep_seconds=jump.asleep,
            wall_seconds=jump.wall,
            laps=tuple(laps),
        )
        self._context.emit(disturbed)
        return True


def _not_started(expected: float | None, left: float) -> str:
    why = "the budget was spent" if left <= 0 else f"only {left:.0f} s were left"
    return f"Not started: {why}.{_estimate(expected)}"


def _estimate(expected: float | None) -> str:
    """What a step is expected to take, with at least two digits."""
    if expected is None:
        return ""
    decimals = max(0, 1 - floor(log10(expected)))
    return f" A step is estimated at up to {expected:.{decimals}f} s, based on the smaller batch."
