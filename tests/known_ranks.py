"""Ranks of known speed that exist only as answers: what `torchlap scale` makes of them is known exactly."""

from collections.abc import Callable
from random import Random
from typing import Any, TypeVar, cast

from making import FACTS
from msgspec.structs import replace

from torchlap.measuring.plan import Options
from torchlap.measuring.scale import ScaleSession, Sizes, plan_scale
from torchlap.processes.failures import CellFailedError
from torchlap.processes.start import Launcher
from torchlap.schema.events import SCHEMA, Event, Header, Preparation, Run, Watched
from torchlap.schema.machine import DeviceFacts, Facts
from torchlap.schema.ranks import Link, LinkLap, RankFacts, RankNumerics
from torchlap.schema.recipe import Recipe
from torchlap.schema.replies import (
    AllReduced,
    Built,
    Description,
    LapsDone,
    LapTime,
    Prepared,
    RanksChecked,
    RanksDescribed,
    Ready,
    Released,
)
from torchlap.schema.requests import (
    AllReduce,
    Build,
    CheckRanks,
    DescribeRanks,
    Hello,
    Release,
    Request,
    RunLaps,
    WarmUp,
)
from torchlap.schema.workload import Cell

GPUS = tuple(DeviceFacts(f"cuda:{number}", "cuda", "NVIDIA H100") for number in range(8))
MACHINE: Facts = replace(FACTS, devices=(DeviceFacts("cpu", "cpu"), *GPUS), usable_cores=64)
DESCRIPTION = Description(MACHINE.devices, ("resnet18", "resnet50"), "")
ALONE_SECONDS, OWN_SECONDS, EXPOSED_SECONDS = 0.030, 0.001, 0.005
"""Of a step: on one device; DDP's own work; communication that is not hidden."""

NOISE = 0.005
START_SECONDS = 5.0
Answer = TypeVar("Answer")


class Known:
    """How long steps take, and what else ranks answer; a test changes what it is about."""

    def __init__(self) -> None:
        self.now = 0.0
        self.random = Random(1)
        self.alone, self.alone_factor = ALONE_SECONDS, 1.0
        self.own, self.exposed = OWN_SECONDS, EXPOSED_SECONDS
        self.slow_rank = 1.0
        self.watched: Callable[[Cell], Watched | None] = lambda _: None
        self.numerics = RankNumerics(limit=1e-3, steps=20, whole_error=0.0)
        self.facts: dict[str, Any] = {}
        self.breaks: Callable[[Cell, Request], None] = lambda _cell, _request: None
        self.living: set[int] = set()
        self.started = 0

    def clock(self) -> float:
        return self.now

    def step(self, cell: Cell) -> float:
        if ranks_of(cell) == 1:
            return self.alone * self.alone_factor
        return self.alone + self.own + (0.0 if cell.recipe.no_sync else self.exposed)


def ranks_of(cell: Cell) -> int:
    return int(cell.device.split(" x ")[0]) if " x " in cell.device else 1


class Launches:
    """A launcher of such ranks."""

    def __init__(self, known: Known) -> None:
        self.known = known
        self.start_up_seconds = 0.0

    def start(self) -> "Ranks":
        self.known.now += START_SECONDS
        self.known.started += 1
        return Ranks(self.known, self.known.started)

    def renew(self) -> None:
        return

    def close(self) -> None:
        return


class Ranks:
    """All ranks of a size."""

    def __init__(self, known: Known, number: int) -> None:
        self.known, self.pid = known, number
        self.cells: dict[int, Cell] = {}
        known.living.add(number)

    def kill(self) -> str:
        self.known.living.discard(self.pid)
        return ""

    def tell(self, request: Request) -> None:
        self.request = request

    def hear(self, answer: type[Answer], limit_seconds: float, *_: object) -> Answer:
        return cast("Answer", self.answered(self.request))

    def ask(self, request: Request, answer: type[Answer], limit_seconds: float, *_: object) -> Answer:
        self.tell(request)
        return self.hear(answer, limit_seconds)

    def answered(self, request: Request) -> object:
        match request:
            case Hello():
                return Ready()
            case Release():
                return Released()
            case Build(slot=slot, cell=cell):
                self.cells[slot] = cell
            case CheckRanks(build=Build(slot=slot)):
                cell = self.cells[slot]
            case _:
                cell = self.cells[getattr(request, "slot", 0)]
        try:
            self.known.breaks(cell, request)
        except CellFailedError:
            self.kill()
            raise
        return self.about(cell, request)

    def about(self, cell: Cell, request: Request) -> object:
        known, ranks = self.known, ranks_of(cell)
        match request:
            case Build():
                return Built()
            case WarmUp():
                return Prepared(self.preparation(cell))
            case RunLaps():
                return LapsDone(tuple(self.lap(cell, request.steps) for _ in range(request.laps)))
            case DescribeRanks():
                common = {"host": "x", "backend": "nccl", "threads": 4, "gradient_bytes": 10**8, "peak_bytes": 2 << 30}
                facts = {**common, **known.facts}
                return RanksDescribed(
                    tuple(RankFacts(rank=rank, device=f"cuda:{rank}", **facts) for rank in range(ranks))
                )
            case AllReduce():
                return AllReduced(Link(ranks=ranks, bytes=10**8, laps=(LinkLap(10, 0.02),) * 5))
        return RanksChecked(known.numerics)

    def preparation(self, cell: Cell) -> Preparation:
        step = self.known.step(cell)
        self.known.now += 3 * step
        return Preparation(
            first_step_seconds=step,
            warm_up_steps=3,
            warm_up_seconds=3 * step,
            steady=True,
            step_seconds=step,
            optimizer_seconds=1e-4,
            synchronize_seconds=1e-6,
            first_loss=2.3,
            memory_format="contiguous",
            threads=4,
            input_shape=(32, 3, 8, 8),
            parameters=10**6,
            watched=self.known.watched(cell),
        )

    def lap(self, cell: Cell, steps: int) -> LapTime:
        known, ranks = self.known, ranks_of(cell)
        each = [known.step(cell) * steps * (1 + NOISE * known.random.gauss(0, 1)) for _ in range(ranks)]
        if ranks > 1 and cell.recipe.no_sync:
            each[1] *= known.slow_rank
        seconds = max(each) if known.slow_rank != 1.0 else each[0]
        known.now += seconds
        items = ranks * cell.workload.batch * cell.recipe.accumulate * steps
        return LapTime(seconds, 1.0, items, tuple(each) if ranks > 1 else ())


def measured(
    known: Known | None = None, *, ranks: tuple[int, ...] | None = (2,), recipe: Recipe | None = None, **changes: Any
) -> Run:
    """A run of ranks of known speed."""
    known = known or Known()
    sizes = Sizes(ranks=ranks, total_batch=changes.pop("total_batch", None))
    options = Options(models=("resnet18",), recipes=(recipe or Recipe(),), **changes)
    plan = plan_scale(options, sizes, DESCRIPTION)
    events: list[Event] = []
    names = {group.cells[1].device for group in plan.groups}
    launchers = {name: cast("Launcher", Launches(known)) for name in ("", *names)}
    ScaleSession(
        plan,
        launchers,
        threads=lambda _: (4, "a test"),
        emit=events.append,
        watch=lambda _: None,
        clock=known.clock,
        started=0.0,
        hang_seconds=60.0,
    ).measure()
    assert not known.living, "ranks are left"
    return Run(
        Header(schema=SCHEMA, torchlap="0.1", started="2026-11-28T00:00:00", facts=MACHINE, plan=plan), tuple(events)
    )
