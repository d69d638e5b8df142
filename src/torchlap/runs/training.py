"""From the events of trainings to times to accuracy: every number of `torchlap train` is computed here."""

from collections.abc import Sequence
from math import inf

from msgspec import Struct
from msgspec.structs import replace

from torchlap.runs.censored import Median, Quantity, median_of
from torchlap.runs.figures import LEAST_LAPS
from torchlap.schema.events import Run
from torchlap.schema.training import Evaluated, Outcome, TrainingEnded, TrainingPlan, TrainingStarted
from torchlap.schema.workload import Cell
from torchlap.stats import Interval, lap_interval


class Attempt(Struct, frozen=True, kw_only=True):
    """One training: of a cell, from a seed.

    Attributes:
        started: None if it failed before.
        ended: None while it goes on, and after an interruption.
    """

    seed: int
    started: TrainingStarted | None
    evaluations: tuple[Evaluated, ...]
    ended: TrainingEnded | None

    @property
    def outcome(self) -> Outcome | None:
        """Why it ended; None if it did not."""
        return self.ended.outcome if self.ended else None

    @property
    def seconds(self) -> float:
        """Of training, without warm-up and evaluations."""
        return sum(event.seconds for event in self.evaluations)

    @property
    def evaluation_seconds(self) -> float:
        """Of all evaluations."""
        return sum(event.evaluation_seconds for event in self.evaluations)

    @property
    def steps(self) -> int:
        """Of the whole training."""
        return sum(event.steps for event in self.evaluations)

    @property
    def epochs(self) -> float:
        """How often the training went through its data."""
        return self.steps / self.started.epoch_steps if self.started else 0.0

    @property
    def warm_up_seconds(self) -> float | None:
        """Of the steps that were undone."""
        return self.started.warm_up_seconds if self.started else None

    @property
    def accuracy(self) -> float | None:
        """At the last evaluation."""
        return self.evaluations[-1].accuracy if self.evaluations else None

    @property
    def items_per_second(self) -> float | None:
        """Over the whole training."""
        return sum(event.items for event in self.evaluations) / self.seconds if self.evaluations else None

    @property
    def time(self) -> Quantity | None:
        """Seconds until the target was reached, as far as known; None for a training that says nothing about it.

        A training whose loss was not finite, or that used up its epochs, did not reach the target in its time; how much
        longer it would have taken is not known, perhaps forever.
        """
        match self.outcome:
            case "not_finite":
                return Quantity(inf, inf)
            case _ if not self.evaluations:
                return None
            case "reached":
                return Quantity(self.seconds, self.seconds)
            case "epochs" | "budget":
                return Quantity(self.seconds, inf)
            case _:
                return None


class CellTraining(Struct, frozen=True, kw_only=True):
    """All trainings of a cell.

    Attributes:
        time: seconds until the target; None without a training that ended.
        sooner: how many times as fast as the baseline it gets there, from pairs of the same seed.
        throughput: items a second while training; None from fewer than two trainings.
        speed_up: of the throughput, from the same pairs.
    """

    cell: Cell
    attempts: tuple[Attempt, ...]
    time: Median | None
    sooner: Median | None
    throughput: Interval | None
    speed_up: Interval | None

    @property
    def reached(self) -> int:
        """How many trainings reached the target."""
        return sum(attempt.outcome == "reached" for attempt in self.attempts)

    @property
    def counted(self) -> int:
        """How many trainings say whether the target is reached."""
        return sum(attempt.time is not None for attempt in self.attempts)


def training_plan(run: Run) -> TrainingPlan:
    """What the run was to train.

    Raises:
        ValueError: for a run that trains nothing to an accuracy.
    """
    if run.header.plan.training is None:
        raise ValueError("not a run of torchlap train")
    return run.header.plan.training


def attempts_of(run: Run) -> dict[tuple[int, int], Attempt]:
    """The trainings of a run, by cell and seed; of one that was started again, the last."""
    found: dict[tuple[int, int], Attempt] = {}
    evaluations: dict[tuple[int, int], list[Evaluated]] = {}
    for event in run.events:
        match event:
            case TrainingStarted(cell=cell, seed=seed):
                found[cell, seed] = Attempt(seed=seed, started=event, evaluations=(), ended=None)
                evaluations[cell, seed] = []
            case Evaluated(cell=cell, seed=seed) if (cell, seed) in found:
                evaluations[cell, seed].append(event)
            case TrainingEnded(cell=cell, seed=seed):
                known = found.get((cell, seed))
                if known is None or known.ended:  # it failed before it started
                    known = Attempt(seed=seed, started=None, evaluations=(), ended=None)
                    evaluations[cell, seed] = []
                found[cell, seed] = replace(known, ended=event)
            case _:
                pass
    return {place: replace(known, evaluations=tuple(evaluations[place])) for place, known in found.items()}


def trainings(run: Run) -> tuple[CellTraining, ...]:
    """The figures of each cell, in the plan's order; the first cell is the baseline."""
    plan, confidence = training_plan(run), run.header.plan.confidence
    found = attempts_of(run)
    cells = run.header.plan.groups[0].cells
    by_cell = [[found[place, seed] for seed in plan.seeds if (place, seed) in found] for place in range(len(cells))]
    return tuple(
        _training(cell, attempts, by_cell[0] if place else [], confidence)
        for place, (cell, attempts) in enumerate(zip(cells, by_cell, strict=True))
    )


def _training(cell: Cell, attempts: Sequence[Attempt], base: Sequence[Attempt], confidence: float) -> CellTraining:
    times = [attempt.time for attempt in attempts if attempt.time]
    rates = [attempt.items_per_second for attempt in attempts if attempt.items_per_second]
    others = {attempt.seed: attempt for attempt in base}
    pairs = [(others[attempt.seed], attempt) for attempt in attempts if attempt.seed in others]
    ratios = [_times_as_soon(first.time, own.time) for first, own in pairs if first.time and own.time]
    faster = [
        own.items_per_second / first.items_per_second
        for first, own in pairs
        if own.items_per_second and first.items_per_second
    ]
    return CellTraining(
        cell=cell,
        attempts=tuple(attempts),
        time=median_of(times, confidence) if times else None,
        sooner=median_of(ratios, confidence) if ratios else None,
        throughput=lap_interval(rates, confidence) if len(rates) >= LEAST_LAPS else None,
        speed_up=lap_interval(faster, confidence) if len(faster) >= LEAST_LAPS else None,
    )


def _times_as_soon(baseline: Quantity, own: Quantity) -> Quantity:
    """How many times as fast the target is reached, as far as known."""
    return Quantity(_over(baseline.low, own.high, unknown=0.0), _over(baseline.high, own.low, unknown=inf))


def _over(seconds: float, other: float, *, unknown: float) -> float:
    """A ratio of times; of two that are infinite, what is unknown."""
    return unknown if seconds == other == inf else seconds / other if other < inf else 0.0
