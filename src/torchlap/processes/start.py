"""Start workers; nothing else knows how.

On Linux a template process imports torch once and forks a worker in milliseconds, before any device is touched and
without threads of its own. Elsewhere each worker is a new interpreter, because a fork there can break the device's
runtime. What this does not cover: a worker stuck in the kernel (state D) outlives its SIGKILL until the kernel lets go.
"""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from types import MappingProxyType
from typing import Protocol

from msgspec import Struct

from torchlap.processes.failures import CellFailedError, ImportFailedError, how_it_ended
from torchlap.processes.system import Log, TemporaryFolder, ask_where, descendants, kill_group, kill_process
from torchlap.processes.worker import DOING, Worker
from torchlap.schema.replies import Ready
from torchlap.schema.requests import TEMPORARY_FOLDER, Hello

START_LIMIT_SECONDS = 180.0
"""Importing torch takes 3 to 10 s on a slow machine, and minutes on a cold network disk."""

REAP_LIMIT_SECONDS = 10.0
"""A dying process may write a core file first."""

LOOK_SECONDS = 0.25
"""How often to look whether a process that is importing torch has ended."""


class Interpreter(Struct, frozen=True):
    """Which Python runs the workers, with which variables beside those of this process.

    Another version of torch is another `python`; a rank of several is a worker with RANK, WORLD_SIZE and the like.
    """

    python: str = sys.executable
    environment: Mapping[str, str] = MappingProxyType({})
    folder: str | None = None
    """The working directory; None for this process's."""

    def command(self, mode: str, descriptor: int) -> list[str]:
        """`python -m torchlap.worker`; with `-P` a torch.py in the working folder is not imported as torch."""
        return [self.python, "-P", "-m", "torchlap.worker", mode, str(descriptor)]


THIS = Interpreter()


class Launcher(Protocol):
    """Starts workers; close it to end them all."""

    start_up_seconds: float

    def start(self) -> Worker:
        """Start a worker and return it without waiting for its first answer."""

    def renew(self) -> None:
        """End every worker; those that follow share nothing with them, not even where torch lies in memory."""

    def close(self) -> None:
        """End every worker and the launcher's own processes."""


def launcher(limit_seconds: float = START_LIMIT_SECONDS, interpreter: Interpreter = THIS) -> Launcher:
    """The launcher that suits this system.

    Args:
        limit_seconds: how long importing torch may take.
        interpreter: which Python runs the workers.

    Raises:
        ImportFailedError: when torch cannot be imported; a launcher that spawns raises it when it starts a worker.
    """
    kind = ForkLauncher if sys.platform == "linux" else SpawnLauncher
    return kind(limit_seconds, interpreter)


class _Spawned:
    """The process of a worker that is a child of this process."""

    def __init__(self, popen: subprocess.Popen[bytes]) -> None:
        self._popen = popen
        self.pid = popen.pid

    def has_ended(self) -> bool:
        """Whether it has ended, without waiting."""
        return self._popen.poll() is not None

    def reap(self) -> int:
        try:
            return self._popen.wait(REAP_LIMIT_SECONDS)
        except subprocess.TimeoutExpired:
            self._popen.kill()
            return self._popen.wait()


def _spawn(
    interpreter: Interpreter, mode: str, connection: socket.socket, log: Log, temporary: TemporaryFolder
) -> _Spawned:
    """Start a worker process in a session of its own, so that Ctrl-C reaches only the judge."""
    popen = subprocess.Popen(
        interpreter.command(mode, connection.fileno()),
        env=os.environ | interpreter.environment | {TEMPORARY_FOLDER: temporary.path},
        cwd=interpreter.folder,
        stdin=subprocess.DEVNULL,
        stdout=log.writer,
        stderr=log.writer,
        pass_fds=(connection.fileno(),),
        start_new_session=True,
    )
    connection.close()
    log.handed_over()
    return _Spawned(popen)


class SpawnLauncher:
    """Starts each worker as a new interpreter."""

    def __init__(self, limit_seconds: float = START_LIMIT_SECONDS, interpreter: Interpreter = THIS) -> None:
        self._interpreter = interpreter
        self.start_up_seconds = 0.0
        self._limit_seconds = limit_seconds
        self._workers: list[Worker] = []
        self._temporary = TemporaryFolder()

    def start(self) -> Worker:
        """Start a worker."""
        begun = time.monotonic()
        ours, theirs = socket.socketpair()
        log = Log()
        worker = Worker(_spawn(self._interpreter, "serve", theirs, log, self._temporary), ours, log)
        self._workers.append(worker)
        try:
            worker.ask(Hello(), Ready, self._limit_seconds)
        except CellFailedError as failure:
            raise ImportFailedError(failure.kind, failure.reason, failure.detail) from None
        self.start_up_seconds += time.monotonic() - begun
        return worker

    def renew(self) -> None:
        """End every worker; each is a new interpreter anyway."""
        self.close()
        self._workers.clear()
        self._temporary = TemporaryFolder()

    def close(self) -> None:
        """End every worker."""
        for worker in self._workers:
            worker.kill()
        self._temporary.remove()


