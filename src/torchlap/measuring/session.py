"""Which group is measured next, and how much of the budget it gets."""

from collections.abc import Callable, Sequence
from typing import Literal

from torchlap.machine.conditions import GpuUsers, Watch
from torchlap.measuring.context import Context, Status
from torchlap.measuring.group import GroupRun
from torchlap.measuring.looks import Looks
from torchlap.measuring.plan import HANG_SECONDS
from torchlap.measuring.schedule import next_up, pending, share
from torchlap.processes.start import Launcher
from torchlap.runs.figures import Tally
from torchlap.schema.events import Event, RunFinished
from torchlap.schema.machine import DeviceFacts
from torchlap.schema.workload import Plan

__all__ = ["Session", "Status"]


class Session:
    """Measures a plan. Every event goes to `emit` at once; what is being done goes to `watch`."""

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
        self._context = Context(
            plan, launcher, emit=emit, watch=watch, clock=clock, started=started, hang_seconds=hang_seconds
        )
        self._looks = Looks(self._context)
        self._devices, self._gpu_users = devices, GpuUsers()
        self._interrupted = False
        self._starts: list[float] = []
        """Seconds that each group took to prepare its cells, without their warm-up."""

    @property
    def tallies(self) -> list[Tally]:
        """What is known about each group, in the plan's order."""
        return self._context.ledger.tallies

    def replay(self, events: tuple[Event, ...]) -> None:
        """Take in what an earlier session has measured: finished groups are not measured again."""
        for event in events:
            self._context.ledger.learn(event)
            self._interrupted = isinstance(event, RunFinished) and event.reason == "interrupted"
        self._context.ledger.explained_seconds = 0.0  # the clock is this session's, too

    def measure(self) -> None:
        """Measure what is still to be measured; the last event says whether that was everything.

        Raises:
            KeyboardInterrupt: when interrupted; every event up to then was emitted, and no worker is left.
            RunFileError: when an event could not be written.
        """
        waiting = [number for number, tally in enumerate(self.tallies) if tally.stopped is None]
        if not waiting and not self._interrupted:
            return  # a resumed run that was complete
        try:
            while waiting:
                waiting.remove(self._measure_next(waiting))
        except KeyboardInterrupt:
            self._finish("interrupted")
            raise
        self._finish("complete")

    def _measure_next(self, waiting: Sequence[int]) -> int:
        """Measure one group, within its share of what is left; its number."""
        context = self._context
        groups, steps = context.plan.groups, context.ledger.steps
        candidates = [pending(number, groups[number], steps, self._starts) for number in waiting]
        chosen = next_up(candidates)
        watch = Watch(self._devices, self._gpu_users, first=not self._starts, clock=context.clock)
        group = GroupRun(context, self._looks, chosen, watch)
        self._starts.append(group.measure(share(chosen, candidates, context.left())))
        return chosen.number

    def _finish(self, reason: Literal["complete", "interrupted"]) -> None:
        wall = self._context.clock() - self._context.started
        start_up = min(wall, self._context.launcher.start_up_seconds)
        self._context.emit(RunFinished(reason=reason, wall_seconds=wall, start_up_seconds=start_up))
