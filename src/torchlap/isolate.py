"""Start a worker, talk to it, survive it.

A worker is a process of its own that holds one cell. On Linux a template process imports torch once and forks a worker
in milliseconds, before any device is touched and with no threads of its own; elsewhere each worker starts afresh, for
a fork there can break the device's runtime. What this does not cover: a worker stuck in the kernel (state D) outlives
its SIGKILL until the kernel lets go of it.
"""

import os
import queue
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, Protocol, TypeVar

import msgspec
import psutil

from torchlap.errors import InstallError
from torchlap.installation import reinstall
from torchlap.protocol import (
    LONGEST_LINE,
    WHERE_SIGNAL,
    Build,
    Check,
    CheckSuite,
    Describe,
    Explain,
    Failed,
    Hello,
    MeasurePeaks,
    Progress,
    Ready,
    Reply,
    Request,
    RunLap,
    TryOut,
    Verify,
    WarmUp,
    decode_reply,
    encode,
)
from torchlap.records import FailureKind

START_LIMIT_SECONDS = 180.0
"""Importing torch takes 3 to 10 s on a slow machine, and minutes on a cold network disk."""

REAP_LIMIT_SECONDS = 10.0
"""A dying process may write a core file first."""

DETAIL_BYTES = 20_000
LONGEST_CAUSE = 300
ERROR_LINE = re.compile(r"[A-Za-z_][\w.]*(Error|Exception|Exit|Interrupt)\b")
"""How the last part of a traceback begins; an error may have more lines."""

LOOK_SECONDS = 0.25
WHERE_SECONDS = 0.5
"""A worker that hangs is given so long to print where it is."""

DOING: dict[type[Request], str] = {
    Hello: "starting",
    Describe: "listing the devices",
    TryOut: "trying the device",
    Check: "building the model",
    Build: "building the model",
    Verify: "verifying the numbers",
    CheckSuite: "running the operator suite",
    WarmUp: "warming up",
    RunLap: "running a lap",
    Explain: "looking why",
    MeasurePeaks: "measuring what the device reaches",
}
"""What a worker is busy with, in the words of a failure."""

Answer = TypeVar("Answer")


class CellFailedError(Exception):
    """A worker could not do what it was asked; it is gone. Becomes a `torchlap.records.Failure`."""

    def __init__(self, kind: FailureKind, reason: str, detail: str = "") -> None:
        super().__init__(reason)
        self.kind, self.reason, self.detail = kind, reason, detail


class ImportFailedError(InstallError):
    """A worker could not import torch and torchvision; `said` is the end of what it printed."""

    def __init__(self, kind: FailureKind, reason: str, said: str) -> None:
        self.kind, self.said = kind, said
        self.cause = import_cause(kind, reason, said)
        super().__init__(f"{self.cause} torchlap doctor tells more; or install both anew: {reinstall(sys.executable)}.")


