"""The order of a run: figures of all cells, then numerics, then bottlenecks, each within its share of the budget."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from math import inf
from statistics import median
from types import MappingProxyType
from typing import Literal

from torchlap.machine.conditions import GpuUsers, Watch
from torchlap.machine.facts import usable_core_numbers
from torchlap.measuring.context import Context, Status
from torchlap.measuring.group import GroupRun
from torchlap.measuring.idle import measure_idle
from torchlap.measuring.looks import Looks
from torchlap.measuring.plan import HANG_SECONDS
from torchlap.measuring.schedule import (
    Estimates,
    Pending,
    are_metered,
    are_watched,
    cores_apart,
    next_up,
    pending,
    share,
)
from torchlap.measuring.starts import MOST_STARTS, lap_share, planned_starts
from torchlap.processes.ahead import Ahead
from torchlap.processes.crew import Crew
from torchlap.processes.start import Launcher
from torchlap.runs.figures import LEAST_LAPS, Tally
from torchlap.schema.events import Event, RunFinished
from torchlap.schema.machine import DeviceFacts
from torchlap.schema.workload import Plan
from torchlap.stats import verdict

__all__ = ["Session", "Status"]

FIGURES_SHARE, SHARE_BEFORE_CHECKS = 0.85, 0.77
"""Of the budget, if only bottlenecks follow, and if accelerators' results are to be checked, too."""

LATEST_SHARE = 0.9
"""Of the budget: until then a group that has no figure yet may be started, at the cost of what follows."""

FIRST_SECONDS, PAIRED_SECONDS = 1.0, 2.0
"""How long the quick cells of a group may lap at first, and then all its cells in turns: none takes much of the time
before each has a figure."""

COMPILER_THREADS, MANY = 3, 2
"""So many threads for each compilation, if that leaves room for more than one."""

COMPILED_SHARE = 0.68
"""Of the budget: what is not compiled then is left out, so that the others can be measured."""

Place = tuple[int, int]
"""The number of a group, and the position of a cell in it."""

SPARE_SECONDS, MOST_SPARE_TURNS = 4.0, 3
"""What is left then goes to the widest intervals: for at least so long at a time, and so often a group."""


