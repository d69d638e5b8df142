"""The run file: JSON Lines, versioned; append as it happens, load what is there.

One writer appends a line an event and flushes it to the disk, so a crash loses at most the lap in flight. It writes
only what can be read again. A reader trusts nothing: sizes are bounded and types are checked. A torn last line, and an
event of a kind that only a newer version knows, are skipped with a remark.
"""

import errno
import fcntl
import os
import shlex
from collections.abc import Iterator
from contextlib import suppress
from itertools import chain
from pathlib import Path
from typing import BinaryIO, Self, get_args

import msgspec
from msgspec import Struct

from torchlap.errors import RunFileError
from torchlap.runs.upgrade import Line, quickly, upgrade
from torchlap.schema.events import SCHEMA, Event, Header, Round, Run
from torchlap.schema.tuning import CandidateAdded
from torchlap.schema.workload import MOST_CELLS

LONGEST_LINE = 4 << 20
"""Bytes. A header with 10,000 comparisons takes about 3 MiB."""

LARGEST_FILE = 128 << 20
"""Bytes. A day of laps takes about 100 MiB."""

MOST_LINES = 400_000
"""A report of so many takes about 10 s, and less than 1 GiB."""

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""The errors of a disk, a quota or a file that is full."""

_encoder = msgspec.json.Encoder()
_decoder: msgspec.json.Decoder[Event] = msgspec.json.Decoder(Event)
_line_decoder: msgspec.json.Decoder[Line] = msgspec.json.Decoder(Line)
UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
KINDS = {kind.__struct_config__.tag for kind in get_args(Event)}
"""The events that this version knows, by the names that lines have for them."""


class _Schema(Struct):
    """What every header has had, whatever its schema."""

    event: str
    schema: int


class _Kind(Struct):
    """What every event has."""

    event: str


_schema_decoder = msgspec.json.Decoder(_Schema)
_kind_decoder = msgspec.json.Decoder(_Kind)


class RunFile:
    """A run file open for appending. Use `create` or `reopen`."""

    def __init__(self, path: Path, file: BinaryIO, lines: int = 0) -> None:
        self.path = path
        self._file, self._lines = file, lines
        self._continue = "continue with --resume"
        """What to do once there is space again."""

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
            resume = f"continue it with --resume {shlex.quote(str(path))}, or " if path.is_file() else ""
            raise RunFileError(f"{path} already exists: {resume}choose another file with --out.") from None
        except OSError as error:
            raise _unwritable(path, error) from None
        return cls(path, file)

    @classmethod
    def reopen(cls, path: Path) -> Self:
        """Continue a file that `load` has read: a torn last line is cut off, an older schema is brought up to date.

        Raises:
            RunFileError: when it cannot be written.
        """
        try:
            file = path.open("r+b")
            _lock(path, file)
            text = file.read()
            file.truncate(text.rfind(b"\n") + 1)
            schema = _schema_decoder.decode(text[: text.find(b"\n") + 1]).schema
            if schema < SCHEMA:
                newest = content(load(path))
                file.seek(0)
                file.write(newest)
                file.truncate(len(newest))
                file.flush()
                os.fsync(file.fileno())
            file.seek(0, os.SEEK_END)
        except OSError as error:
            raise _unwritable(path, error) from None
        return cls(path, file, text.count(b"\n"))

    def append(self, event: Event) -> None:
        """Write one line and flush it to the disk.

        Raises:
            RunFileError: when the disk is full, or refuses; what was written before is kept whole. Also for an event
                that could not be read again, which is not written.
        """
        line = _encoder.encode(event) + b"\n"
        if isinstance(event, Header):
            self._continue = _how_to_continue(self.path, event)
        try:
            _decoder.decode(line)
        except UNREADABLE as error:
            raise RunFileError(
                f"A result is outside the bounds of a run file ({error}), so it was not written: continue with "
                f"--resume {shlex.quote(str(self.path))}."
            ) from None
        before = self._file.tell()
        if before + len(line) > LARGEST_FILE or self._lines >= MOST_LINES:
            limit = f"{LARGEST_FILE >> 20} MiB or {MOST_LINES} lines"
            raise RunFileError(f"The run file {self.path} is full ({limit}): start a new run.")
        self._lines += 1
        try:
            self._file.write(line)
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as error:
            self._cut(before)
            raise _unwritable(self.path, error, self._continue if before else "start again") from None

    def _cut(self, length: int) -> None:
        """Remove a line that was written in part, and close the file: nothing more can be appended."""
        with suppress(OSError):
            self._file.close()  # first: closing writes what is still buffered
        with suppress(OSError):
            if length == 0:
                self.path.unlink()  # without a header it is no run file, and would be in the way of the next one
            else:
                os.truncate(self.path, length)  # if not, the last line is torn: `load` skips it

    def close(self) -> None:
        """Close the file; every line is on the disk already."""
        self._file.close()


def _lock(path: Path, file: BinaryIO) -> None:
    """Keep every other torchlap from writing to the file until it is closed; a file that is in use is closed."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        raise RunFileError(
            f"{path} is being written by another torchlap process: wait until it has finished."
        ) from None


def _how_to_continue(path: Path, header: Header) -> str:
    """What to do with the file of a run that was cut short."""
    plan = header.plan
    if plan.scaling is not None:
        return "measure again; what was measured is kept"
    command = "train" if plan.training is not None else "tune" if plan.tuning is not None else "run"
    return f"continue with torchlap {command} --resume {shlex.quote(str(path))}"


def _unwritable(path: Path, error: OSError, then: str = "continue with --resume") -> RunFileError:
    full = error.errno in FULL
    remedy = f"free some space, then {then}" if full else "choose a writable file with --out"
    return RunFileError(f"Cannot write the run file {path} ({error.strerror or error}): {remedy}.")