def import_cause(kind: FailureKind, reason: str, said: str) -> str:
    """Why the process that imports torch ended, in a sentence, from its end and the end of what it printed."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    frames = [line for line in lines if line.startswith('File "') and "<frozen" not in line and " in " in line]
    if kind == "hang" or "Fatal Python error" in said:
        where = f" It was at {frames[0]}." if frames else ""
        return f"Importing torch and torchvision {'hangs' if kind == 'hang' else 'crashes'}: {reason}{where}"
    starts = [number for number, line in enumerate(said.splitlines()) if ERROR_LINE.match(line)]
    last = " ".join(said.splitlines()[starts[-1] :])[:LONGEST_CAUSE].strip() if starts else (lines or [reason])[-1]
    if "torchvision::nms" in said:
        return f"Torch and torchvision come from different builds ({last})."
    if "No module named 'torch" in said:
        return f"Torch or torchvision is not installed ({last})."
    return f"Importing torch and torchvision failed ({last})."


class Process(Protocol):
    """What a worker needs to know of its process: its number, and how it ended."""

    pid: int

    def reap(self) -> int:
        """Wait for the end; the exit status, negative for a signal."""


class Worker:
    """One process that holds one cell."""

    def __init__(self, process: Process, connection: socket.socket, log: IO[bytes]) -> None:
        self._process = process
        self._connection = connection
        self._log = log
        self._lines: queue.Queue[bytes | None] = queue.Queue()
        self._alive = True
        self._doing = DOING[Hello]
        self._kills_before = _out_of_memory_kills()
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
                pass  # the connection broke: the same as its end
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
        """Send a request without waiting for its answer; of each worker one at a time.

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
        """Wait for the answer to what was told, at most `limit_seconds` from one sign of life to the next.

        Raises:
            CellFailedError: when the worker fails, dies, or does not answer in time; it is gone then.
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
                    raise CellFailedError("error", f"The worker answered {type(reply).__name__} to {doing}.")

    def _next(self, doing: str, limit_seconds: float) -> Reply:
        try:
            line = self._lines.get(timeout=limit_seconds)
        except queue.Empty:
            used = self._cpu_seconds()
            _ask_where(self.pid)
            said = self.kill()
            raise CellFailedError(
                "hang",
                f"No answer for {limit_seconds:.0f} s ({doing}; {used:.1f} s of CPU time used since its start).",
                said,
            ) from None
        if line is None:
            raise self._death(doing)
        try:
            return decode_reply(line)
        except msgspec.DecodeError as error:
            said = self.kill()
            raise CellFailedError("error", f"The worker's answer cannot be read ({error}).", said) from None

    def _death(self, doing: str) -> CellFailedError:
        status, said = self._end()
        if status == -signal.SIGKILL and _out_of_memory_kills() > self._kills_before:
            return CellFailedError("out_of_memory", f"The kernel killed the worker to free memory ({doing}).")
        return CellFailedError("crash", _how_it_ended(status, doing), said)

    def _cpu_seconds(self) -> float:
        try:
            times = psutil.Process(self.pid).cpu_times()
        except psutil.Error:
            return 0.0
        return float(times.user + times.system)

    def kill(self) -> str:
        """End the worker and all that it started, and return the end of what it printed; nothing when it is gone."""
        if not self._alive:
            return ""
        for process in _descendants(self.pid):
            _kill(process)
        return self._end()[1]

    def _end(self) -> tuple[int, str]:
        """Clear up behind a worker that is ending: its exit status, and the end of what it printed."""
        self._alive = False
        _kill_group(self.pid)  # with all that the worker started
        status = self._process.reap()
        self._connection.close()
        with self._log:
            return status, _tail(self._log)


def _how_it_ended(status: int, doing: str) -> str:
    """A worker's end in a sentence; a negative status is a signal."""
    if status < 0:
        name = signal.Signals(-status).name if -status in set(signal.Signals) else f"signal {-status}"
        return f"The worker was killed by {name} ({doing})."
    return f"The worker exited with status {status} ({doing})."


def _ask_where(pid: int) -> None:
    """Have a process that hangs print its stack, where Python still can."""
    try:
        os.kill(pid, WHERE_SIGNAL)
    except ProcessLookupError:
        return
    time.sleep(WHERE_SECONDS)


def _kill_group(pid: int) -> None:
    try:
        os.killpg(pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        return  # gone already (macOS says EPERM of a zombie)


def _tail(log: IO[bytes]) -> str:
    """The end of what a process printed into its log."""
    size = os.fstat(log.fileno()).st_size
    return os.pread(log.fileno(), DETAIL_BYTES, max(0, size - DETAIL_BYTES)).decode(errors="replace")


def _descendants(pid: int) -> list[psutil.Process]:
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.Error:
        return []


def _kill(process: psutil.Process) -> None:
    try:
        process.kill()
    except psutil.Error:
        return


def _out_of_memory_kills() -> int:
    """How many processes the kernel has killed for lack of memory since it started; 0 where it does not tell."""
    try:
        lines = Path("/proc/vmstat").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) for line in lines if line.startswith("oom_kill "))


class Launcher(Protocol):
    """Starts workers; close it to end them all."""

    start_up_seconds: float

    def start(self) -> Worker:
        """Start a worker and return it without waiting for its first answer."""

    def close(self) -> None:
        """End every worker and the launcher's own processes."""


def launcher(limit_seconds: float = START_LIMIT_SECONDS) -> Launcher:
    """The launcher that suits this system; importing torch may take so long.

    Raises:
        ImportFailedError: when torch cannot be imported; of one that spawns, only when a worker is started.
    """
    return ForkLauncher(limit_seconds) if sys.platform == "linux" else SpawnLauncher(limit_seconds)


def _command(mode: str, descriptor: int) -> list[str]:
    """`-P` keeps a torch.py in the working folder from being taken for torch."""
    return [sys.executable, "-P", "-m", "torchlap.worker", mode, str(descriptor)]


class _Spawned:
    """A worker's process that is this process's child."""

    def __init__(self, popen: subprocess.Popen[bytes]) -> None:
        self._popen = popen
        self.pid = popen.pid

    def has_ended(self) -> bool:
        """Tell without waiting."""
        return self._popen.poll() is not None

    def reap(self) -> int:
        try:
            return self._popen.wait(REAP_LIMIT_SECONDS)
        except subprocess.TimeoutExpired:
            self._popen.kill()
            return self._popen.wait()