class _Forked:
    """The process of a worker that is a child of the template."""

    def __init__(self, pid: int, template: "ForkLauncher") -> None:
        self.pid = pid
        self._template = template

    def reap(self) -> int:
        return self._template.reap(self.pid)


class ForkLauncher:
    """Starts a template that imports torch once, and forks each worker from it."""

    def __init__(self, limit_seconds: float = START_LIMIT_SECONDS, interpreter: Interpreter = THIS) -> None:
        self._limit_seconds, self._interpreter = limit_seconds, interpreter
        self._workers: list[Worker] = []
        self._asking = threading.Lock()  # an answer is for the thread that asked
        self.start_up_seconds = 0.0
        self._open()
        self._make_ready()

    def _open(self) -> None:
        """Start a template, and return while it imports torch."""
        self._opened = time.monotonic()
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._log = Log()
        self._temporary = TemporaryFolder()
        self._is_closed = self._is_ready = False
        self._process = _spawn(self._interpreter, "template", theirs, self._log, self._temporary)

    def _make_ready(self) -> None:
        """Wait until the template has imported torch.

        Raises:
            ImportFailedError: when it never will.
        """
        try:
            self._wait_until_ready()
            self._control.settimeout(START_LIMIT_SECONDS)
        except BaseException:
            self.close()
            raise
        self._is_ready = True
        self.start_up_seconds += time.monotonic() - self._opened

    def renew(self) -> None:
        """End every worker and the template; a new one imports torch, which the next `start` waits for."""
        self.close()
        self._workers.clear()
        self._open()

    def _wait_until_ready(self) -> None:
        end = time.monotonic() + self._limit_seconds
        self._control.settimeout(LOOK_SECONDS)
        while time.monotonic() < end and not self._process.has_ended():
            try:
                if self._control.recv(1000):
                    return
                break
            except TimeoutError:  # its children may hold the connection open after its end, so look for that, too
                continue
            except OSError:
                break  # a broken connection is the same as its end
        else:
            if not self._process.has_ended():
                ask_where(self._process.pid)
                raise ImportFailedError("hang", f"No answer for {self._limit_seconds:g} s.", self._closed()[1])
        status, output = self._closed()
        raise ImportFailedError("crash", how_it_ended(status, DOING[Hello]), output)

    def _hear(self) -> str:
        try:
            return self._control.recv(1000).decode()
        except OSError:
            return ""

    def start(self) -> Worker:
        """Fork a worker.

        Raises:
            CellFailedError: when the template is gone.
            ImportFailedError: when a new one could not import torch.
        """
        with self._asking:
            if not self._is_ready:
                self._make_ready()
        begun = time.monotonic()
        ours, theirs = socket.socketpair()
        log = Log()
        try:
            with self._asking:
                socket.send_fds(self._control, [b"fork"], [theirs.fileno(), log.writer])
                pid = int(self._hear() or 0)
        except OSError:
            pid = 0
        finally:
            theirs.close()
            log.handed_over()
        if pid == 0:
            raise CellFailedError("crash", "The process that starts workers has exited: start the run again.")
        worker = Worker(_Forked(pid, self), ours, log)
        self._workers.append(worker)
        self.start_up_seconds += time.monotonic() - begun
        return worker

    def reap(self, pid: int) -> int:
        """Wait for the end of a worker; the exit status, negative for a signal."""
        try:
            with self._asking:
                self._control.send(f"reap {pid}".encode())
                return int(self._hear() or -signal.SIGKILL)
        except OSError:
            return -signal.SIGKILL

    def close(self) -> None:
        """End every worker, and the template."""
        self._closed()

    def _closed(self) -> tuple[int, str]:
        """End all of them: the template's exit status, and the end of what it printed; nothing the second time."""
        if self._is_closed:
            return 0, ""
        self._is_closed = True
        for worker in self._workers:
            worker.kill()
        self._control.close()
        for process in descendants(self._process.pid):
            kill_process(process)
        kill_group(self._process.pid)
        status = self._process.reap()
        self._temporary.remove()
        return status, self._log.tail()
