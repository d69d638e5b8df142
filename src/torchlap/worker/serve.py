"""Obey the judge: serve one cell, or fork workers that do.

Requests and replies travel over the socket FD; what the user's code prints goes to the log that is this process's
output. When the judge is gone, so is the worker, with all that it started.
"""

import gc
import os
import queue
import select
import signal
import socket
import sys
import threading
import time
import traceback
from math import ceil
from typing import BinaryIO, NoReturn

import torch
import torchvision  # noqa: F401  imported before forking, so that workers need not
from msgspec import structs

from torchlap.schema.base import FailureKind
from torchlap.schema.events import Preparation, Watched
from torchlap.schema.messages import (
    Build,
    Built,
    Check,
    Checked,
    CheckSuite,
    Describe,
    Description,
    Explain,
    Explained,
    Failed,
    Hello,
    LapDone,
    MeasurePeaks,
    PeaksReached,
    Prepared,
    Progress,
    Ready,
    Reply,
    Request,
    RunLap,
    SuiteChecked,
    TryOut,
    Verified,
    Verify,
    WarmUp,
    decode_request,
    encode,
)
from torchlap.worker import devices
from torchlap.worker.breakdown import peaks
from torchlap.worker.breakdown.phases import explain
from torchlap.worker.cell import timing
from torchlap.worker.cell.data import DataError, digits
from torchlap.worker.cell.models import ModelError, build, known, parameters, printable
from torchlap.worker.cell.recipes import Bench, NotFiniteError, Step, choose_format
from torchlap.worker.numerics import operators
from torchlap.worker.numerics.step import verify
from torchlap.worker.trial import try_out

LONGEST_DETAIL = 8000
REAP_SECONDS = 5.0
REAP_LOOK_SECONDS = 0.01
CONTROL_BYTES = 1000
OUT_OF_MEMORY_WORDS = ("out of memory", "can't allocate memory", "not enough memory")
REFUSED_WORDS = (
    "doesn't support",
    "does not support",
    "not supported",
    "not implemented for",
    "not currently implemented",
)


class Cell:
    """The one cell that this worker holds."""

    def __init__(self, connection: BinaryIO) -> None:
        self._connection = connection
        self._bench: Bench | None = None
        self._step: Step | None = None
        self._synchronize = devices.synchronizer(torch.device("cpu"))

    def say(self, reply: Reply) -> None:
        """Send a reply to the judge."""
        self._connection.write(encode(reply) + b"\n")
        self._connection.flush()

    def answer(self, line: bytes) -> None:
        """Handle an encoded request, and send its reply: an error in a model's code is a reply, too."""
        request = decode_request(line)
        try:
            reply = self.obey(request)
        except BaseException as error:  # noqa: BLE001  a model's code may raise anything
            reply = failure(error)
        self.say(reply)

    def obey(self, request: Request) -> Reply:
        """Do what is asked."""
        match request:
            case Hello() | Describe() | TryOut() | CheckSuite():
                return self._tell_of_devices(request)
            case Check(model=model, batch=batch, weights=weights, data=data):
                subject = build(model, batch, weights)
                if subject.image_size is not None:
                    digits(data)
                return Checked(parameters(subject.module))
            case Build():
                self._bench = Bench(request)
                self._synchronize = self._bench.synchronize
                return Built()
            case Verify():
                return Verified(verify(self._built(), request, lambda doing: self.say(Progress(doing))))
            case WarmUp():
                with devices.heard() as heard:
                    preparation = self._warm_up(self._built(), request)
                return Prepared(structs.replace(preparation, fallbacks=devices.fallbacks(heard)))
            case RunLap() | Explain() | MeasurePeaks():
                return self._of_the_step(self._built(), request)

    def _tell_of_devices(self, request: Hello | Describe | TryOut | CheckSuite) -> Reply:
        """What needs no cell."""
        match request:
            case Hello():
                return Ready()
            case Describe():
                said = devices.torch_facts()
                return Description(devices.found(), known(), devices.looked_for(), said)
            case TryOut(device=device):
                return try_out(device, lambda doing: self.say(Progress(doing)))
            case CheckSuite(device=device, thorough=thorough):
                say = self.say
                return SuiteChecked(operators.check(device, lambda doing: say(Progress(doing)), thorough=thorough))

    def _built(self) -> Bench:
        if self._bench is None:
            raise ModelError("A cell was to be warmed up before it was built.")
        return self._bench

    def _warm_up(self, bench: Bench, request: WarmUp) -> Preparation:
        choice = choose_format(bench, request, self._timed)
        step = choice.step or bench.step(choice.memory_format)
        self._step = step
        losses = [] if choice.first_loss is None else [choice.first_loss]

        def run_lap(steps: int) -> float:
            seconds = timing.lap(step, bench.synchronize, steps)
            losses.append(step.loss())
            return seconds

        warm = timing.warm_up(run_lap, request.limit_seconds, lambda doing: self.say(Progress(doing)), choice.seen)
        watched = self._watch(bench, step, warm.step_seconds)
        gc.collect()
        gc.freeze()  # what stays until the end need not be looked through before every lap
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
        )

    def _watch(self, bench: Bench, step: Step, step_seconds: float) -> Watched | None:
        """Look at some more laps, where the device could wait for its host or for its input."""
        if bench.device.type == "cpu" and not bench.has_loader:
            return None
        laps = min(timing.MOST_WATCHED, ceil(timing.LAP_SECONDS / step_seconds))
        enqueue, whole = timing.watch(step.watched, bench.synchronize, laps)
        wait = step.input_wait_seconds / laps / timing.WATCHED_STEPS
        return Watched(step_seconds=whole, enqueue_seconds=enqueue, input_wait_seconds=wait)

    def _timed(self, step: Step, steps: int) -> float:
        seconds = timing.lap(step, self._synchronize, steps)
        step.loss()
        self.say(Progress("choosing the memory format"))
        return seconds / steps

    def _prepared(self) -> Step:
        if self._step is None:
            raise ModelError("A lap was asked for before the cell was prepared.")
        return self._step

    def _of_the_step(self, bench: Bench, request: RunLap | Explain | MeasurePeaks) -> Reply:
        """Time it, or look why it takes so long; after peaks were measured the cell has another precision."""

        def say(doing: str) -> None:
            self.say(Progress(doing))

        match request:
            case RunLap(steps=steps, lead_in=lead_in):
                return self._lap(self._prepared(), steps, lead_in)
            case Explain():
                return Explained(explain(bench, self._prepared(), request, say))
            case MeasurePeaks(limit_seconds=limit, known=known):
                return PeaksReached(peaks.measure(bench.cell.device, bench.cell.recipe.precision, known, limit, say))

    def _lap(self, step: Step, steps: int, lead_in: int) -> LapDone:
        seconds = timing.lap(step, self._synchronize, steps, lead_in)
        loss = step.loss()
        timing.settle()
        return LapDone(seconds, loss)


