"""One worker process: send it requests, wait for its answers, end it."""

import queue
import signal
import socket
import threading
from collections.abc import Callable
from typing import Protocol, TypeVar

import psutil

from torchlap.processes.failures import CellFailedError, how_it_ended
from torchlap.processes.system import Log, ask_where, descendants, kill_group, kill_process, out_of_memory_kills
from torchlap.schema.messages import INVALID, LONGEST_LINE, decode_reply, encode
from torchlap.schema.replies import Failed, Progress, Reply
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

DOING: dict[type[Request], str] = {
    Hello: "starting",
    Describe: "listing the devices",
    TryOut: "testing the device",
    Check: "building the model",
    Build: "building the model",
    Verify: "checking results",
    CheckSuite: "running the operator suite",
    WarmUp: "warming up",
    RunLaps: "running laps",
    Explain: "analyzing the step",
    MeasurePeaks: "measuring the device's peaks",
    DescribeRanks: "describing the ranks",
    AllReduce: "timing all-reduces",
    CheckRanks: "checking the ranks' results",
    Follow: "following the loss",
    BeginTraining: "warming up",
    TrainOn: "training",
    MeasureIdle: "measuring idle power",
    Release: "releasing cells",
}
"""What a worker is doing while it handles a request, for error messages."""

Answer = TypeVar("Answer")


class Process(Protocol):
    """A worker's operating-system process: its number, and how it ended."""

    pid: int

    def reap(self) -> int:
        """Wait for the end; the exit status, negative for a signal."""


class Worker:
    """One process that holds cells."""

    def __init__(self, process: Process, connection: socket.socket, log: Log) -> None:
        self._process = process
        self._connection = connection
        self._log = log
        self._lines: queue.Queue[bytes | None] = queue.Queue()
        self._alive = True
        self._ended = 0, ""
        self._ending = threading.Lock()  # one thread may end a worker for which another one waits
        self._doing = DOING[Hello]
        self._kills_before = out_of_memory_kills()
        threading.Thread(target=self._read, daemon=True).start()

    @property
    def pid(self) -> int:
        """The worker's process number."""
        return self._process.pid

    def _read(self) -> None:
        with self._connection.makefile("rb") as stream:
            try:
                while line := stream.readline(LONGEST_LINE):
                    self._lines.put(line)
            except OSError:
                pass  # a broken connection is the same as its end
        self._lines.put(None)

    def ask(
        self,
        request: Request,
        answer: type[Answer],
        limit_seconds: float,
        on_progress: Callable[[str], None] = lambda _: None,
    ) -> Answer:
        """Send a request and wait for its answer: `tell`, then `hear`."""
        self.tell(request)
        return self.hear(answer, limit_seconds, on_progress)

    def tell(self, request: Request) -> None:
        """Send a request without waiting for its answer; only one at a time.

        Raises:
            CellFailedError: when the worker is gone.
        """
        self._doing = DOING[type(request)]
        try:
            self._connection.sendall(encode(request) + b"\n")
        except OSError:
            raise self._death(self._doing) from None

    def hear(
        self, answer: type[Answer], limit_seconds: float, on_progress: Callable[[str], None] = lambda _: None
    ) -> Answer:
        """Wait for the answer to the last request, at most `limit_seconds` from one sign of life to the next.

        Raises:
            CellFailedError: when the worker fails, dies, or does not answer in time; it is then gone.
        """
        doing = self._doing
        while True:
            reply = self._next(doing, limit_seconds)
            match reply:
                case Progress(doing=doing):
                    on_progress(doing)
                case Failed(kind=kind, reason=reason, detail=detail):
                    self.kill()
                    raise CellFailedError(kind, reason, detail)
                case _ if isinstance(reply, answer):
                    return reply
                case _:
                    self.kill()
                    raise CellFailedError(
                        "error", f"The worker sent an unexpected answer, {type(reply).__name__} ({doing})."
                    )

    def _next(self, doing: str, limit_seconds: float) -> Reply:
        try:
            line = self._lines.get(timeout=limit_seconds)
        except queue.Empty:
            used = self._cpu_seconds()
            ask_where(self.pid)
            output = self.kill()
            raise CellFailedError(
                "hang",
                f"No answer for {limit_seconds:.0f} s ({doing}; {used:.1f} s of CPU time used since it started).",
                output,
            ) from None
        if line is None:
            raise self._death(doing)
        try:
            return decode_reply(line)
        except INVALID as error:
            output = self.kill()
            raise CellFailedError("error", f"The worker's answer is invalid ({error}).", output) from None

    def _death(self, doing: str) -> CellFailedError:
        status, output = self._end()
        if status == -signal.SIGKILL and out_of_memory_kills() > self._kills_before:
            return CellFailedError("out_of_memory", f"The kernel killed the worker to free memory ({doing}).")
        return CellFailedError("crash", how_it_ended(status, doing), output)

    def _cpu_seconds(self) -> float:
        try:
            times = psutil.Process(self.pid).cpu_times()
        except psutil.Error:
            return 0.0
        return float(times.user + times.system)

    def kill(self) -> str:
        """End the worker and all that it started; the end of what it printed, or nothing if it is already gone."""
        if not self._alive:
            return ""
        for process in descendants(self.pid):
            kill_process(process)
        return self._end()[1]

    def _end(self) -> tuple[int, str]:
        """Clean up after a worker that is ending: its exit status, and the end of what it printed."""
        with self._ending:
            if self._alive:
                self._alive = False
                kill_group(self.pid)  # with all that the worker started
                status = self._process.reap()
                self._connection.close()
                self._ended = status, self._log.tail()
            return self._ended