def content(run: Run) -> bytes:
    """The run as its file has it."""
    return b"".join(_lines(run))


def size(run: Run) -> int:
    """The bytes of `content`, without holding them."""
    return sum(map(len, _lines(run)))


def _lines(run: Run) -> Iterator[bytes]:
    return (_encoder.encode(event) + b"\n" for event in chain((run.header,), run.events))


def load(path: Path) -> Run:
    """Read a run file, of this schema or an older one.

    Raises:
        RunFileError: when it cannot be read, is not a run file, is damaged, or is of a newer schema.
    """
    remarks: list[str] = []
    try:
        if path.exists() and not path.is_file():
            raise RunFileError(f"{path} is not a regular file: choose a run file.")
        length = path.stat().st_size
        if length > LARGEST_FILE:
            raise RunFileError(f"{path} is too large for a run file ({length} bytes): choose another file.")
        with path.open("rb") as file:
            lines = _whole_lines(path, file, remarks)
            schema, header = _header(path, next(lines, b""))
            events = _Events(path, schema, header)
            return Run(header, tuple(events.read(lines)), (*remarks, *events.remarks()))
    except OSError as error:
        raise RunFileError(f"Cannot read the run file {path} ({error.strerror or error}): check its name.") from None


def _whole_lines(path: Path, file: BinaryIO, remarks: list[str]) -> Iterator[bytes]:
    while line := file.readline(LONGEST_LINE + 1):
        if len(line) > LONGEST_LINE:
            raise RunFileError(f"{path} is not a torchlap run file: it has a line of more than {LONGEST_LINE} bytes.")
        if line.endswith(b"\n"):
            yield line
        else:
            remarks.append(f"The last line of {path} is incomplete and was skipped.")


def _header(path: Path, line: bytes) -> tuple[int, Header]:
    """The schema in which the file is written, and its header in the newest."""
    try:
        schema = _schema_decoder.decode(line)
    except UNREADABLE:
        schema = None
    if schema is None or schema.event != "run" or schema.schema < 1:
        raise RunFileError(f"{path} is not a torchlap run file: its first line is not a header.")
    if schema.schema > SCHEMA:
        raise RunFileError(
            f"{path} was written by a newer torchlap (schema {schema.schema}; this version reads up to {SCHEMA}): "
            "upgrade with pip install --upgrade torchlap."
        )
    header = _decode(path, 1, line, schema.schema)
    if not isinstance(header, Header):
        raise RunFileError(f"{path} is not a torchlap run file: its first line is not a header.")
    return schema.schema, header


def _decode(path: Path, number: int, line: bytes, schema: int) -> Event:
    try:
        newest = line if schema == SCHEMA else quickly(line, schema)
        if newest is not None:
            return _decoder.decode(newest)
        event: Event = msgspec.convert(upgrade(_line_decoder.decode(line), schema), Event)
    except UNREADABLE as error:
        raise RunFileError(f"{path} is damaged: line {number} cannot be read ({error}).") from None
    return event


class _Events:
    """The events of a file, in order; those of kinds that only a newer version knows are counted, and skipped."""

    def __init__(self, path: Path, schema: int, header: Header) -> None:
        self._path, self._schema = path, schema
        self._cells = [len(group.cells) for group in header.plan.groups]
        self._skipped = 0

    def read(self, lines: Iterator[bytes]) -> Iterator[Event]:
        """The events of the lines after the header.

        Raises:
            RunFileError: for a line that is damaged.
        """
        for number, line in enumerate(lines, start=2):
            if number > MOST_LINES:
                raise RunFileError(f"{self._path} has more than {MOST_LINES} lines: choose another file.")
            try:
                event = _decode(self._path, number, line, self._schema)
            except RunFileError:
                if not self._is_unknown(line):
                    raise
                self._skipped += 1
            else:
                self._check(number, event)
                yield event

    def remarks(self) -> tuple[str, ...]:
        """What was skipped, in a sentence."""
        if not self._skipped:
            return ()
        lines = "1 line" if self._skipped == 1 else f"{self._skipped} lines"
        return (f"Skipped {lines} of {self._path} that only a newer torchlap understands.",)

    def _is_unknown(self, line: bytes) -> bool:
        if self._schema < SCHEMA:
            return False
        try:
            return _kind_decoder.decode(line).event not in KINDS
        except UNREADABLE:
            return False

    def _is_usual(self, group: int, event: Round) -> bool:
        """Whether a round belongs to the plan, without a reading of a meter: as almost all lines do."""
        cells = self._cells[group] if group < len(self._cells) else 0
        return not event.energy and all(lap.cell < cells for lap in event.laps)

    def _check(self, number: int, event: Event) -> None:
        """Make sure that the event belongs to the plan."""
        if isinstance(event, Header):
            raise RunFileError(f"{self._path} is damaged: line {number} is a second header.")
        group = getattr(event, "group", None)
        if group is None:
            return
        if isinstance(event, Round) and self._is_usual(group, event):
            return
        if group >= len(self._cells):
            raise RunFileError(f"{self._path} is damaged: line {number} refers to a group that is not in the plan.")
        parts = (*getattr(event, "laps", ()), *getattr(event, "energy", ()))
        cells = [part.cell for part in parts] + [getattr(event, "cell", 0)]
        if isinstance(event, CandidateAdded):
            cells = [event.over]
            self._cells[group] += 1
            if self._cells[group] > MOST_CELLS:
                raise RunFileError(f"{self._path} is damaged: line {number} adds a cell to a group of {MOST_CELLS}.")
        if max(cells) >= self._cells[group]:
            raise RunFileError(f"{self._path} is damaged: line {number} refers to a cell that is not in the plan.")
