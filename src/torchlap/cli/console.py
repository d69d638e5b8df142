"""Where text goes: figures to the standard output, progress and errors to the standard error; and how a command ends.

Nothing outside `torchlap.cli` prints or exits.
"""

import os
import shutil
import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn, TypeVar

import typer

from torchlap.cli.streams import try_write
from torchlap.errors import EXIT_INTERRUPTED, EXIT_RUN_FILE, TorchlapError

if TYPE_CHECKING:
    from rich.console import Console

FALLBACK_WIDTH = 80
REPORT_LOST = "the report is lost"

Format = TypeVar("Format")


def width() -> int:
    """The terminal's columns; 80 where there is no terminal and COLUMNS is not set."""
    return shutil.get_terminal_size((FALLBACK_WIDTH, 24)).columns


def color() -> bool:
    """Whether the standard output is a terminal that may be colored (https://no-color.org)."""
    if not sys.stdout or not sys.stdout.isatty():
        return False
    return not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def error_console() -> "Console":
    """A console on the standard error; on the null device where that is closed."""
    from rich.console import Console

    return Console(stderr=True) if sys.stderr else Console(file=Path(os.devnull).open("w"))


@contextmanager
def spinner() -> Iterator[Callable[[str], None]]:
    """Show what is being done, where the standard error is a terminal."""
    with error_console().status("reading the machine", spinner="line") as status:
        yield status.update


def write_out(text: str, lost: str = "the results are in the run file") -> bool:
    """Write figures to the standard output, and return whether that worked.

    A reader that stopped reading is not an error. A full disk is reported, with what became of the text.
    """
    error = try_write(text)
    if error is None or isinstance(error, BrokenPipeError):
        return True
    say(f"Cannot write to the standard output ({error.strerror}): {lost}.")
    return False


def show(report: str, code: int) -> NoReturn:
    """Print a report that exists nowhere else, and exit with the code."""
    raise typer.Exit(code if write_out(report, REPORT_LOST) else EXIT_RUN_FILE)


def show_as(chosen: Format, writers: Mapping[Format, Callable[[], str]], code: int) -> NoReturn:
    """Print a report in the chosen format, and exit with the code."""
    show(writers[chosen](), code)


def say(text: str) -> None:
    """Report what happens on the standard error; where that is closed, measuring goes on."""
    if sys.stderr:
        with suppress(OSError):
            print(text, file=sys.stderr, flush=True)


@contextmanager
def errors_in_one_sentence() -> Iterator[None]:
    """Turn an expected error into its sentence and its exit code."""
    try:
        yield
    except TorchlapError as error:
        say(f"torchlap: {error}")
        raise typer.Exit(error.exit_code) from None
    except KeyboardInterrupt:
        say("Interrupted: nothing was measured.")
        raise typer.Exit(EXIT_INTERRUPTED) from None
    except OSError as error:
        if str(error.filename).startswith("/proc/"):
            say(f"torchlap: {error.filename} cannot be read ({error.strerror}): mount /proc, which torchlap needs.")
            raise typer.Exit(EXIT_RUN_FILE) from None
        say(f"torchlap: a system resource is unavailable ({error}): free memory or disk space, or close open files.")
        raise typer.Exit(EXIT_RUN_FILE) from None


def interrupt_on(*signals: signal.Signals) -> None:
    """Treat these signals as Ctrl-C, unless they are ignored, as `nohup` does with SIGHUP."""
    for number in signals:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _interrupt)


def _interrupt(_signal: int, _frame: object) -> NoReturn:
    raise KeyboardInterrupt
