"""The disk is full at some write of each command: one sentence, exit code 4, and what was there before is kept."""

import errno
import os
import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from support import Command, invoke, own

from torchlap import load
from torchlap.runs.file import content
from torchlap.runs.find import reference

SMALL = ("--devices", "cpu", "--batch", "4", "--budget", "30s")
COMMANDS: dict[str, tuple[str, ...]] = {
    "run": ("run", own("small"), *SMALL),
    "tune": ("tune", own("small"), *SMALL, "--no-verify"),
    "train": ("train", own("learns"), *SMALL, "--seeds", "2", "--epochs", "2"),
}
RESUME = {"run": "torchlap run --resume", "tune": "torchlap tune --resume", "train": "torchlap train --resume"}
SCALE = ("scale", own("small"), "--devices", "cpu", "--ranks", "2", "--batch", "4", "--budget", "5s")


@pytest.fixture
def full_from(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Let the disk be full from this synchronization on."""

    def start(number: int) -> None:
        usual, calls = os.fsync, iter(range(1, 10**6))

        def fsync(descriptor: int) -> None:
            if next(calls) >= number:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            usual(descriptor)

        monkeypatch.setattr(os, "fsync", fsync)

    return start


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("number", [1, 2, 4])
def test_a_full_disk_ends_a_measurement_in_one_sentence(
    command: str, number: int, full_from: Callable[[int], None], torchlap: Command, tmp_path: Path
) -> None:
    out = tmp_path / "run.jsonl"
    full_from(number)
    result = torchlap(*COMMANDS[command], "--out", out)
    sentence = result.stderr.splitlines()[-1]
    assert (result.exit_code, "No space left on device" in sentence) == (4, True), result.output
    assert "Traceback" not in result.output
    if number == 1:
        assert not out.exists()
        assert sentence.endswith("free some space, then start again.")
    else:
        assert len(load(out).events) == number - 2
        assert f"free some space, then continue with {RESUME[command]} {out}." in sentence
        assert result.stdout


@pytest.mark.long
@pytest.mark.parametrize("number", [1, 3, 6])
def test_a_full_disk_ends_a_measurement_of_several_ranks_in_one_sentence(
    number: int, full_from: Callable[[int], None], tmp_path: Path
) -> None:
    out = tmp_path / "run.jsonl"
    full_from(number)
    result = invoke(*SCALE, "--out", out)
    assert (result.exit_code, "free some space, then" in result.stderr) == (4, True), result.output
    assert out.exists() == (number > 1)


@contextmanager
def small_files(most: int) -> Iterator[None]:
    """No file may grow beyond this size, as on a disk with little space."""
    usual = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, usual[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, usual)


@pytest.fixture
def run_file(tmp_path: Path) -> Path:
    (tmp_path / "runs" / "alice").mkdir(parents=True)
    file = tmp_path / "runs" / "alice" / "run.jsonl"
    file.write_bytes(content(reference("protocol-2022-h100")))
    return file


WRITES: dict[str, Callable[[Path, Path], tuple[object, ...]]] = {
    "page": lambda run, out: ("report", run, "--html", out / "page.html"),
    "picture": lambda run, out: ("report", run, "--png", out / "picture.png"),
    "site": lambda run, out: ("collect", run.parents[1], "--site", out / "site"),
    "submission": lambda run, out: ("submit", run, "--owner", "alice", "--out", out / "submission"),
}


@pytest.mark.parametrize("what", WRITES)
def test_a_full_disk_ends_what_writes_a_file_in_one_sentence(what: str, run_file: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    with small_files(3000):
        result = invoke(*WRITES[what](run_file, out))
    assert (result.exit_code, "Traceback" in result.output) == (4, False), result.output
    assert "File too large" in result.stderr.splitlines()[-1]
    assert not [path for path in out.rglob("*") if path.name.endswith(".part")]


def test_an_earlier_page_is_kept_where_the_new_one_has_no_space(run_file: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    assert invoke("report", run_file, "--html", page).exit_code == 0
    before = page.read_bytes()
    with small_files(3000):
        assert invoke("report", run_file, "--html", page).exit_code == 4
    assert page.read_bytes() == before