def failure(error: BaseException) -> Failed:
    """What went wrong, in the judge's words."""
    text = printable(error)
    first = text.splitlines()[0][:500] if text else type(error).__name__
    detail = "".join(traceback.format_exception(error))[-LONGEST_DETAIL:].encode(errors="replace").decode()
    if isinstance(error, ModelError | DataError):
        return Failed("error", text, "")
    if isinstance(error, NotFiniteError):
        return Failed("not_finite", text, "")
    if isinstance(error, devices.RefusedError):
        return Failed("refused", text, "")
    return Failed(_kind(error), f"{type(error).__name__}: {first}", detail)


def _kind(error: BaseException) -> FailureKind:
    text = printable(error).lower()
    if isinstance(error, MemoryError | torch.OutOfMemoryError) or any(word in text for word in OUT_OF_MEMORY_WORDS):
        return "out_of_memory"
    if isinstance(error, NotImplementedError) or any(word in text for word in REFUSED_WORDS):
        return "refused"
    return "error"


def serve(connection: socket.socket) -> NoReturn:
    """Answer requests until the judge hangs up."""
    requests: queue.Queue[bytes] = queue.Queue()
    threading.Thread(target=_listen, args=(connection.makefile("rb"), requests), daemon=True).start()
    cell = Cell(connection.makefile("wb"))
    while True:
        cell.answer(requests.get())


def _listen(stream: BinaryIO, requests: "queue.Queue[bytes]") -> None:
    """Pass requests on; when the judge is gone, end this worker, whatever it is doing, and all that it started."""
    while line := stream.readline():
        requests.put(line)
    os.killpg(0, signal.SIGKILL)


def template(control: socket.socket) -> NoReturn:
    """Fork a worker for each `fork` message; wait for the end of one for each `reap` message; end with the judge."""
    control.send(b"ready")
    while True:
        message, descriptors, _, _ = socket.recv_fds(control, CONTROL_BYTES, 2)
        word, _, argument = message.decode().partition(" ")
        if word == "fork":
            control.send(str(_fork(control, *descriptors)).encode())
        elif word == "reap":
            control.send(str(_reap(int(argument))).encode())
        else:
            os._exit(0)  # the judge is gone; its workers see the same


def _fork(control: socket.socket, connection: int, log: int) -> int:
    """Fork a worker onto a connection and a log; its process number."""
    pid = os.fork()
    if pid:
        os.close(connection)
        os.close(log)
        return pid
    try:
        control.close()
        os.setsid()
        os.dup2(log, 1)
        os.dup2(log, 2)
        _prefer_for_the_kernel_to_kill()
        serve(socket.socket(fileno=connection))
    finally:
        os._exit(1)


def _prefer_for_the_kernel_to_kill() -> None:
    """When memory runs out, the worker goes, not the judge nor the user's other programs."""
    try:
        with open("/proc/self/oom_score_adj", "w") as file:  # noqa: PTH123  one write to the kernel
            file.write("1000")
    except OSError:
        return


def _reap(pid: int) -> int:
    """The exit status of a child that is ending, negative for a signal; it is killed if it does not end."""
    end = time.monotonic() + REAP_SECONDS
    while time.monotonic() < end:
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        select.select([], [], [], REAP_LOOK_SECONDS)
    os.kill(pid, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def main() -> NoReturn:
    """Take the mode and the socket's number from the command line."""
    mode, descriptor = sys.argv[1], int(sys.argv[2])
    connection = socket.socket(fileno=descriptor)
    if mode == "template":
        template(connection)
    _prefer_for_the_kernel_to_kill()
    serve(connection)
