"""Run a script in a process of its own, under the tracer or without it, and survive it."""

import os
import re
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
from torchlap.machine.import_trials import hidden_by_python_path, hiding_files
from torchlap.processes.system import descendants, kill_process
from torchlap.schema.trace import ScriptRun, Trace

IMPORT_ERRORS = ("ImportError", "ModuleNotFoundError", "AttributeError")
"""How a script ends whose own file, such as numpy.py, replaces a module: the file lacks what the module has."""

PASSED_ON = (signal.SIGTERM, signal.SIGHUP)
"""A script gets SIGINT instead: Python ends at once on these."""

GRACE_SECONDS = 10.0
"""How long an interrupted script has to end by itself."""

LARGEST_TRACE = 256 << 20
RATE_LINE = re.compile(r"([0-9.e+]+) [^,]*/s, loss -?[0-9.]+$")
"""A lap of the code of `torchlap tune`."""

TRACER = Path(__file__).parents[1] / "worker" / "tracing" / "entry" / "start.py"
PLAIN = TRACER.with_name("plain.py")
"""Started by their paths: `python -m` would put the current folder first on the path."""


def run(script: str, arguments: Sequence[str], *, stop_after: float | None, quiet: bool) -> ScriptRun:
    """Run a script under the tracer, to its end or for a limited time.

    Args:
        script: its path.
        arguments: passed on to it.
        stop_after: seconds after which it is interrupted, as by Ctrl-C; None for no limit.
        quiet: send its output to the standard error, because the standard output is for the report.

    Raises:
        UsageError: if the script does not exist.
        InstallError: when the tracer cannot be started.
    """
    path = Path(script)
    if path.is_dir() or not path.exists():
        reason = "is a folder" if path.is_dir() else "does not exist"
        raise UsageError(f"The script {script} {reason}: choose a Python file.")
    with TemporaryDirectory(prefix="torchlap-") as folder:
        trace = Path(folder) / "trace.json"
        with lifeline() as line, _started(line, trace, script, arguments, quiet=quiet) as process:
            stopped, interrupted = _watched(process, stop_after)
        hidden = _hidden(path.parent)
        return _read(trace, process.returncode, hidden, stopped=stopped, interrupted=interrupted)


@contextmanager
def lifeline() -> Iterator[int]:
    """A pipe that the script's process reads from: when this process is gone, however it ended, the pipe is, too."""
    theirs, ours = os.pipe()
    try:
        yield theirs
    finally:
        os.close(ours)
        os.close(theirs)


def _started(
    line: int, trace: Path, script: str, arguments: Sequence[str], *, quiet: bool
) -> "subprocess.Popen[bytes]":
    command = traced(line, trace, script, *arguments)
    return subprocess.Popen(command, stdout=sys.stderr if quiet else None, pass_fds=(line,))


def traced(line: int, trace: Path, script: str, *arguments: str) -> list[str]:
    """The command that runs a script under the tracer, which ends when nobody holds the other end of its lifeline."""
    return [sys.executable, str(TRACER), str(line), str(trace), script, *arguments]


def _watched(process: "subprocess.Popen[bytes]", stop_after: float | None) -> tuple[bool, bool]:
    """Wait for the script; whether the time limit stopped it, and whether the user did."""
    signals: list[int] = []

    def pass_on(number: int, _frame: object) -> None:
        signals.append(number)
        process.send_signal(signal.SIGINT)

    with _on_signals(pass_on):
        stopped, interrupted = _waited(process, stop_after)
    return stopped, interrupted or bool(signals)


@contextmanager
def _on_signals(handler: Callable[[int, object], None]) -> Iterator[None]:
    """Let SIGTERM and SIGHUP end the script before this process; only the main thread can handle signals."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handled = [number for number in PASSED_ON if signal.getsignal(number) is not signal.SIG_IGN]
    before = {number: signal.signal(number, handler) for number in handled}
    try:
        yield
    finally:
        for number, earlier in before.items():
            signal.signal(number, earlier)


def _waited(process: "subprocess.Popen[bytes]", stop_after: float | None) -> tuple[bool, bool]:
    try:
        process.wait(stop_after)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGINT)
        _end(process)
        return True, False
    except KeyboardInterrupt:
        if not _is_in_a_terminal():  # which sends it to the script, too
            process.send_signal(signal.SIGINT)
        _end(process)
        return False, True
    return False, False


def _is_in_a_terminal() -> bool:
    """Whether this process, with the script, is what a terminal's Ctrl-C ends."""
    try:
        with Path("/dev/tty").open("rb") as terminal:
            return os.tcgetpgrp(terminal.fileno()) == os.getpgrp()
    except OSError:
        return False


