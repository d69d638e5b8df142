"""Answer requests about a cell that several ranks train together; every rank is asked the same at the same time."""

import gc
import socket
from collections.abc import Callable
from math import ceil
from typing import BinaryIO

import torch
from msgspec import Struct
from msgspec.structs import replace
from torch import nn

from torchlap.schema.events import Preparation, Watched
from torchlap.schema.ranks import RankFacts
from torchlap.schema.replies import (
    AllReduced,
    Built,
    LapsDone,
    LapTime,
    Prepared,
    RanksChecked,
    RanksDescribed,
    Released,
    Reply,
)
from torchlap.schema.requests import AllReduce, Build, CheckRanks, DescribeRanks, Release, Request, RunLaps, WarmUp
from torchlap.schema.workload import Cell
from torchlap.worker import devices
from torchlap.worker.cell import timing
from torchlap.worker.cell.bench import Bench
from torchlap.worker.cell.sources import Part
from torchlap.worker.cell.step import Step
from torchlap.worker.cell.subject import parameters
from torchlap.worker.errors import ModelError
from torchlap.worker.ranks import link, numerics
from torchlap.worker.ranks.model import gradient_bytes, share_state, step_of
from torchlap.worker.ranks.together import Together, lap
from torchlap.worker.serve import CellServer

LOST_PARAMETERS = "Expected to have finished reduction in the prior iteration"
"""Of DDP's error, where a parameter had no gradient."""


class Shared(Struct):
    """A model on its device with its step, which cells with and without synchronization share."""

    bench: Bench
    step: Step
    module: nn.Module
    gradient_bytes: int
    peak_bytes: Callable[[], int | None]