class Session:
    """Measures a plan. Every event goes to `emit` at once; what is being done goes to `watch`.

    So many checks of numerics run at the same time as there are `lanes`; `arms` are the launchers of arms that have
    their own.
    """

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
        arms: Mapping[str, Launcher] = MappingProxyType({}),
        isolate: bool = False,
        lanes: int = 1,
    ) -> None:
        crew = Crew(launcher, arms, isolate=isolate)
        self._context = Context(
            plan, crew, emit=emit, watch=watch, clock=clock, started=started, hang_seconds=hang_seconds
        )
        self._looks = Looks(self._context, lanes)
        self._devices, self._gpu_users = devices, GpuUsers()
        self._watches: dict[int, Watch] = {}
        self._complete = False
        self._held: int | None = None
        """The group whose cells the workers hold."""
        self._begun: set[int] = set()
        """Groups of which this session has measured a part."""
        self._starts: list[float] = []
        """Seconds that each group took to build its cells."""
        self._lapped = 0.0
        """Seconds that rounds have taken."""
        self._round_seconds: dict[int, float] = {}
        """Of each group."""

    @property
    def tallies(self) -> list[Tally]:
        """What is known about each group, in the plan's order."""
        return self._context.ledger.tallies

    def replay(self, events: tuple[Event, ...]) -> None:
        """Take in what an earlier session has measured: finished groups are not measured again."""
        for event in events:
            self._context.ledger.learn(event)
            self._complete = isinstance(event, RunFinished) and event.reason == "complete"
        if self._context.plan.arms:  # this session's processes are others, and what finished groups have counts
            self._context.start = max((tally.starts[-1] + 1 for tally in self.tallies if tally.starts), default=0)
            self._begun = {number for number, tally in enumerate(self.tallies) if tally.stopped}

    def measure(self) -> None:
        """Measure what is still to be measured; the last event says whether that was everything.

        Raises:
            KeyboardInterrupt: when interrupted; every event up to then was emitted, and no worker is left.
            RunFileError: when an event could not be written.
        """
        waiting = self._unfinished()
        if not waiting and self._complete:
            return
        try:
            if self._context.plan.energy and waiting:
                measure_idle(self._context)
            self._measure_figures(waiting)
            self._release(trim=True)
            self._context.end = self._context.started + self._context.plan.budget_seconds
            if self._context.plan.verify:
                self._looks.check_all()
            if self._context.plan.explain:
                self._looks.explain_all()
        except KeyboardInterrupt:
            self._finish("interrupted")
            raise
        finally:
            self._context.crew.close()
        self._finish("complete")

    def _unfinished(self) -> list[int]:
        return [number for number, tally in enumerate(self.tallies) if tally.stopped is None]

    def _measure_figures(self, waiting: Sequence[int]) -> None:
        """Quick cells first; then each whole group, its cells in turns; then what is left where it helps most."""
        context, plan = self._context, self._context.plan
        figures_end = context.started + self._figures_share() * plan.budget_seconds
        mixed = [number for number in waiting if 0 < len(self._quick(number)) < len(plan.groups[number].cells)]
        context.end = figures_end
        places = self._compiled_places(waiting)
        apart = [] if plan.energy else cores_apart(usable_core_numbers(), len(places))
        ahead = self._compile_ahead(places, apart) if apart else None
        try:
            self._measure_all(mixed, self._quick, FIRST_SECONDS)
            if ahead is None and context.threads >= MANY * COMPILER_THREADS:
                self._release()
                ahead = self._compile_ahead(places)
            if ahead:
                self._finish_compiling(ahead, places)
        finally:
            if ahead:
                ahead.close()
        begun = context.clock() - self._lapped
        self._measure_all(waiting, self._all_cells, PAIRED_SECONDS)
        if plan.arms:
            self._start_again(context.clock() - self._lapped - begun)
        self._spend_the_rest(waiting)

    def _start_again(self, preparing_seconds: float) -> None:
        """Measure every group again in new processes of each arm: those of one program differ more than their laps do.

        Args:
            preparing_seconds: what this session's first start took, beside importing torch and the laps.
        """
        context, end = self._context, self._context.end
        groups = [number for number, tally in enumerate(self.tallies) if len(tally.living()) > 1 and tally.rounds]
        done = max((len(set(self.tallies[number].starts)) for number in groups), default=MOST_STARTS)
        seconds = context.crew.longest_start_seconds + preparing_seconds
        count = planned_starts(context.left(), seconds, sum(self._round_seconds.values()), done)
        if count > done:
            context.end = context.clock() + lap_share(self._lapped, context.left(), seconds, 1 + count - done)
            self._spend_the_rest([number for number in groups if number in self._round_seconds])
        for number in range(done, count):
            if context.clock() + seconds >= end:  # the others took longer than expected
                break
            context.say(f"starting the workers again: {number + 1} of {count}")
            begun = context.clock() - self._lapped
            context.crew.start_anew()
            self._held, context.start = None, context.start + 1
            context.end = context.clock() + (end - context.clock()) / (count - number)
            self._measure_all(groups, self._all_cells, inf)
            seconds = max(seconds, context.clock() - self._lapped - begun)
        context.end = end

    def _figures_share(self) -> float:
        """The figures' part of the budget: what follows them gets no time for what it will not do."""
        plan = self._context.plan
        if plan.verify and any(cell.device != "cpu" for group in plan.groups for cell in group.cells):
            return SHARE_BEFORE_CHECKS
        return FIGURES_SHARE if plan.explain else 1.0

    def _compiled_places(self, waiting: Sequence[int]) -> list[Place]:
        """The cells on accelerators that must be compiled."""
        return [
            (number, position)
            for number in waiting
            for position, cell in enumerate(self._context.plan.groups[number].cells)
            if cell.recipe.compile and cell.device != "cpu" and position not in self.tallies[number].failures
        ]

    def _compile_ahead(self, places: Sequence[Place], cores: Sequence[Sequence[int]] = ()) -> Ahead | None:
        """Begin to compile several cells at the same time: in turns that would take most of a run.

        With cores of their own, others can lap meanwhile.
        """
        context = self._context
        if len(places) < MANY or context.left() <= 0:
            return None
        context.say(f"compiling {len(places)} cells")
        requests = [context.build_request(place, context.plan.groups[number].cells[place]) for number, place in places]
        return context.crew.compile_ahead(requests, cores)

    def _finish_compiling(self, ahead: Ahead, places: Sequence[Place]) -> None:
        """Wait for what is still being compiled, but leave time to measure."""
        context = self._context
        context.say(f"compiling {len(places)} cells")
        limit = max(1.0, context.started + COMPILED_SHARE * context.plan.budget_seconds - context.clock())
        for (number, position), compiled in zip(places, ahead.finish(limit), strict=True):
            if compiled.late:
                seconds = context.clock() - context.started
                context.fail(number, position, "too_slow", f"It was not compiled within {seconds:.0f} s.")
            else:
                cell = context.plan.groups[number].cells[position]
                context.compiled_ahead[cell] = compiled.seconds or 0.0

    def _spend_the_rest(self, numbers: Sequence[int]) -> None:
        """What is left goes to the widest intervals; when all are narrow, to cells that were watched only briefly."""
        context, tried = self._context, Counter[int]()
        while (spare := SPARE_SECONDS + self._start_seconds()) <= (left := context.left()):
            unsettled = [number for number in numbers if tried[number] < MOST_SPARE_TURNS and self._needs_more(number)]
            candidates = [group for group in self._pending(unsettled, self._all_cells) if group.least_seconds <= left]
            if not candidates:
                return
            chosen = max(candidates, key=lambda group: self._width(group.number))
            tried[chosen.number] += 1
            seconds = max(spare, chosen.least_seconds, left / len(candidates))
            self._measure_group(chosen.number, self._all_cells(chosen.number), seconds, patient=True)

    def _needs_more(self, number: int) -> bool:
        """Whether more laps would help a group's figures, and need not wait for another compilation."""
        plan, tally = self._context.plan, self.tallies[number]
        living = [position for position in tally.living() if tally.laps(position)]
        if not living or (number != self._held and any(cell.recipe.compile for cell in tally.group.cells)):
            return False
        narrow = verdict(tally.series(living), plan.precision_target, plan.confidence) == "precise"
        return not narrow or not (are_watched(tally, living) and are_metered(tally, living))

    def _width(self, number: int) -> float:
        """The widest relative half-width of a group's figures; 0 if it has none."""
        cells = self.tallies[number].result(self._context.plan.confidence).cells
        intervals = [interval for cell in cells for interval in (cell.throughput, cell.speed_up) if interval]
        return max((interval.half_width for interval in intervals), default=0.0)

    def _all_cells(self, number: int) -> Sequence[int]:
        return range(len(self._context.plan.groups[number].cells))

    def _quick(self, number: int) -> Sequence[int]:
        """The cells that neither run on the CPU, beside an accelerator, nor must be compiled."""
        cells = self._context.plan.groups[number].cells
        accelerated = any(cell.device != "cpu" for cell in cells)
        return [
            position
            for position, cell in enumerate(cells)
            if not cell.recipe.compile and (cell.device != "cpu" or not accelerated)
        ]

    def _measure_all(
        self, waiting: Sequence[int], positions_of: Callable[[int], Sequence[int]], most_seconds: float
    ) -> None:
        left = list(waiting)
        while left:
            left.remove(self._measure_next(left, positions_of, most_seconds))

    def _measure_next(
        self, waiting: Sequence[int], positions_of: Callable[[int], Sequence[int]], most_seconds: float
    ) -> int:
        """Measure one group, within its share of what is left, its laps for `most_seconds`; its number."""
        candidates = self._pending(waiting, positions_of)
        chosen = next_up(candidates)
        self._borrow(chosen)
        seconds = share(chosen, candidates, self._context.left())
        positions, cells = positions_of(chosen.number), self._context.plan.groups[chosen.number].cells
        if any(cells[position].recipe.compile for position in positions):
            most_seconds = inf  # another visit would have to compile again
        self._measure_group(chosen.number, positions, seconds, most_seconds)
        return chosen.number

    def _borrow(self, chosen: Pending) -> None:
        """Give a group that would get no figure in the time for figures some of the time after it."""
        context = self._context
        cells = self.tallies[chosen.number].group.cells
        complete = all(len(self.tallies[chosen.number].laps(place)) >= LEAST_LAPS for place in range(len(cells)))
        latest = context.started + LATEST_SHARE * context.plan.budget_seconds
        if not complete and context.left() < chosen.least_seconds:
            context.end = max(context.end, min(latest, context.clock() + chosen.least_seconds))

    def _pending(self, numbers: Sequence[int], positions_of: Callable[[int], Sequence[int]]) -> list[Pending]:
        groups, estimates = self._context.plan.groups, Estimates(self._context.ledger.steps)
        return [
            pending(number, [groups[number].cells[place] for place in positions_of(number)], estimates, self._starts)
            for number in numbers
        ]

    def _measure_group(
        self,
        number: int,
        positions: Sequence[int],
        seconds: float,
        most_seconds: float = inf,
        *,
        patient: bool = False,
    ) -> None:
        """Measure cells of a group within about `seconds`, their turns for `most_seconds`."""
        context = self._context
        if number not in self._watches:
            first = not self._watches
            self._watches[number] = Watch(self._devices, self._gpu_users, first=first, clock=context.clock)
        fresh = number not in self._begun
        self._begun.add(number)
        if self._held not in (None, number):
            self._release()
        self._held = number
        group = GroupRun(context, number, self._watches[number], positions)
        self._starts.append(
            group.measure(seconds, self._start_seconds(), fresh=fresh, most_seconds=most_seconds, patient=patient)
        )
        self._lapped += group.turns_seconds
        self._round_seconds[number] = group.round_seconds
        if context.plan.explain:
            self._looks.explain_held(number, positions)

    def _start_seconds(self) -> float:
        """What building the cells of a group is expected to take."""
        return median(self._starts) if self._starts else 0.0

    def _release(self, *, trim: bool = False) -> None:
        self._context.crew.release(trim=trim)
        self._held = None

    def _finish(self, reason: Literal["complete", "interrupted"]) -> None:
        wall = self._context.clock() - self._context.started
        start_up = min(wall, self._context.crew.start_up_seconds)
        self._context.emit(RunFinished(reason=reason, wall_seconds=wall, start_up_seconds=start_up))