def _spawn(mode: str, connection: socket.socket, log: IO[bytes]) -> _Spawned:
    """Start `python -m torchlap.worker MODE` in a session of its own: Ctrl-C reaches the judge alone."""
    popen = subprocess.Popen(
        _command(mode, connection.fileno()),
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        pass_fds=(connection.fileno(),),
        start_new_session=True,
    )
    connection.close()
    return _Spawned(popen)


class SpawnLauncher:
    """Starts each worker as a new interpreter."""

    def __init__(self, limit_seconds: float = START_LIMIT_SECONDS) -> None:
        self.start_up_seconds = 0.0
        self._limit_seconds = limit_seconds
        self._workers: list[Worker] = []

    def start(self) -> Worker:
        """Start a worker."""
        begun = time.monotonic()
        ours, theirs = socket.socketpair()
        log = tempfile.TemporaryFile()  # noqa: SIM115  it lives as long as the worker
        worker = Worker(_spawn("serve", theirs, log), ours, log)
        self._workers.append(worker)
        try:
            worker.ask(Hello(), Ready, self._limit_seconds)
        except CellFailedError as failure:
            raise ImportFailedError(failure.kind, failure.reason, failure.detail) from None
        self.start_up_seconds += time.monotonic() - begun
        return worker

    def close(self) -> None:
        """End every worker."""
        for worker in self._workers:
            worker.kill()


class _Forked:
    """A worker's process that is the template's child."""

    def __init__(self, pid: int, template: "ForkLauncher") -> None:
        self.pid = pid
        self._template = template

    def reap(self) -> int:
        return self._template.reap(self.pid)


class ForkLauncher:
    """Starts a template that has torch imported, and forks each worker from it."""

    def __init__(self, limit_seconds: float = START_LIMIT_SECONDS) -> None:
        begun = time.monotonic()
        self._workers: list[Worker] = []
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._log = tempfile.TemporaryFile()  # noqa: SIM115  it lives as long as the template
        self._process = _spawn("template", theirs, self._log)
        try:
            self._wait_until_ready(limit_seconds)
            self._control.settimeout(START_LIMIT_SECONDS)
        except BaseException:
            self.close()
            raise
        self.start_up_seconds = time.monotonic() - begun

    def _wait_until_ready(self, limit_seconds: float) -> None:
        """Wait until the template has imported torch.

        Raises:
            ImportFailedError: when it never will.
        """
        end = time.monotonic() + limit_seconds
        self._control.settimeout(LOOK_SECONDS)
        while time.monotonic() < end and not self._process.has_ended():
            try:
                if self._control.recv(1000):
                    return
                break
            except TimeoutError:  # what it started may hold the connection open after its end: look for that, too
                continue
            except OSError:
                break  # the connection broke: the same as its end
        else:
            if not self._process.has_ended():
                _ask_where(self._process.pid)
                raise ImportFailedError("hang", f"No answer for {limit_seconds:.0f} s.", self._closed()[1])
        status, said = self._closed()
        raise ImportFailedError("crash", _how_it_ended(status, DOING[Hello]), said)

    def _hear(self) -> str:
        try:
            return self._control.recv(1000).decode()
        except OSError:
            return ""

    def start(self) -> Worker:
        """Fork a worker."""
        begun = time.monotonic()
        ours, theirs = socket.socketpair()
        log = tempfile.TemporaryFile()  # noqa: SIM115  it lives as long as the worker
        try:
            socket.send_fds(self._control, [b"fork"], [theirs.fileno(), log.fileno()])
            pid = int(self._hear() or 0)
        except OSError:
            pid = 0
        finally:
            theirs.close()
        if pid == 0:
            raise CellFailedError("crash", "The template process that starts workers is gone; start the run again.")
        worker = Worker(_Forked(pid, self), ours, log)
        self._workers.append(worker)
        self.start_up_seconds += time.monotonic() - begun
        return worker

    def reap(self, pid: int) -> int:
        """Wait for the end of a worker; the exit status, negative for a signal."""
        try:
            self._control.send(f"reap {pid}".encode())
        except OSError:
            return -signal.SIGKILL
        return int(self._hear() or -signal.SIGKILL)

    def close(self) -> None:
        """End every worker, and the template."""
        self._closed()

    def _closed(self) -> tuple[int, str]:
        """End all: the template's exit status, and the end of what it printed; nothing the second time."""
        if self._log.closed:
            return 0, ""
        for worker in self._workers:
            worker.kill()
        self._control.close()
        for process in _descendants(self._process.pid):
            _kill(process)
        _kill_group(self._process.pid)
        status = self._process.reap()
        with self._log:
            return status, _tail(self._log)
