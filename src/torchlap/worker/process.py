"""The worker's process: read requests until the judge hangs up, and fork further workers on demand.

Requests and replies travel over the socket FD; what the user's code prints goes to this process's output, which is the
worker's log. When the judge ends, so do the worker and all processes that it started.
"""

import gc
import multiprocessing
import os
import queue
import select
import shutil
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, NoReturn

from torchlap.schema.requests import TEMPORARY_FOLDER
from torchlap.worker.serve import CellServer

REAP_SECONDS = 5.0
REAP_POLL_SECONDS = 0.01
CONTROL_BYTES = 1000


def serve(connection: socket.socket) -> NoReturn:
    """Answer requests about cells until the judge hangs up."""
    answer_from(connection, CellServer)


def answer_from(connection: socket.socket, server_of: Callable[[BinaryIO], CellServer]) -> NoReturn:
    """Answer requests until the judge hangs up.

    Args:
        connection: to the judge.
        server_of: makes what answers, from a stream for its replies.
    """
    requests: queue.Queue[bytes] = queue.Queue()
    _use_temporary_folder()
    threading.Thread(target=_listen, args=(connection.makefile("rb"), requests), daemon=True).start()
    server = server_of(connection.makefile("wb"))
    while True:
        server.answer(requests.get())


def _listen(stream: BinaryIO, requests: "queue.Queue[bytes]") -> None:
    """Queue requests; when the judge is gone, kill this worker and its process group, whatever they are doing."""
    while line := stream.readline():
        requests.put(line)
    shutil.rmtree(os.environ.get(TEMPORARY_FOLDER, ""), ignore_errors=True)
    os.killpg(0, signal.SIGKILL)


def _use_temporary_folder() -> None:
    """Share the judge's folder with all processes that load data, which would each make one and leave it behind."""
    folder = os.environ.get(TEMPORARY_FOLDER, "")
    if folder:
        with suppress(OSError):  # then each makes one
            Path(folder).mkdir(mode=0o700, exist_ok=True)
            multiprocessing.current_process()._config["tempdir"] = folder  # type: ignore[attr-defined]  # noqa: SLF001


def template(control: socket.socket) -> NoReturn:
    """Fork a worker for each `fork` message, reap one for each `reap` message, and end with the judge."""
    control.send(b"ready")
    while True:
        message, descriptors, _, _ = socket.recv_fds(control, CONTROL_BYTES, 2)
        word, _, argument = message.decode().partition(" ")
        if word == "fork":
            control.send(str(_fork(control, *descriptors)).encode())
        elif word == "reap":
            control.send(str(_reap(int(argument))).encode())
        else:
            os._exit(0)  # the judge is gone; its workers notice it by themselves


def _fork(control: socket.socket, connection: int, log: int) -> int:
    """Fork a worker onto a connection and a log; returns its process number."""
    pid = os.fork()
    if pid:
        os.close(connection)
        os.close(log)
        return pid
    try:
        control.close()
        gc.unfreeze()  # a plain script's collections traverse what importing torch made, too
        os.setsid()
        os.dup2(log, 1)
        os.dup2(log, 2)
        _prefer_for_the_oom_killer()
        serve(socket.socket(fileno=connection))
    finally:
        os._exit(1)


def _prefer_for_the_oom_killer() -> None:
    """When memory runs out, let Linux kill the worker rather than the judge or the user's other programs."""
    try:
        Path("/proc/self/oom_score_adj").write_text("1000")
    except OSError:
        return


def _reap(pid: int) -> int:
    """The exit status of a child that is ending, negative for a signal; a child that does not end is killed."""
    end = time.monotonic() + REAP_SECONDS
    while time.monotonic() < end:
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        select.select([], [], [], REAP_POLL_SECONDS)
    os.kill(pid, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def main() -> NoReturn:
    """Serve, or fork workers that serve; the command line gives the mode and the socket's number."""
    mode, descriptor = sys.argv[1], int(sys.argv[2])
    connection = socket.socket(fileno=descriptor)
    if mode == "template":
        gc.collect()
        gc.freeze()  # so that a collection of this process does not write to the pages that it shares with its forks
        template(connection)
    _prefer_for_the_oom_killer()
    serve(connection)
