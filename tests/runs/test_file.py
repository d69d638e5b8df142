import errno
import io
import os
import re
import tempfile
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some
from making import WHOLE_RUN, failure, header, pair, plan, prepared, rounds

from torchlap.errors import EXIT_RUN_FILE, RunFileError
from torchlap.runs import file as runfile
from torchlap.runs.file import LONGEST_LINE, RunFile, load
from torchlap.schema.events import SCHEMA, Event, GroupFinished, GroupStarted, Run
from torchlap.schema.recipe import Recipe

HEADER, EVENTS = WHOLE_RUN.header, WHOLE_RUN.events
FULL = OSError(errno.ENOSPC, "No space left on device")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run.jsonl"


def written(path: Path, *events: Event) -> bytes:
    file = RunFile.create(path)
    for event in events:
        file.append(event)
    file.close()
    return path.read_bytes()


def refusal(path: Path, content: bytes) -> str:
    """The error for a file with that content, without its name."""
    path.write_bytes(content)
    with pytest.raises(RunFileError) as caught:
        load(path)
    assert caught.value.exit_code == EXIT_RUN_FILE
    return str(caught.value).replace(str(path), "FILE")


def line(text: str) -> bytes:
    return text.encode() + b"\n"


def test_a_run_is_loaded_as_it_was_written(path: Path) -> None:
    written(path, HEADER, *EVENTS)
    assert load(path) == Run(HEADER, EVENTS)


def test_every_recipe_survives_the_file(path: Path) -> None:
    recipe = Recipe("bf16", "channels_last", compile=True, fused=True, workers=0)
    cells = tuple(msgspec.structs.replace(member, recipe=recipe) for member in pair().cells)
    first = header(plan(msgspec.structs.replace(pair(), cells=cells)))
    written(path, first)
    assert load(path).header == first


def test_every_line_is_on_the_disk_before_the_next(path: Path) -> None:
    file = RunFile.create(path)
    for number, event in enumerate((HEADER, *EVENTS)):
        file.append(event)
        assert len(load(path).events) == number
    file.close()


def test_a_torn_last_line_is_skipped_with_a_remark(path: Path) -> None:
    content = written(path, HEADER, *EVENTS)
    path.write_bytes(content[:-9])
    loaded = load(path)
    assert loaded.events == EVENTS[:-1]
    assert loaded.remarks == (f"The last line of {path} is incomplete and was skipped.",)


def test_a_file_may_be_torn_anywhere_after_its_header(path: Path) -> None:
    content = written(path, HEADER, *EVENTS)
    first = content.index(b"\n") + 1
    for length in range(first, len(content)):
        path.write_bytes(content[:length])
        whole = content[first:length].count(b"\n")
        assert load(path).events == EVENTS[:whole]


@pytest.mark.parametrize(
    "content", [b"", b"\n", b"\x00\xff\xfe\x80 junk\n", b"\x89PNG\r\n\x1a\n", b"[]\n", b"{}\n", b"7"]
)
def test_another_kind_of_file_is_refused(path: Path, content: bytes) -> None:
    assert refusal(path, content) == "FILE is not a torchlap run file: its first line is not a header."


def test_a_file_torn_in_its_header_is_refused(path: Path) -> None:
    content = written(path, HEADER)
    assert refusal(path, content[:-1]) == "FILE is not a torchlap run file: its first line is not a header."


def test_a_file_that_begins_with_another_event_is_refused(path: Path) -> None:
    content = written(path, *EVENTS)
    assert refusal(path, content) == "FILE is not a torchlap run file: its first line is not a header."


@pytest.mark.parametrize("schema", ["0", "-1", "1.5", "1e400", "null", '"1"', "9" * 5000])
def test_a_header_with_an_invalid_schema_is_refused(path: Path, schema: str) -> None:
    assert "its first line is not a header" in refusal(path, line(f'{{"event":"run","schema":{schema}}}'))


@pytest.mark.parametrize("schema", [SCHEMA + 1, 10**30])
def test_a_newer_schema_is_refused_with_how_to_upgrade(path: Path, schema: int) -> None:
    assert refusal(path, line(f'{{"event":"run","schema":{schema},"what":"is new"}}')) == (
        f"FILE was written by a newer torchlap (schema {schema}; this version reads up to {SCHEMA}): "
        "upgrade with pip install --upgrade torchlap."
    )


def test_a_header_without_a_plan_is_damaged(path: Path) -> None:
    message = refusal(path, line('{"event":"run","schema":1,"torchlap":"0.1.0","started":"","facts":{}}'))
    assert message.startswith("FILE is damaged: line 1 cannot be read (")


def test_a_second_header_is_damage(path: Path) -> None:
    content = written(path, HEADER, EVENTS[0])
    assert refusal(path, content + content) == "FILE is damaged: line 3 is a second header."


