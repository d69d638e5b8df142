"""The first process of `torchlap doctor`: it needs only the standard library, so that it survives what it should name.

It runs the doctor proper in a second process, and waits until that has imported the packages that it needs. Where that
fails, it tries again with PYTHONPATH, and without the variables that put other libraries first. Where everything
fails, it names the package at fault.
"""

import json
import os
import platform
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import IO, ClassVar, NoReturn, Self

from torchlap import __version__
from torchlap.cli.streams import open_closed_streams, try_write
from torchlap.errors import EXIT_FINE, EXIT_INSTALL, EXIT_INTERRUPTED, EXIT_RUN_FILE, EXIT_UNUSABLE, EXIT_USAGE
from torchlap.judge import broken
from torchlap.judge.findings import Finding
from torchlap.machine import import_trials, packages
from torchlap.machine.privacy import private, shell_path
from torchlap.reports import first_aid as reports

VARIABLE = "TORCHLAP_DOCTOR"
"""Tells the second process how to reach the first one; nothing else may set it."""

NEEDED = ("msgspec", "packaging", "psutil", "platformdirs", "numpy", "scipy", "typer", "rich")
"""What the doctor proper imports."""

MISSING_MODULE = re.compile(r"No module named '(\w+)")
IMPORT_SECONDS = 180.0
"""On a cold network disk, importing takes minutes."""

END_SECONDS = 10.0
TEXT_WIDTH = 80
LONGEST_LOG = 20_000
READY, FAILED = b"ready\n", b"failed "
LONGEST_REASON = 500


class Second:
    """The second process's connection to the first one."""

    current: ClassVar["Second | None"] = None
    """Of this process, if it is the second one."""

    def __init__(self, connection: socket.socket, errors: int, restored: Mapping[str, str]) -> None:
        self._connection, self._errors, self._restored = connection, errors, restored
        threading.Thread(target=self._end_with_first, daemon=True).start()

    @classmethod
    def connect(cls, taken: Sequence[str]) -> "Second | None":
        """The connection, if this is the second process; `taken` is what left its path."""
        settings = os.environ.pop(VARIABLE, "")
        if not settings:
            return None
        try:
            known = json.loads(settings)
            cls.current = cls(socket.socket(fileno=known["connection"]), known["errors"], known["restore"])
            if known["python_path"]:
                sys.path[:0] = taken
        except (ValueError, KeyError, TypeError, OSError):
            return None  # somebody else set the variable
        return cls.current

    def ready(self) -> None:
        """Report that every package is imported.

        From here on, errors go to the standard error, and what is started has the variables that this process lacked.
        """
        os.environ.update(self._restored)
        os.dup2(self._errors, 2)
        os.close(self._errors)
        sys.stderr = open(  # noqa: SIM115  the old one believes that it is a file
            2, "w", buffering=1, errors="backslashreplace", closefd=False
        )
        self._connection.send(READY)

    def failed(self, error: ImportError) -> None:
        """Report that a package cannot be imported, before or after `ready`."""
        self._connection.send(FAILED + f"{type(error).__name__}: {error}".encode(errors="replace")[:LONGEST_REASON])

    def _end_with_first(self) -> None:
        """Interrupt this process when the first one has ended, or was interrupted."""
        if not self._connection.recv(1):
            os.kill(os.getpid(), signal.SIGTERM)


def doctor(words: Sequence[str]) -> int:
    """Run the doctor with these arguments; the exit code."""
    open_closed_streams()
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    reason = ""
    try:
        for environment, python_path in _attempts():
            with _Attempt(words, environment, python_path=python_path) as attempt:
                code = attempt.run()
                if code is not None:
                    return code
                reason = attempt.reason()
        return _write(report(words, reason))
    except KeyboardInterrupt:
        _say("Interrupted: nothing was measured.")
        return EXIT_INTERRUPTED
    except OSError as error:
        _say(f"torchlap: a system resource is unavailable ({error}): free memory or disk space, or close open files.")
        return EXIT_RUN_FILE


def _interrupt(_signal: int, _frame: object) -> NoReturn:
    raise KeyboardInterrupt


def _attempts() -> Iterator[tuple[dict[str, str], bool]]:
    """How to start the second process: variables to take out of its environment, and whether PYTHONPATH is on its path.

    The libraries' variables stay at first, because NVIDIA's driver may be found only with them.
    """
    yield {}, False
    if os.environ.get("PYTHONPATH"):
        yield {}, True
    loader = {name: os.environ[name] for name in import_trials.SUSPECTS if os.environ.get(name)}
    loader.pop("PYTHONPATH", None)
    if loader:
        yield loader, False


