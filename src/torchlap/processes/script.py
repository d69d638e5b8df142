"""Run a script under the tracer, in a process of its own, and survive it."""

import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec
from msgspec.structs import replace

from torchlap.errors import InstallError, UsageError
from torchlap.schema.trace import ScriptRun, Trace

GRACE_SECONDS = 10.0
"""What a script has to end by itself once it is interrupted."""

LARGEST_TRACE = 256 << 20
TRACER = "torchlap.worker.tracing.script"


def run(script: str, arguments: Sequence[str], *, stop_after: float | None, quiet: bool) -> ScriptRun:
    """Run a script to its end, or for so many seconds.

    Args:
        script: its path.
        arguments: its own, as they are.
        stop_after: seconds, after which it is interrupted as by Ctrl-C; None to let it run.
        quiet: what it prints goes to the standard error, because the standard output is for the report.

    Raises:
        UsageError: when there is no such script.
        InstallError: when the tracer cannot be started.
    """
    path = Path(script)
    if path.is_dir() or not path.exists():
        reason = "is a folder" if path.is_dir() else "does not exist"
        raise UsageError(f"The script {script} {reason}: name a Python file.")
    with TemporaryDirectory(prefix="torchlap-") as folder:
        trace = Path(folder) / "trace.json"
        command = [sys.executable, "-m", TRACER, str(trace), script, *arguments]
        with subprocess.Popen(command, stdout=sys.stderr if quiet else None) as process:
            stopped, interrupted = _watched(process, stop_after)
        return _read(trace, process.returncode, stopped=stopped, interrupted=interrupted)


def _watched(process: "subprocess.Popen[bytes]", stop_after: float | None) -> tuple[bool, bool]:
    """Wait for the script; tell whether it was stopped by the time, or by the user."""
    asked: list[bool] = []

    def pass_on(_signal: int, _frame: object) -> None:
        asked.append(True)
        process.send_signal(signal.SIGINT)

    with _on_sigterm(pass_on):
        stopped, interrupted = _waited(process, stop_after)
    return stopped, interrupted or bool(asked)


@contextmanager
def _on_sigterm(handler: Callable[[int, object], None]) -> Iterator[None]:
    """What ends this process is to end the script first; in another thread than the main one nobody can be asked."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _waited(process: "subprocess.Popen[bytes]", stop_after: float | None) -> tuple[bool, bool]:
    try:
        process.wait(stop_after)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGINT)
        _end(process)
        return True, False
    except KeyboardInterrupt:  # the terminal has sent it to the script, too
        _end(process)
        return False, True
    return False, False


def _end(process: "subprocess.Popen[bytes]") -> None:
    try:
        process.wait(GRACE_SECONDS)
    except (subprocess.TimeoutExpired, KeyboardInterrupt):
        process.kill()
        process.wait()


def _read(path: Path, code: int, *, stopped: bool, interrupted: bool) -> ScriptRun:
    """The trace, which is the last that was written where the script was killed."""
    if not path.exists():
        if interrupted or stopped:
            raise UsageError("The script was stopped before anything was seen of it: give it more time.")
        raise InstallError(
            f"The script was ended ({_word(code)}) before anything was seen of it: run it by itself; torchlap doctor "
            "looks at torch."
        )
    if path.stat().st_size > LARGEST_TRACE:
        raise UsageError("More was seen of the script than can be told: stop it earlier with --stop-after.")
    seen = msgspec.json.decode(path.read_bytes(), type=Trace)
    killed = signal.Signals(-code).name if code < 0 else ""
    status = 128 - code if code < 0 else code
    if seen.ending == "under way":
        seen = replace(seen, exit_code=status)
    return ScriptRun(seen, status, killed, stopped, interrupted)


def _word(code: int) -> str:
    return signal.Signals(-code).name if code < 0 else f"exit code {code}"
