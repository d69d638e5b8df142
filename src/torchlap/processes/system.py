"""What the operating system does to processes: signals, logs, children."""

import os
import secrets
import shutil
import signal
import tempfile
import threading
import time
from pathlib import Path
from typing import IO

import psutil

from torchlap.schema.messages import WHERE_SIGNAL

DETAIL_BYTES = 20_000
CHUNK_BYTES = 1 << 16
LONGEST_PARENT = 60
"""Bytes. The path of a socket has at most 103 (macOS) or 107; with a longer one, loading processes hang."""

LAST_WORDS_SECONDS = 1.0
"""How long to wait for the rest of what an ended process printed: a process that it left behind may hold the pipe."""

WHERE_SECONDS = 0.5
"""How long a hung process has to print its stack."""


def ask_where(pid: int) -> None:
    """Have a hung process print its stack, if Python still can."""
    try:
        os.kill(pid, WHERE_SIGNAL)
    except ProcessLookupError:
        return
    time.sleep(WHERE_SECONDS)


def kill_group(pid: int) -> None:
    """Kill a process and all others of its session."""
    try:
        os.killpg(pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        return  # already gone (macOS reports EPERM for a zombie)


class TemporaryFolder:
    """Where the processes that load a worker's data put their sockets: killed, they cannot remove them themselves."""

    def __init__(self) -> None:
        parent = tempfile.gettempdir()
        if len(os.fsencode(parent)) > LONGEST_PARENT:
            parent = "/tmp"  # noqa: S108  the name is random
        self.path = f"{parent}/torchlap-{secrets.token_hex(6)}"
        """The first worker makes it."""

    def remove(self) -> None:
        """Remove the folder, if there is one, with all that is in it."""
        shutil.rmtree(self.path, ignore_errors=True)


class Log:
    """The end of what a process prints: read as it comes and then dropped, so that no amount of it fills a disk."""

    def __init__(self) -> None:
        self._reader, self.writer = os.pipe()
        self._end = b""
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def handed_over(self) -> None:
        """Close this process's side of the pipe, now that another process has it."""
        os.close(self.writer)

    def _read(self) -> None:
        while chunk := os.read(self._reader, CHUNK_BYTES):
            self._end = (self._end + chunk)[-DETAIL_BYTES:]
        os.close(self._reader)

    def tail(self) -> str:
        """The end of what the process printed, once it has ended."""
        self._thread.join(LAST_WORDS_SECONDS)
        return self._end.decode(errors="replace")


def tail(file: IO[bytes]) -> str:
    """The end of a file into which a process printed."""
    size = os.fstat(file.fileno()).st_size
    return os.pread(file.fileno(), DETAIL_BYTES, max(0, size - DETAIL_BYTES)).decode(errors="replace")


def descendants(pid: int) -> list[psutil.Process]:
    """All processes that a process started, directly or not; none when it is gone."""
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.Error:
        return []


def kill_process(process: psutil.Process) -> None:
    """Kill a process that may already be gone."""
    try:
        process.kill()
    except psutil.Error:
        return


def out_of_memory_kills() -> int:
    """How many processes the kernel has killed to free memory since it started; 0 where that is not known."""
    try:
        lines = Path("/proc/vmstat").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) for line in lines if line.startswith("oom_kill "))