class _Attempt:
    """A second process."""

    def __init__(self, words: Sequence[str], without: dict[str, str], *, python_path: bool) -> None:
        self._ours, theirs = socket.socketpair()
        self._log: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115  open as long as the process lives
        self._heard = b""
        errors = os.dup(2)
        settings = {
            "connection": theirs.fileno(),
            "errors": errors,
            "restore": without,
            "python_path": python_path,
        }
        kept = {name: value for name, value in os.environ.items() if name not in without}
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "torchlap", "doctor", *words],
                env=kept | {VARIABLE: json.dumps(settings)},
                stderr=self._log,
                pass_fds=(theirs.fileno(), errors),
                start_new_session=True,  # Ctrl-C reaches only the first process, which ends this one in order
            )
        os.close(errors)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._ours.close()
        self._ended()
        self._log.close()

    def _ended(self) -> int:
        """The exit code; it is killed if it does not end."""
        try:
            return self._process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()

    def run(self) -> int | None:
        """Wait for its end; its exit code, or None if it could not import what it needs."""
        if not self._is_ready():
            if self._ended() != EXIT_USAGE:
                return None
            _say(self._printed().rstrip("\n"))
            return EXIT_USAGE
        try:
            code = self._process.wait()
        except KeyboardInterrupt:
            self._ours.close()  # it then reports the interrupt, after it has ended its workers
            return self._ended()
        if code == EXIT_INSTALL and FAILED in self._received():
            return None
        if code < 0:
            _say(f"torchlap: the doctor was killed by signal {-code}: run it again with --format json.")
            return 128 - code
        return code

    def _is_ready(self) -> bool:
        self._ours.settimeout(IMPORT_SECONDS)
        try:
            self._heard = self._ours.recv(LONGEST_REASON)
            return self._heard.startswith(READY)
        except OSError:  # too late, or broken
            self._process.kill()
            return False
        except KeyboardInterrupt:
            self._process.kill()
            raise

    def _received(self) -> bytes:
        """All that it reported; it has ended."""
        with suppress(OSError):
            self._heard += self._ours.recv(LONGEST_REASON)
        return self._heard

    def reason(self) -> str:
        """Why it could not import what it needs: what it reported, or the last line that it printed."""
        reported = self._received().partition(FAILED)[2].decode(errors="replace")
        lines = [reported, *reversed(self._printed().splitlines())]
        return next((line.strip() for line in lines if line.strip()), "no output")

    def _printed(self) -> str:
        """The end of what it printed before it was ready."""
        size = os.fstat(self._log.fileno()).st_size
        return os.pread(self._log.fileno(), LONGEST_LOG, max(0, size - LONGEST_LOG)).decode(errors="replace")


def report(words: Sequence[str], reason: str) -> str:
    """The findings about the packages of torchlap, in the format that the arguments ask for.

    Args:
        words: the arguments.
        reason: why the second process failed, for a package that is not `NEEDED`.
    """
    facts: dict[str, object] = {
        "system": private(f"{platform.system()} {platform.release()}"),
        "architecture": platform.machine(),
        "python": platform.python_version(),
        "interpreter": shell_path(sys.executable or "python"),
        "installer": packages.installer(),
        "packages": packages.versions((*packages.PACKAGES, *NEEDED)),
    }
    found = _findings(str(facts["interpreter"]), str(facts["installer"]), reason)
    machine = f"{facts['system']} · Python {facts['python']} · {facts['installer']}"
    formats: dict[str, Callable[[], str]] = {
        "json": lambda: reports.as_json(found, facts, __version__),
        "markdown": lambda: reports.as_markdown(found, machine, __version__),
        "fix": lambda: reports.as_commands(found),
    }
    text = lambda: reports.as_text(found, machine, shutil.get_terminal_size((TEXT_WIDTH, 24)).columns)  # noqa: E731
    return formats.get(_format(words), text)()


def _format(words: Sequence[str]) -> str:
    """The format that the arguments ask for."""
    if "--fix" in words:
        return "fix"
    after = [words[place + 1] for place, word in enumerate(words[:-1]) if word == "--format"]
    joined = [word.partition("=")[2] for word in words if word.startswith("--format=")]
    return next(iter([*after, *joined]), "text")


def _findings(python: str, installer: str, reason: str) -> list[Finding]:
    """Which of the packages cannot be imported, and why."""
    failing = import_trials.broken(NEEDED)
    faults = {fault.package: fault for fault in packages.faults(tuple(failing)) if fault.kind in ("partial", "wheel")}
    found = []
    for name, why in failing.items():
        if name == "scipy" and "numpy" in failing:
            continue  # it imports NumPy
        variable = import_trials.culprit(statement=f"import {name}")
        if variable:
            found.append(broken.by_variable(name, variable, private(why)))
        elif name in faults:
            kind, clause = faults[name].kind, private(faults[name].clause)
            found.append(broken.finding(kind, name, clause, installer=installer, python=python))
        else:
            found.append(broken.cannot_be_imported(name, private(why), installer=installer, python=python))
    if not found:
        absent = MISSING_MODULE.search(reason)
        name = absent[1] if absent else "torchlap"
        found.append(broken.cannot_be_imported(name, private(reason), installer=installer, python=python))
    return found


def _write(report: str) -> int:
    error = try_write(report)
    if error is None:
        return EXIT_UNUSABLE
    if isinstance(error, BrokenPipeError):
        return EXIT_FINE
    _say(f"Cannot write to the standard output ({error.strerror}): the report is lost.")
    return EXIT_RUN_FILE


def _say(text: str) -> None:
    if sys.stderr:
        with suppress(OSError):
            sys.stderr.write(f"{text}\n")
            sys.stderr.flush()