@pytest.mark.parametrize(
    "event",
    [
        GroupStarted(2),
        GroupFinished(10**15, "budget"),
        failure(0, group=2),
        prepared(0, group=2),
        *rounds([0.1], group=2),
    ],
    ids=lambda event: type(event).__name__,
)
def test_a_group_that_was_not_planned_is_damage(path: Path, event: Event) -> None:
    message = refusal(path, written(path, HEADER, event))
    assert message == "FILE is damaged: line 2 refers to a group that is not in the plan."


@pytest.mark.parametrize(
    "event",
    [failure(2), prepared(10**15), *rounds([0.1], [0.1], [0.1])],
    ids=lambda event: type(event).__name__,
)
def test_a_cell_that_was_not_planned_is_damage(path: Path, event: Event) -> None:
    message = refusal(path, written(path, HEADER, EVENTS[0], event))
    assert message == "FILE is damaged: line 3 refers to a cell that is not in the plan."


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("seconds", "NaN"),
        ("seconds", "Infinity"),
        ("seconds", "1e400"),
        ("seconds", "1e10"),
        ("seconds", "0"),
        ("seconds", "-0.1"),
        ("seconds", "null"),
        ("seconds", '"0.1"'),
        ("steps", "0"),
        ("steps", "-1"),
        ("steps", "1.5"),
        ("steps", "1000000001"),
        ("steps", "9" * 5000),
        ("cell", "-1"),
        ("cell", "9" * 30),
        ("loss", "NaN"),
        ("loss", "-1e301"),
        ("group", "-1"),
        ("group", "true"),
    ],
)
def test_a_number_out_of_its_range_is_damage(path: Path, field: str, value: str) -> None:
    content = written(path, HEADER, *rounds([0.1], [0.1]))
    first, second, _ = content.split(b"\n")
    damaged, times = re.subn(rf'"{field}":[0-9.]+', f'"{field}":{value}', second.decode(), count=1)
    assert times == 1
    assert refusal(path, first + b"\n" + line(damaged)).startswith("FILE is damaged: line 2 cannot be read (")


@pytest.mark.parametrize(
    "text",
    ["", "{}", "[]", '{"event":7}', "[" * 100_000, '{"event":"round","group":0,"laps":[]}'],
    ids=lambda text: text[:20],
)
def test_a_line_that_is_not_an_event_is_damage(path: Path, text: str) -> None:
    content = written(path, HEADER)
    after = msgspec.json.encode(EVENTS[0]) + b"\n"
    assert refusal(path, content + line(text) + after).startswith("FILE is damaged: line 2 cannot be read (")


def test_bytes_that_are_not_text_are_damage(path: Path) -> None:
    content = written(path, HEADER, failure(0, reason="@@"))
    assert "line 2 cannot be read" in refusal(path, content.replace(b"@@", b"\xff\xfe"))


def test_a_line_that_is_too_long_is_refused(path: Path) -> None:
    content = written(path, HEADER)
    assert refusal(path, content + b" " * (LONGEST_LINE + 1)) == (
        f"FILE is not a torchlap run file: it has a line of more than {LONGEST_LINE} bytes."
    )


def test_a_file_that_is_too_large_is_refused_unread(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runfile, "LARGEST_FILE", 10)
    assert refusal(path, b"x" * 11) == "FILE is too large for a run file (11 bytes): choose another file."


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    missing = tmp_path / "no" / "run.jsonl"
    with pytest.raises(RunFileError, match=r"Cannot read .* \(No such file or directory\): check its name\."):
        load(missing)


@pytest.mark.parametrize("name", [".", "a" * 300], ids=["a folder", "too long a name"])
def test_a_folder_or_too_long_a_name_cannot_be_read(tmp_path: Path, name: str) -> None:
    with pytest.raises(RunFileError, match=r"Cannot read|is not a regular file"):
        load(tmp_path / name)


def test_a_missing_folder_is_an_error_that_names_the_option(tmp_path: Path) -> None:
    missing = tmp_path / "no" / "run.jsonl"
    with pytest.raises(RunFileError) as caught:
        RunFile.create(missing)
    assert str(caught.value) == (
        f"Cannot write the run file {missing} (No such file or directory): choose a writable file with --out."
    )


def test_a_name_too_long_for_the_file_system_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(RunFileError, match="Cannot write"):
        RunFile.create(tmp_path / ("a" * 300))


def test_a_file_that_exists_is_not_overwritten(path: Path) -> None:
    path.write_text("precious")
    with pytest.raises(RunFileError, match=re.escape(f"continue it with --resume {path}, or choose another file")):
        RunFile.create(path)
    assert path.read_text() == "precious"


def test_a_missing_file_cannot_be_continued(path: Path) -> None:
    with pytest.raises(RunFileError, match=r"Cannot write .* \(No such file or directory\)"):
        RunFile.reopen(path)
    assert not path.exists()