def _end(process: "subprocess.Popen[bytes]") -> None:
    try:
        process.wait(GRACE_SECONDS)
    except (subprocess.TimeoutExpired, KeyboardInterrupt):
        for child in descendants(process.pid):
            kill_process(child)
        process.kill()
        process.wait()


def _hidden(folder: Path) -> str:
    """The files beside a script, or in PYTHONPATH, that hide a module: a clause for each, which begins with `; `."""
    clauses = dict.fromkeys((*hiding_files([folder]), *hidden_by_python_path()))
    return "".join(f"; {clause}: rename it" for clause in clauses)


def _read(path: Path, code: int, hidden: str, *, stopped: bool, interrupted: bool) -> ScriptRun:
    """The trace; of a script that was killed, the last one that was written. `hidden` may explain a failed import.

    Raises:
        KeyboardInterrupt: if it was interrupted before anything was recorded.
    """
    if not path.exists():
        if interrupted:
            raise KeyboardInterrupt
        if stopped:
            raise UsageError("The script was stopped before anything was recorded: raise --stop-after.")
        remedy = hidden or ": run it by itself, and check torch with torchlap doctor"
        raise InstallError(f"The script ended ({_how(code)}) before anything was recorded{remedy}.")
    trace = read_trace(path)
    killed = signal.Signals(-code).name if code < 0 else ""
    status = 128 - code if code < 0 else code
    if trace.ending == "under way":
        trace = replace(trace, exit_code=status)
    if trace.ending == "raised" and trace.error.startswith(IMPORT_ERRORS):
        trace = replace(trace, error=f"{trace.error}{hidden}")
    return ScriptRun(trace, status, killed, stopped, interrupted)


def read_trace(path: Path) -> Trace:
    """Read a trace. A script shares its process with the tracer, so its trace may hold anything.

    Raises:
        UsageError: if it is too large, or no valid trace.
    """
    if path.stat().st_size > LARGEST_TRACE:
        raise UsageError("The script's trace is too large: stop it earlier with --stop-after.")
    try:
        return msgspec.json.decode(path.read_bytes(), type=Trace)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UsageError(
            f"The script's trace cannot be read ({error}): run the script by itself, and report this to torchlap."
        ) from None


def _run_plainly(
    script: Path, arguments: Sequence[str] = (), limit_seconds: float | None = None
) -> "subprocess.CompletedProcess[str]":
    """Run a script to its end, but no longer than this process lives."""
    with lifeline() as line:
        command = [sys.executable, str(PLAIN), str(line), str(script), *arguments]
        return subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=limit_seconds, pass_fds=(line,)
        )


def run_untraced(script: Path, arguments: Sequence[str]) -> str:
    """Run a script to its end without the tracer; empty if it succeeded, otherwise the last line of its errors."""
    ended = _run_plainly(script, arguments)
    if not ended.returncode:
        return ""
    return (ended.stderr.strip().splitlines() or [_how(ended.returncode)])[-1]


def run_code(code: str, limit_seconds: float) -> tuple[tuple[float, ...], str]:
    """Run the code that `torchlap tune` prints, in a process of its own and in the current folder.

    Args:
        code: prints a line for each of its laps.
        limit_seconds: after which it is ended.

    Returns:
        The items a second of its laps, without the warm-up; or no laps and why it failed.
    """
    with TemporaryDirectory(prefix="torchlap-") as folder:
        script = Path(folder) / "train_fast.py"
        script.write_text(code)
        try:
            ended = _run_plainly(script, limit_seconds=limit_seconds)
        except subprocess.TimeoutExpired:
            return (), f"it did not end within {limit_seconds:.0f} s"
    if ended.returncode:
        return (), (ended.stderr.strip().splitlines() or [_how(ended.returncode)])[-1]
    rates = tuple(float(match[1]) for match in map(RATE_LINE.match, ended.stdout.splitlines()) if match)
    return (rates, "") if rates else ((), "it printed no rate")


def _how(code: int) -> str:
    return signal.Signals(-code).name if code < 0 else f"exit code {code}"
