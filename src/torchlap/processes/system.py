"""What the operating system does to processes: signals, logs, children."""

import os
import signal
import time
from pathlib import Path
from typing import IO

import psutil

from torchlap.schema.messages import WHERE_SIGNAL

DETAIL_BYTES = 20_000
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


def tail(log: IO[bytes]) -> str:
    """The end of what a process printed into its log."""
    size = os.fstat(log.fileno()).st_size
    return os.pread(log.fileno(), DETAIL_BYTES, max(0, size - DETAIL_BYTES)).decode(errors="replace")


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