@pytest.mark.parametrize("torn", [0, 1, 9])
def test_a_continued_file_loses_its_torn_line(path: Path, torn: int) -> None:
    content = written(path, HEADER, EVENTS[0], EVENTS[1])
    path.write_bytes(content[: len(content) - torn])
    file = RunFile.reopen(path)
    file.append(EVENTS[2])
    file.close()
    kept = EVENTS[:2] if torn == 0 else EVENTS[:1]
    assert load(path) == Run(HEADER, (*kept, EVENTS[2]))


def test_a_disk_that_is_full_at_the_sync_keeps_the_earlier_lines_whole(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise FULL

    file = RunFile.create(path)
    file.append(HEADER)
    file.append(EVENTS[0])
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(RunFileError) as caught:
        file.append(EVENTS[1])
    assert str(caught.value) == (
        f"Cannot write the run file {path} (No space left on device): free some space, then continue with "
        f"torchlap run --resume {path}."
    )
    assert load(path) == Run(HEADER, EVENTS[:1])


class SmallDisk(io.FileIO):
    """A file on a disk with room for some bytes; after a refusal it has `room_afterwards`."""

    room = 10**9
    refused = 0
    room_afterwards = 0

    def write(self, content: object) -> int:
        taken = bytes(content)[: self.room]  # type: ignore[call-overload]
        if not taken:
            self.refused += 1
            self.room = self.room_afterwards
            raise FULL
        self.room -= len(taken)
        return super().write(taken)


def fill_up(path: Path, disk: SmallDisk) -> RunFile:
    """Write a header and an event, then a line of which only 20 bytes fit on the disk."""
    file = RunFile(path, io.BufferedWriter(disk))
    file.append(HEADER)
    file.append(EVENTS[0])
    disk.room = 20
    with pytest.raises(
        RunFileError, match=r"No space left on device.*free some space, then continue with torchlap run --resume"
    ):
        file.append(EVENTS[1])
    assert disk.refused
    return file


def test_a_disk_that_has_room_for_half_a_line_keeps_the_earlier_lines_whole(path: Path) -> None:
    fill_up(path, SmallDisk(path, "xb"))
    assert load(path) == Run(HEADER, EVENTS[:1])


def test_free_space_that_comes_too_late_does_not_complete_a_line(path: Path) -> None:
    disk = SmallDisk(path, "xb")
    disk.room_afterwards = 10**9
    fill_up(path, disk)
    assert load(path) == Run(HEADER, EVENTS[:1])


def test_a_file_on_a_disk_that_was_full_can_be_continued(path: Path) -> None:
    fill_up(path, SmallDisk(path, "xb"))
    file = RunFile.reopen(path)
    file.append(EVENTS[2])
    file.close()
    assert load(path).events == (EVENTS[0], EVENTS[2])


def test_a_partial_line_that_cannot_be_removed_is_skipped_on_loading(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "truncate", refuse)
    fill_up(path, SmallDisk(path, "xb")).close()
    loaded = load(path)
    assert (loaded.events, len(loaded.remarks)) == (EVENTS[:1], 1)


VALID = b"".join(msgspec.json.encode(member) + b"\n" for member in (HEADER, *EVENTS))
PIECES = [b"", b"\n", b"\x00", b"\xff", b'"', b"-", b"0", b"9" * 40, b"1e999", b"NaN", b"null", b"{", b"[", b"\\ud800"]
mutations = some.lists(
    some.tuples(
        some.integers(0, len(VALID)),
        some.integers(0, 12),
        some.sampled_from(PIECES) | some.binary(max_size=4),
    ),
    min_size=1,
    max_size=4,
)


def mutated(changes: list[tuple[int, int, bytes]]) -> bytes:
    content = VALID
    for position, removed, put in changes:
        content = content[:position] + put + content[position + removed :]
    return content


@settings(max_examples=300, database=None, derandomize=True, deadline=None)
@given(changes=mutations)
def test_a_damaged_file_is_loaded_or_refused(changes: list[tuple[int, int, bytes]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "run.jsonl"
        path.write_bytes(mutated(changes))
        try:
            loaded = load(path)
        except RunFileError as refused:
            assert str(path) in str(refused)  # noqa: PT017  both ends are fine
        else:
            assert len(loaded.events) <= path.read_bytes().count(b"\n")


def test_the_fuzzed_file_is_valid_before_it_is_damaged(path: Path) -> None:
    path.write_bytes(VALID)
    assert load(path) == Run(HEADER, tuple(EVENTS))


@pytest.mark.parametrize(("bound", "limit"), [("MOST_LINES", 2), ("LARGEST_FILE", 10_000)])
def test_a_file_never_grows_beyond_what_can_be_read(
    bound: str, limit: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runfile, bound, limit)
    path = tmp_path / "run.jsonl"
    file = RunFile.create(path)

    def fill() -> None:
        for _ in range(1000):
            file.append(header())

    with pytest.raises(RunFileError, match="is full"):
        fill()
    file.close()
    assert path.stat().st_size <= 10_000 + limit
    assert path.read_bytes().count(b"\n") <= max(limit, 2)
