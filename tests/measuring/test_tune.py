"""The whole search on a fake clock: words with known gains, words that help nothing, and candidates that fail."""

from collections.abc import Callable
from math import exp
from random import Random
from typing import cast

import pytest
from machines import server

from torchlap.measuring.tune import candidates
from torchlap.measuring.tune.candidates import Place, combined, modes_of, precisions_of, with_word, words_of
from torchlap.measuring.tune.search import Hands, Search
from torchlap.processes.failures import CellFailedError
from torchlap.processes.start import Launcher
from torchlap.runs.figures import tally
from torchlap.runs.tuning import LOOKS, TunedRun, astray, standing, tuned
from torchlap.schema.base import FailureKind
from torchlap.schema.breakdown import Breakdown, Peaks
from torchlap.schema.effort import Tuning
from torchlap.schema.events import SCHEMA, Event, Header, Preparation, Round, Run, RunFinished
from torchlap.schema.machine import Facts
from torchlap.schema.messages import (
    Build,
    Built,
    Explain,
    Explained,
    Follow,
    Followed,
    LapsDone,
    LapTime,
    MeasurePeaks,
    PeaksReached,
    Prepared,
    Release,
    Released,
    Reply,
    Request,
    RunLaps,
    Verified,
    Verify,
    WarmUp,
)
from torchlap.schema.numerics import Numerics
from torchlap.schema.recipe import Recipe, parse_recipe
from torchlap.schema.tuning import CandidateAdded, CodeRun, LeftOut, Trajectory, TrajectoryFollowed
from torchlap.schema.workload import Cell, Group, Plan, Workload

SEEDS = range(20)
STEP = 0.02
NOISE = 0.02
"""Of a lap, on the log scale."""

GAINS = {"graph": 1.6, "compile": 1.3, "channels_last": 1.1, "fused": 1.05, "cudnn_benchmark": 1.0, "bf16": 1.5}
"""What each word is worth, alone and combined; others nothing."""

Speed = Callable[[Cell], float]


def words(recipe: Recipe) -> list[str]:
    return str(recipe).split("+")


def known_gains(cell: Cell) -> float:
    seconds = STEP
    for word in words(cell.recipe):
        seconds /= GAINS.get(word, 1.0)
    return seconds * (cell.workload.batch / 64)


class World:
    """A clock that only work moves on, and workers whose steps take `seconds(cell)`, with noise."""

    def __init__(self, seconds: Speed = known_gains, seed: int = 0, noise: float = NOISE) -> None:
        self.now, self.seconds, self.noise = 0.0, seconds, noise
        self.random = Random(seed)
        self.start_up_seconds = 0.0
        self.started = 0
        self.fails: dict[str, tuple[FailureKind, str]] = {}
        """By a word of the recipe: how its warm-up fails."""
        self.diverges: set[str] = set()
        self.freezes: set[str] = set()
        self.interrupt_at = 0
        """The turn, counted from 1, at which the user presses Ctrl-C."""
        self.turns = 0
        self.memory = 0

    def start(self) -> "FakeWorker":
        self.started += 1
        return FakeWorker(self)

    def close(self) -> None:
        return


