"""Answer requests about cells: build one, check its results, warm it up, run laps, break its step down."""

import gc
import time
from math import ceil
from typing import BinaryIO

import torch
from msgspec import structs

from torchlap.schema.events import Compiled, Preparation, Watched
from torchlap.schema.messages import decode_request, encode
from torchlap.schema.replies import (
    Built,
    Description,
    Explained,
    Followed,
    IdleRead,
    LapsDone,
    LapTime,
    PeaksReached,
    Prepared,
    Progress,
    Ready,
    Released,
    Reply,
    SuiteChecked,
    Tried,
    Used,
    Verified,
)
from torchlap.schema.requests import (
    AllReduce,
    BeginTraining,
    Build,
    Check,
    CheckRanks,
    CheckSuite,
    Describe,
    DescribeRanks,
    Explain,
    Follow,
    Hello,
    MeasureIdle,
    MeasurePeaks,
    Release,
    Request,
    RunLaps,
    TrainOn,
    TryOut,
    Verify,
    WarmUp,
)
from torchlap.worker import devices, meters
from torchlap.worker.breakdown import peaks
from torchlap.worker.breakdown.step import break_down
from torchlap.worker.cell import timing
from torchlap.worker.cell.bench import Bench
from torchlap.worker.cell.captured import STEPS_BEFORE
from torchlap.worker.cell.check import check
from torchlap.worker.cell.engaged import Compilations
from torchlap.worker.cell.memory_format import choose_format
from torchlap.worker.cell.models import known_models
from torchlap.worker.cell.step import Step
from torchlap.worker.cell.subject import parameters
from torchlap.worker.errors import ModelError, failure
from torchlap.worker.numerics.operators import check_operators
from torchlap.worker.numerics.step import verify
from torchlap.worker.numerics.trajectory import follow
from torchlap.worker.training import Training
from torchlap.worker.trial import try_out


class Held:
    """A cell that the worker holds: on its device, and, once it is warm, with the step that its laps run."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.step: Step | None = None
        self.training: Training | None = None
        self._meter: meters.Meter | None = None
        self._has_meter = True

    def trained(self) -> Training:
        """The training.

        Raises:
            ModelError: when none has begun.
        """
        if self.training is None:
            raise ModelError("No training has begun yet: send BeginTraining first.")
        return self.training

    def read_meter(self) -> meters.Reading | None:
        """The device's energy meter now; None if it has none, which `meters.measure_idle` explains."""
        if self._meter is None and self._has_meter:
            try:
                self._meter = meters.meter(self.bench.device)
            except meters.NoMeterError:
                self._has_meter = False
        return meters.read(self._meter) if self._meter else None

    def prepared(self) -> Step:
        """The step.

        Raises:
            ModelError: when the cell is not warm.
        """
        if self.step is None:
            raise ModelError("The cell is not warmed up yet: send WarmUp first.")
        return self.step


