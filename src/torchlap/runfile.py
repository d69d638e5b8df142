"""The run file: JSON Lines, versioned; append as it happens, load what is there.

One writer appends a line an event and flushes it to the disk, so that a crash loses at most the lap in flight. A reader
trusts nothing: sizes are bounded, types are checked, a torn last line is left out with a remark.
"""

import errno
import fcntl
import os
import shlex
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, Self

import msgspec
from msgspec import Struct

from torchlap.errors import RunFileError
from torchlap.records import SCHEMA, Event, Header, Run

LONGEST_LINE = 4 << 20
"""Bytes. A header with 10,000 comparisons takes about 3 MiB."""

LARGEST_FILE = 1 << 30
"""Bytes. A day of laps takes about 100 MiB."""

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""The errors of a disk, a quota or a file that is full."""

_encoder = msgspec.json.Encoder()
_decoder: msgspec.json.Decoder[Event] = msgspec.json.Decoder(Event)


class _Schema(Struct):
    """What every header has had, of whatever schema."""

    event: str
    schema: int


_schema_decoder = msgspec.json.Decoder(_Schema)


class RunFile:
    """A run file open for appending. Use `create` or `reopen`."""

    def __init__(self, path: Path, file: BinaryIO) -> None:
        self.path = path
        self._file = file

    @classmethod
    def create(cls, path: Path) -> Self:
        """Start a new file.

        Raises:
            RunFileError: when it exists, or cannot be written.
        """
        try:
            file = path.open("xb")
            _lock(path, file)
        except FileExistsError:
            resume = f"continue it with --resume {shlex.quote(str(path))}, or " * path.is_file()
            raise RunFileError(f"{path} exists already: {resume}name another file with --out.") from None
        except OSError as error:
            raise _unwritable(path, error) from None
        return cls(path, file)

    @classmethod
    def reopen(cls, path: Path) -> Self:
        """Continue a file that `load` has read: a torn last line is cut off.

        Raises:
            RunFileError: when it cannot be written.
        """
        try:
            file = path.open("r+b")
            _lock(path, file)
            content = file.read()
            file.truncate(content.rfind(b"\n") + 1)
            file.seek(0, os.SEEK_END)
        except OSError as error:
            raise _unwritable(path, error) from None
        return cls(path, file)

    def append(self, event: Event) -> None:
        """Write one line and see it to the disk.

        Raises:
            RunFileError: when the disk is full, or refuses; what stood there before is kept whole.
        """
        before = self._file.tell()
        try:
            self._file.write(_encoder.encode(event) + b"\n")
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as error:
            self._cut(before)
            raise _unwritable(self.path, error) from None

    def _cut(self, length: int) -> None:
        """Take back a line that was written in part. The file is closed: nothing more can be appended."""
        with suppress(OSError):
            self._file.close()  # first: closing writes what is still held back
        with suppress(OSError):
            os.truncate(self.path, length)  # if not, the last line is torn: `load` leaves it out

    def close(self) -> None:
        """Close the file; every line is on the disk already."""
        self._file.close()


def _lock(path: Path, file: BinaryIO) -> None:
    """Keep every other torchlap from writing to the file until it is closed."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise RunFileError(f"{path} is being written by another torchlap: wait until it has ended.") from None


def _unwritable(path: Path, error: OSError) -> RunFileError:
    full = error.errno in FULL
    remedy = "make room, then continue with --resume" if full else "name a file that can be written with --out"
    return RunFileError(f"The run file {path} cannot be written ({error.strerror or error}): {remedy}.")


def content(run: Run) -> bytes:
    """The run as its file has it."""
    return b"".join(_encoder.encode(event) + b"\n" for event in (run.header, *run.events))


def load(path: Path) -> Run:
    """Read a run file.

    Raises:
        RunFileError: when it cannot be read, is not a run file, is damaged, or is of a newer schema.
    """
    remarks: list[str] = []
    try:
        if path.exists() and not path.is_file():
            raise RunFileError(f"{path} is not a file: name a run file.")
        size = path.stat().st_size
        if size > LARGEST_FILE:
            raise RunFileError(f"{path} has {size} bytes, more than any run file: name another file.")
        with path.open("rb") as file:
            lines = _whole_lines(path, file, remarks)
            header = _header(path, next(lines, b""))
            events = tuple(_event(path, number, line, header) for number, line in enumerate(lines, start=2))
    except OSError as error:
        raise RunFileError(f"The run file {path} cannot be read ({error.strerror or error}): check its name.") from None
    return Run(header, events, tuple(remarks))


def _whole_lines(path: Path, file: BinaryIO, remarks: list[str]) -> Iterator[bytes]:
    while line := file.readline(LONGEST_LINE + 1):
        if len(line) > LONGEST_LINE:
            raise RunFileError(f"{path} has a line of over {LONGEST_LINE} bytes: it is not a run file.")
        if line.endswith(b"\n"):
            yield line
        else:
            remarks.append(f"The last line of {path} was torn off while it was written; it is left out.")


def _header(path: Path, line: bytes) -> Header:
    try:
        schema = _schema_decoder.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        schema = None
    if schema is None or schema.event != "run" or schema.schema < 1:
        raise RunFileError(f"{path} is not a torchlap run file: its first line is no header.")
    if schema.schema > SCHEMA:
        raise RunFileError(
            f"{path} was written by a newer torchlap (schema {schema.schema}, this one reads up to {SCHEMA}): "
            "upgrade with pip install --upgrade torchlap."
        )
    header = _decode(path, 1, line)
    if not isinstance(header, Header):
        raise RunFileError(f"{path} is not a torchlap run file: its first line is no header.")
    return header


def _event(path: Path, number: int, line: bytes, header: Header) -> Event:
    event = _decode(path, number, line)
    if isinstance(event, Header):
        raise RunFileError(f"{path} is damaged: line {number} is a second header.")
    comparisons = header.plan.comparisons
    comparison = getattr(event, "comparison", None)
    if comparison is None:
        return event
    if comparison >= len(comparisons):
        raise RunFileError(f"{path} is damaged: line {number} speaks of a comparison that was not planned.")
    cells = [lap.cell for lap in getattr(event, "laps", ())] + [getattr(event, "cell", 0)]
    if max(cells) >= len(comparisons[comparison].cells):
        raise RunFileError(f"{path} is damaged: line {number} speaks of a cell that was not planned.")
    return event


def _decode(path: Path, number: int, line: bytes) -> Event:
    try:
        return _decoder.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise RunFileError(f"{path} is damaged: line {number} cannot be read ({error}).") from None
