"""Write a page, a picture or a script to the file that the user named, without destroying anything else.

A regular file is written beside the target and renamed, so that it is whole or untouched. A link is followed. A device
or a FIFO is written through: a rename would replace it.
"""

import secrets
import stat
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from torchlap.cli.console import say
from torchlap.errors import RunFileError

PAGE_MARK = b'<meta name="generator" content="torchlap '
PNG_MARK = b"tEXtSoftware\x00torchlap"
SCRIPT_MARK = b"Needs torch alone: runs the same call on the device and, in float64, on the CPU."
COMMENT_MARK = b"<!-- torchlap gate -->"
TUNED_MARK = b"# Written by torchlap tune:"
MARKS = (PAGE_MARK, PNG_MARK, SCRIPT_MARK, COMMENT_MARK, TUNED_MARK)
"""How a file that torchlap wrote is recognized; another is replaced only on request."""

RUN_START = b'{"event":"run"'
"""Raw laps are never replaced, also not on request."""

START_BYTES = 2000
"""Of a file, that are searched for a mark."""


def write_file(path: Path, content: bytes, *, inputs: Iterable[Path] = (), force: bool = False) -> None:
    """Write a file in one step, as `check_target` allows, and report it.

    Raises:
        RunFileError: when that is refused, or fails; what was there is kept.
    """
    check_target(path, inputs=inputs, force=force)
    try:
        target = path.resolve()
        if target.exists() and not target.is_file():
            with target.open("wb") as stream:
                stream.write(content)
        else:
            _replace(target, content)
    except OSError as error:
        raise _unwritable(path, error) from None
    say(f"Wrote {path}")


def check_target(path: Path, *, inputs: Iterable[Path] = (), force: bool = False) -> None:
    """Check whether a file may be written, before anything long begins.

    Args:
        path: the file.
        inputs: files that are being read; they are never replaced.
        force: replace a file that torchlap did not write.

    Raises:
        RunFileError: when it is a folder, an input, a run file, or somebody else's file.
    """
    try:
        if path.is_dir():
            raise RunFileError(f"{path} is a folder: choose another file.")
        if not path.parent.is_dir():
            raise RunFileError(f"The folder {path.parent} does not exist: create it, or choose another file.")
        if not path.exists():
            with suppress(FileNotFoundError):
                path.stat()  # a loop of links does not exist either
            return
        if any(source.exists() and source.samefile(path) for source in inputs):
            raise RunFileError(f"{path} is an input of this command: choose another file.")
        if not path.is_file():
            return
        with path.open("rb") as file:
            start = file.read(START_BYTES)
    except (OSError, RuntimeError) as error:
        raise _unwritable(path, error) from None
    if start.startswith(RUN_START):
        raise RunFileError(f"{path} is a run file: choose another file.")
    if start and not force and not any(mark in start for mark in MARKS):
        raise RunFileError(f"{path} exists and was not written by torchlap: choose another file, or add --force.")


def _replace(target: Path, content: bytes) -> None:
    """Write beside the target, with its permissions, and rename."""
    part = target.with_name(f".{target.name[:100]}.{secrets.token_hex(4)}.part")
    try:
        with part.open("xb") as file:
            file.write(content)
        if target.exists():
            part.chmod(stat.S_IMODE(target.stat().st_mode))
        part.replace(target)
    except BaseException:
        with suppress(OSError):
            part.unlink()
        raise


def _unwritable(path: Path, error: Exception) -> RunFileError:
    why = error.strerror if isinstance(error, OSError) else error
    return RunFileError(f"Cannot write {path} ({why}): choose another file.")