class CellServer:
    """Holds the cells of the current group, and answers the judge's requests about them and about the devices."""

    def __init__(self, connection: BinaryIO) -> None:
        self._connection = connection
        self._cells: dict[int, Held] = {}
        self._compiled: dict[tuple[str, str], Compiled] = {}
        """By model and phase: cells of one model share compiled code."""

    def send(self, reply: Reply) -> None:
        """Send a reply to the judge."""
        self._connection.write(encode(reply) + b"\n")
        self._connection.flush()

    def _report(self, doing: str) -> None:
        """Send a sign of life."""
        self.send(Progress(doing))

    def answer(self, line: bytes) -> None:
        """Do what an encoded request asks, and send the reply; an exception of the user's code is a reply, too."""
        request = decode_request(line)
        try:
            reply = self.handle(request)
        except BaseException as error:  # noqa: BLE001  the user's code may raise anything
            reply = failure(error)
        self.send(reply)

    def handle(self, request: Request) -> Reply:
        """The reply to a request.

        Raises:
            WorkerError: for what cannot be done; the user's code may raise anything.
        """
        match request:
            case Hello() | Describe() | TryOut() | CheckSuite() | MeasureIdle():
                return self._about_devices(request)
            case Check():
                return check(request)
            case Build(slot=slot):
                self._cells.pop(slot, None)
                self._cells[slot] = Held(Bench(request))
                return Built()
            case Release(trim=trim):
                self._release(trim=trim)
                return Released()
            case BeginTraining() | TrainOn():
                return self._train(self._held(request.slot), request)
            case DescribeRanks() | AllReduce() | CheckRanks():
                raise ModelError("This worker is not one of several ranks.")
            case _:
                return self._about_cell(self._held(request.slot), request)

    def _about_cell(self, held: Held, request: Verify | WarmUp | RunLaps | Explain | MeasurePeaks | Follow) -> Reply:
        """Requests about a cell, whose settings are the current ones."""
        match request:
            case Verify():
                return Verified(verify(held.bench, request, self._report))
            case Follow():
                return Followed(follow(held.bench, request, self._report))
            case WarmUp():
                with devices.recorded_warnings() as recorded:
                    preparation = self._warm_up(held, request)
                return Prepared(structs.replace(preparation, fallbacks=devices.fallbacks(recorded)))
            case RunLaps():
                return self._laps(held, request)
            case Explain():
                return Explained(break_down(held.bench, held.prepared(), request, self._report))
            case MeasurePeaks(limit_seconds=limit, known=known):
                first = held.bench.cell.recipe.precision
                return PeaksReached(peaks.measure(held.bench.cell.device, first, known, limit, self._report))

    def _train(self, held: Held, request: BeginTraining | TrainOn) -> Reply:
        """Begin a training, or go on with it."""
        match request:
            case BeginTraining():
                held.training = Training(held.bench, request, self._report)
                return held.training.begun()
            case TrainOn():
                return held.trained().train_on(request)

    def _held(self, slot: int) -> Held:
        """The cell in a slot, with its settings made the current ones."""
        if slot not in self._cells:
            raise ModelError("No cell is built yet: send Build first.")
        held = self._cells[slot]
        held.bench.activate()
        return held

    def _release(self, *, trim: bool) -> None:
        """Drop all cells, and return their memory to the accelerators, with `trim` to the system, too."""
        used = {held.bench.device for held in self._cells.values()}
        compiled = any(held.bench.cell.recipe.compile for held in self._cells.values())
        self._cells.clear()
        if compiled:
            torch.compiler.reset()  # compiled code keeps its module
            self._compiled.clear()
        gc.collect()
        for device in used:
            if device.type != "cpu":
                devices.release_cached_memory(device)
        if trim:
            devices.release_cached_memory(torch.device("cpu"))

    def _about_devices(self, request: Hello | Describe | TryOut | CheckSuite | MeasureIdle) -> Reply:
        """Requests that need no cell."""
        match request:
            case Hello():
                return Ready()
            case Describe():
                facts = devices.torch_facts()
                return Description(devices.list_devices(), known_models(), devices.accelerator_support(), facts)
            case TryOut(device=device):
                return Tried(try_out(device, self._report))
            case CheckSuite(device=device, thorough=thorough, limit_seconds=limit):
                return SuiteChecked(check_operators(device, self._report, thorough=thorough, limit_seconds=limit))
            case MeasureIdle(device=device):
                return IdleRead(meters.measure_idle(device))

    def _warm_up(self, held: Held, request: WarmUp) -> Preparation:
        bench = held.bench
        compilations = Compilations(self._compiled.get(_model(bench)))

        def timed(step: Step, steps: int) -> float:
            seconds = timing.lap(step, bench.synchronize, steps)
            step.loss()
            self._report("choosing the memory format")
            return seconds / steps

        choice = choose_format(bench, request, timed)
        step = choice.step or bench.step(choice.memory_format)
        held.step = step
        losses = [] if choice.first_loss is None else [choice.first_loss]

        def run_lap(steps: int) -> float:
            seconds = timing.lap(step, bench.synchronize, steps)
            losses.append(step.loss())
            return seconds

        cold_steps = STEPS_BEFORE + 1 if step.captured else 1
        warm = timing.warm_up(
            run_lap,
            request.limit_seconds,
            self._report,
            choice.earlier_seconds,
            compiles=bench.cell.recipe.compile or cold_steps > 1,
            cold_steps=cold_steps,
        )
        watched = _watch(bench, step, warm.step_seconds)
        return Preparation(
            first_step_seconds=warm.first_step_seconds,
            warm_up_steps=warm.steps,
            warm_up_seconds=warm.seconds,
            steady=warm.steady,
            step_seconds=warm.step_seconds,
            optimizer_seconds=timing.lap(step.update, bench.synchronize, 1) if step.trains else 0.0,
            synchronize_seconds=timing.synchronize_seconds(bench.synchronize),
            first_loss=losses[0],
            memory_format=choice.memory_format,
            threads=torch.get_num_threads(),
            input_shape=bench.input_shape,
            parameters=parameters(bench.module),
            choices=(*bench.choices, choice.reason),
            watched=watched,
            prefetched=bench.prefetched,
            compiled=self._counted(bench, compilations),
            capture_seconds=step.captured.seconds if step.captured else None,
            own=step.own,
        )

    def _counted(self, bench: Bench, compilations: Compilations) -> Compiled | None:
        """What was compiled for a cell; cells of one model share it."""
        compiled = compilations.counted(bench.cell.recipe)
        if compiled is not None:
            self._compiled[_model(bench)] = compiled
        return compiled

    def _laps(self, held: Held, request: RunLaps) -> LapsDone:
        step, laps, before = held.prepared(), list[LapTime](), list[meters.Reading | None]()
        cell = held.bench.cell
        usual = None if cell.recipe.accumulate == 1 else cell.step_rows * request.steps

        def after_lap(seconds: float) -> None:
            laps.append(LapTime(seconds, step.loss(), step.items_of_lap(request.steps) or usual))

        time.sleep(request.wait_seconds)
        try:
            timing.turn(
                step,
                held.bench.synchronize,
                request.steps,
                laps=request.laps,
                lead_in=request.lead_in,
                after_lap=after_lap,
                seconds=request.seconds,
                before_laps=lambda: before.append(held.read_meter() if request.metered else None),
            )
            used = _used(before[0], held)
        except BaseException as error:
            if not laps:
                raise
            return LapsDone(tuple(laps), failure(error))
        if request.settle_seconds:
            timing.settle(request.settle_seconds)
        return LapsDone(tuple(laps), used=used)


def _used(before: meters.Reading | None, held: Held) -> Used | None:
    """The energy since a reading; None without one."""
    after = held.read_meter() if before else None
    if before is None or after is None:
        return None
    return Used(max(0.0, after.joules - before.joules), after.seconds - before.seconds)


def _model(bench: Bench) -> tuple[str, str]:
    """The model and the phase of a cell."""
    return bench.cell.workload.model, bench.cell.workload.phase


def _watch(bench: Bench, step: Step, step_seconds: float) -> Watched | None:
    """Time a few more laps where the device may wait for its host or its input; None elsewhere."""
    if bench.device.type == "cpu" and not bench.has_loader:
        return None
    laps = min(timing.MOST_WATCHED, ceil(timing.LAP_SECONDS / step_seconds))
    enqueue, total = timing.watch(step.watched, bench.synchronize, laps)
    wait = step.input_wait_seconds / laps / timing.WATCHED_STEPS
    return Watched(step_seconds=total, enqueue_seconds=enqueue, input_wait_seconds=wait)