class RankServer(CellServer):
    """One rank's part of the cells that it holds with the others."""

    def __init__(self, connection: BinaryIO, rank: int, world_size: int, local_rank: int) -> None:
        super().__init__(connection)
        self._part, self._local_rank = Part(rank, world_size), local_rank
        self._together = Together(world_size)
        self._shared: dict[Cell, Shared] = {}
        self._slots: dict[int, Cell] = {}

    def handle(self, request: Request) -> Reply:
        """The reply to a request.

        Raises:
            WorkerError: for what cannot be done; the user's code may raise anything.
        """
        match request:
            case Build():
                return self._build(request)
            case Release():
                self._drop()
                return Released()
            case CheckRanks(build=build, steps=steps):
                self._drop()
                found = numerics.check(self._here(build), self._part, self._together, steps, self._report)
                return RanksChecked(found)
            case WarmUp() | RunLaps() | DescribeRanks() | AllReduce():
                return self._about_shared(request)
            case _:
                return super().handle(request)

    def _about_shared(self, request: WarmUp | RunLaps | DescribeRanks | AllReduce) -> Reply:
        if request.slot not in self._slots:
            raise ModelError("No cell is built yet: send Build first.")
        cell = self._slots[request.slot]
        shared = self._shared[_whole(cell)]
        shared.bench.activate()
        shared.step.synchronizes = not cell.recipe.no_sync
        match request:
            case WarmUp():
                preparation = self._prepare(shared, request)
                self._agree(shared)
                return Prepared(preparation)
            case RunLaps():
                return self._turn(shared, request)
            case DescribeRanks():
                return RanksDescribed((self._facts(shared),))
            case AllReduce(limit_seconds=limit):
                device, synchronize = shared.bench.device, shared.bench.synchronize
                return AllReduced(link.measure(shared.gradient_bytes, device, synchronize, self._together, limit))

    def _here(self, request: Build) -> Build:
        """The request for this rank's own device, whatever the cell calls all of them together."""
        kind = request.cell.device.rpartition(" x ")[2].partition(":")[0].partition(" ")[0]
        device = kind if kind in devices.WITHOUT_INDEX else f"{kind}:{self._local_rank}"
        return replace(request, cell=replace(_whole(request.cell), device=device))

    def _build(self, request: Build) -> Reply:
        key = _whole(request.cell)
        if key not in self._shared:
            here = self._here(request)
            peak = devices.track_peak_memory(devices.select(here.cell.device))
            bench = Bench(here, self._part)
            size = gradient_bytes(bench.module)
            step, module = step_of(bench, self._together.ranks)
            self._shared[key] = Shared(bench, step, module, size, peak)
        self._slots[request.slot] = request.cell
        return Built()

    def _drop(self) -> None:
        """Drop all cells, and their memory on the device."""
        used = {shared.bench.device for shared in self._shared.values()}
        self._shared.clear()
        self._slots.clear()
        torch.compiler.reset()
        gc.collect()
        for device in used:
            devices.release_cached_memory(device)

    def _prepare(self, shared: Shared, request: WarmUp) -> Preparation:
        """Warm up; all ranks run as many steps, because they decide by the longest of their times."""
        bench, step, losses = shared.bench, shared.step, list[float]()

        def run_lap(steps: int) -> float:
            seconds = self._together.longest(lap(step, bench.synchronize, steps, self._together))
            losses.append(step.loss())
            return seconds

        try:
            warm = timing.warm_up(run_lap, request.limit_seconds, self._report, compiles=bench.cell.recipe.compile)
        except RuntimeError as error:
            if LOST_PARAMETERS in str(error):
                raise ModelError(
                    "Some parameters get no gradient, which DDP does not allow: freeze them with requires_grad_(False)"
                    ", or add static_graph to the recipe."
                ) from None
            raise
        return Preparation(
            first_step_seconds=warm.first_step_seconds,
            warm_up_steps=warm.steps,
            warm_up_seconds=warm.seconds,
            steady=warm.steady,
            step_seconds=warm.step_seconds,
            optimizer_seconds=timing.lap(step.update, bench.synchronize, 1),
            synchronize_seconds=self._together.longest(timing.synchronize_seconds(self._synchronized(bench))),
            first_loss=losses[0],
            memory_format=bench.layout,
            threads=torch.get_num_threads(),
            input_shape=bench.input_shape,
            parameters=parameters(bench.module),
            choices=tuple(bench.choices),
            watched=self._watch(shared, warm.step_seconds),
            prefetched=bench.prefetched,
        )

    def _synchronized(self, bench: Bench) -> Callable[[], None]:
        """What a lap of several ranks costs beside its steps: they begin as far apart as this takes at most."""

        def synchronized() -> None:
            bench.synchronize()
            self._together.wait()

        return synchronized

    def _watch(self, shared: Shared, step_seconds: float) -> Watched | None:
        """How far the host keeps ahead, and how long the slowest rank waits for its input."""
        bench, step = shared.bench, shared.step
        if bench.device.type == "cpu" and not bench.has_loader:
            return None
        laps = min(timing.MOST_WATCHED, ceil(timing.LAP_SECONDS / step_seconds))
        before = step.input_wait_seconds
        enqueue, total = timing.watch(step.watched, bench.synchronize, laps)
        wait = (step.input_wait_seconds - before) / laps / timing.WATCHED_STEPS
        return Watched(
            step_seconds=self._together.longest(total),
            enqueue_seconds=self._together.longest(enqueue),
            input_wait_seconds=self._together.longest(wait),
        )

    def _turn(self, shared: Shared, request: RunLaps) -> LapsDone:
        """Laps that all ranks begin together; a failure ends the turn on all of them, because the others would wait."""
        step, bench, together = shared.step, shared.bench, self._together
        rows = bench.cell.step_rows
        for _ in range(request.lead_in):
            step()
        laps, spent = list[LapTime](), 0.0
        for _ in range(request.laps):
            seconds = lap(step, bench.synchronize, request.steps, together)
            items = step.items_of_lap(request.steps) or rows * request.steps
            each = tuple(together.each(seconds))
            all_items = round(sum(together.each(items)))
            loss = sum(together.each(step.loss())) / together.ranks
            is_told = together.ranks > 1 and self._part.number == 0  # once is enough, where there are thousands
            laps.append(LapTime(max(each), loss, all_items, each if is_told else ()))
            spent += max(each)
            if spent >= request.seconds:
                break
        self._agree(shared)
        if request.settle_seconds:
            timing.settle(request.settle_seconds)
        return LapsDone(tuple(laps))

    def _agree(self, shared: Shared) -> None:
        """After steps without synchronization, have the same parameters on all ranks again, before another turn."""
        if not shared.step.synchronizes:
            share_state(shared.module)
            shared.bench.synchronize()

    def _facts(self, shared: Shared) -> RankFacts:
        """What this rank is."""
        bench = shared.bench
        return RankFacts(
            rank=self._part.number,
            host=socket.gethostname(),
            device=str(bench.device),
            model=devices.model_of(bench.device),
            backend=link.backend_of(bench.device, self._together.ranks),
            threads=torch.get_num_threads(),
            loader_workers=max(bench.loader_workers[:1], default=0),
            peak_bytes=shared.peak_bytes(),
            gradient_bytes=shared.gradient_bytes,
            transports=link.transports(),
            nvlink=link.nvlink(bench.device),
        )


def _whole(cell: Cell) -> Cell:
    """The cell with synchronization, whose model it shares."""
    return replace(cell, recipe=replace(cell.recipe, no_sync=False))
