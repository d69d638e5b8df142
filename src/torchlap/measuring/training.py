"""Train each cell from each seed until it reaches the accuracy: cells take turns, A B, B A, one training at a time."""

from collections.abc import Callable
from typing import Literal

from msgspec.structs import asdict, replace

from torchlap.machine.facts import cpu_threads
from torchlap.measuring.context import LONGEST_TEXT, Status, build_request, hang_limit
from torchlap.measuring.plan import HANG_SECONDS
from torchlap.measuring.schedule import turn_order
from torchlap.processes.crew import Crew
from torchlap.processes.failures import CellFailedError
from torchlap.processes.start import Launcher
from torchlap.schema.events import Event, RunFinished
from torchlap.schema.replies import TrainedOn, TrainingBegun
from torchlap.schema.requests import BeginTraining, TrainOn
from torchlap.schema.training import Evaluated, Outcome, TrainingEnded, TrainingStarted
from torchlap.schema.workload import Plan

GROUP = 0
ROUNDING = 1e-9
SETTLED: tuple[Outcome, ...] = ("reached", "epochs", "not_finite", "failed")
"""A training that ended so is not repeated when its run is resumed."""


class TrainingSession:
    """Trains the cells of a plan. Every event goes to `emit` at once; what is being done goes to `watch`.

    Raises:
        ValueError: for a plan that trains nothing to an accuracy.
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
    ) -> None:
        if plan.training is None:
            raise ValueError("the plan trains nothing to an accuracy")
        self._plan, self._training = plan, plan.training
        self._crew, self._emit, self._watch, self._clock = Crew(launcher), emit, watch, clock
        self._started, self._end = started, started + plan.budget_seconds
        self._hang_seconds = hang_seconds
        self._threads = cpu_threads()
        self._cells = plan.groups[GROUP].cells
        self._settled: set[tuple[int, int]] = set()
        self._longest: dict[int, float] = {}
        """Of each cell: the longest training of this session, with all that belongs to it."""

    def train(self, events: tuple[Event, ...] = ()) -> None:
        """Train what is left to train, as far as it fits into the budget.

        Args:
            events: of earlier sessions, whose settled trainings are not repeated.

        Raises:
            KeyboardInterrupt: when interrupted; every event up to then was emitted, and no worker is left.
            RunFileError: when an event could not be written.
        """
        for event in events:
            if isinstance(event, TrainingEnded) and event.outcome in SETTLED:
                self._settled.add((event.cell, event.seed))
        try:
            for number, seed in enumerate(self._training.seeds):
                for cell in turn_order(range(len(self._cells)), number):
                    if (cell, seed) not in self._settled and self._fits(cell):
                        self._train(cell, seed)
        except KeyboardInterrupt:
            self._finish("interrupted")
            raise
        finally:
            self._crew.close()
        self._finish("complete")

    def _fits(self, cell: int) -> bool:
        """Whether another training is likely to end within the budget; the first of a cell is tried anyway."""
        return self._clock() + self._longest.get(cell, 0.0) <= self._end

    def _train(self, cell: int, seed: int) -> None:
        begun = self._clock()
        reason = detail = ""
        try:
            outcome = self._attempt(cell, seed)
        except CellFailedError as failure:
            outcome = "not_finite" if failure.kind == "not_finite" else "failed"
            reason, detail = failure.reason[:LONGEST_TEXT], failure.detail[-LONGEST_TEXT:]
        ended = TrainingEnded(group=GROUP, cell=cell, seed=seed, outcome=outcome, reason=reason, detail=detail)
        self._emit(ended)
        if outcome in SETTLED:
            self._settled.add((cell, seed))
        self._longest[cell] = max(self._longest.get(cell, 0.0), self._clock() - begun)

    def _attempt(self, cell: int, seed: int) -> Outcome:
        """One training: why it ended.

        Raises:
            CellFailedError: when the worker fails, or the loss is not finite.
        """
        plan, training = self._plan, self._training
        self._say(cell, seed, "building the model")
        build = build_request(plan, cell, self._cells[cell], self._threads)
        limit = hang_limit(self._cells[cell], self._hang_seconds)
        self._crew.build_one(cell, replace(build, seed=seed), limit)
        request = BeginTraining(slot=cell, seed=seed, learning_rate=training.learning_rate, data=plan.data)
        begun = self._crew.ask(cell, request, TrainingBegun, limit, lambda doing: self._say(cell, seed, doing))
        self._emit(TrainingStarted(group=GROUP, cell=cell, seed=seed, **asdict(begun)))
        steps, whole = 0, training.epochs * begun.epoch_steps
        every = training.evaluate_steps or begun.epoch_steps
        while steps < whole:
            count = min(every, whole - steps)
            answer = self._crew.ask(
                cell, TrainOn(cell, count), TrainedOn, limit, lambda doing: self._say(cell, seed, doing)
            )
            self._emit(Evaluated(group=GROUP, cell=cell, seed=seed, steps=count, **asdict(answer)))
            steps += count
            if answer.correct >= training.target * answer.of - ROUNDING:
                return "reached"
            self._say(cell, seed, f"epoch {steps / begun.epoch_steps:.3g}, accuracy {answer.correct / answer.of:.1%}")
            if steps < whole and self._clock() > self._end:
                return "budget"
        return "epochs"

    def _say(self, cell: int, seed: int, doing: str) -> None:
        done, of = len(self._settled), len(self._cells) * len(self._training.seeds)
        left = max(0.0, self._end - self._clock())
        self._watch(Status(done, of, f"{self._cells[cell]}, seed {seed}: {doing}", left))

    def _finish(self, reason: Literal["complete", "interrupted"]) -> None:
        wall = self._clock() - self._started
        start_up = min(wall, self._crew.start_up_seconds)
        self._emit(RunFinished(reason=reason, wall_seconds=wall, start_up_seconds=start_up))
