"""Ends the script's process, and all that it started, when torchlap is gone: killed, it cannot do so itself."""

import _thread
import os
import signal
from contextlib import suppress


def hold(descriptor: int) -> None:
    """Wait in the background until nobody can write to this pipe any more.

    The thread is not one of `threading`, where the script would see it; while it waits, it takes no time.
    """
    os.set_inheritable(descriptor, False)
    _thread.start_new_thread(_wait, (descriptor, os.getpid()))


def _wait(descriptor: int, process: int) -> None:
    try:
        while os.read(descriptor, 1):
            pass
    except OSError:
        return  # the script has closed all files that it did not open
    if os.getpid() == process:
        _end()


def _end() -> None:
    import psutil  # noqa: PLC0415  the script has not asked for it

    for child in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):
            child.kill()
    os.kill(os.getpid(), signal.SIGKILL)