class FakeWorker:
    pid = 0

    def __init__(self, world: World) -> None:
        self.world = world
        self.cells: dict[int, Cell] = {}

    def kill(self) -> None:
        self.cells.clear()

    def tell(self, request: Request) -> None:
        self.told = request
        if isinstance(request, Build):
            self.cells[request.slot] = request.cell

    def hear(self, answer: object, limit_seconds: float) -> Reply:
        if answer is Built:
            self.world.now += 0.1
            return Built()
        return self.ask(self.told, answer, limit_seconds)

    def ask(self, request: Request, answer: object, limit_seconds: float, _: object = None) -> Reply:
        if isinstance(request, Release):
            self.cells.clear()
            return Released()
        cell = self.cells[request.slot]  # type: ignore[union-attr]  # all others are about a cell
        match request:
            case WarmUp():
                return self.prepare(cell)
            case Verify():
                return Verified(Numerics(operators=9, closest=0.5))
            case Explain():
                return Explained(
                    Breakdown(phases={"forward": (0.1,)}, steps=(0.1,), peak_memory_bytes=self.world.memory or None)
                )
            case MeasurePeaks():
                return PeaksReached(Peaks(device=cell.device, flops={"fp32": 1e12}))
            case Follow():
                return Followed(self.follow(cell, request))
            case _:
                return self.turn(cell, cast("RunLaps", request))

    def prepare(self, cell: Cell) -> Prepared:
        for word, (kind, reason) in self.world.fails.items():
            if word in words(cell.recipe):
                raise CellFailedError(kind, reason)
        step = self.world.seconds(cell)
        self.world.now += 3 * step + (10.0 if cell.recipe.compile else 0.0)
        return Prepared(
            Preparation(
                first_step_seconds=step + (10.0 if cell.recipe.compile else 0.0),
                warm_up_steps=3,
                warm_up_seconds=3 * step,
                steady=True,
                step_seconds=step,
                optimizer_seconds=0.0,
                synchronize_seconds=0.0,
                first_loss=2.3,
                memory_format="contiguous",
                threads=1,
                input_shape=(64, 3, 8, 8),
                parameters=10,
            )
        )

    def follow(self, cell: Cell, request: Follow) -> Trajectory:
        self.world.now += request.steps * self.world.seconds(cell)
        off = 0.5 if self.world.diverges & set(words(cell.recipe)) else 0.0
        noise = 0.01 * request.seed
        losses = tuple(2.3 - 0.01 * step + (off + noise) * step / request.steps for step in range(request.steps))
        frozen = bool(self.world.freezes & set(words(cell.recipe)))
        still = ("layer.weight",) if frozen else ()
        moved = 9 if frozen else 10
        return Trajectory(losses=losses, seed=request.seed, perturbation=request.perturbation, moved=moved,
                          parameters=10, still=still)

    def turn(self, cell: Cell, request: RunLaps) -> LapsDone:
        self.world.turns += 1
        if self.world.turns == self.world.interrupt_at:
            raise KeyboardInterrupt
        self.world.now += request.lead_in * self.world.seconds(cell)
        laps = []
        for _ in range(request.laps):
            noise = exp(self.world.random.gauss(0.0, self.world.noise)) if self.world.noise else 1.0
            seconds = request.steps * self.world.seconds(cell) * noise
            self.world.now += seconds
            laps.append(LapTime(seconds, 2.0))
        return LapsDone(tuple(laps))


def plan_of(budget: float = 180.0, *, device: str = "cuda:0", tuning: Tuning | None = None) -> Plan:
    plain = Cell(Workload("resnet18", 64), Recipe(memory_format="contiguous"), device)
    return Plan(suite="tune", groups=(Group((plain,)),), budget_seconds=budget, tuning=tuning or Tuning())


def no_code(_plan: Plan, cell: Cell, _prepared: Preparation) -> str:
    return f"# {cell}"


def searched(world: World, plan: Plan | None = None, earlier: tuple[Event, ...] = ()) -> tuple[Run, TunedRun]:
    """Search, until the end or Ctrl-C."""
    plan = plan or plan_of()
    events: list[Event] = list(earlier)
    search = Search(
        plan,
        cast("Launcher", world),
        Hands(lambda _cell, _peaks: "launch", no_code, lambda _code, _limit: ((100.0, 101.0), "")),
        emit=events.append,
        watch=lambda _: None,
        clock=lambda: world.now,
        started=world.now,
        hang_seconds=120.0,
    )
    search.replay(earlier)
    try:
        search.measure()
    except KeyboardInterrupt:
        assert isinstance(events[-1], RunFinished)
    run = Run(Header(schema=SCHEMA, torchlap="0", started="", facts=server(), plan=plan), tuple(events))
    found = tuned(run)
    assert found is not None
    return run, found


def winner(found: TunedRun, tier: str = "same") -> set[str]:
    number = found.winners.get(tier)  # type: ignore[call-overload]  # a tier's name
    rung = found.rung(number) if number is not None else None
    return set(words(rung.result.cell.recipe)) if rung else set()


@pytest.mark.parametrize("seed", SEEDS)
def test_words_with_known_gains_are_found_and_combined(seed: int) -> None:
    _, found = searched(World(seed=seed))
    assert winner(found) == {"fp32", "graph", "compile", "channels_last", "fused"}
    assert winner(found, "lower") == {"bf16", "graph", "compile", "channels_last", "fused"}


@pytest.mark.parametrize("seed", SEEDS)
def test_where_nothing_helps_no_word_wins(seed: int) -> None:
    _, found = searched(World(lambda _: STEP, seed=seed))
    assert found.winners == {}
    assert {rung.standing for rung in found.rungs} <= {"tie", "open"}
    assert not any(rung.wins or rung.ties for rung in found.rungs)
