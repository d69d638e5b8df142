"""torchlap report: runs by file, by folder and by reference; and where it may write a page or a picture."""

import os
from pathlib import Path

import pytest
from making import prepared, rounds, run
from support import invoke

from torchlap.runs.file import content

RUN = run([prepared(0), prepared(1), *rounds([0.1] * 8, [0.02] * 8)])


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "a.jsonl"
    path.write_bytes(content(RUN))
    return path


def test_a_file_of_a_folder_that_cannot_be_read_is_skipped_with_a_warning(file: Path) -> None:
    bad = file.with_name("bad.jsonl")
    bad.write_text("not a run file\n")
    result = invoke("report", file.parent)
    assert result.exit_code == 0, result.output
    assert "5.00x" in result.stdout
    assert (result.stderr.count("\n"), str(bad) in result.stderr) == (1, True)


def test_a_named_file_that_cannot_be_read_is_an_error(file: Path) -> None:
    bad = file.with_name("bad.jsonl")
    bad.write_text("not a run file\n")
    result = invoke("report", file, bad)
    assert (result.exit_code, str(bad) in result.stderr) == (4, True)


def test_a_folder_without_run_files_is_an_error(tmp_path: Path) -> None:
    result = invoke("report", tmp_path)
    assert (result.exit_code, "Traceback" in result.output) == (2, False)


FORMATS = ("--html", "--png")


@pytest.mark.parametrize("option", FORMATS)
def test_an_earlier_report_is_replaced(option: str, file: Path) -> None:
    target = file.with_name("report")
    assert invoke("report", file, option, target).exit_code == 0
    first = target.read_bytes()
    file.write_bytes(content(run([prepared(0), prepared(1), *rounds([0.1] * 8, [0.05] * 8)])))
    result = invoke("report", file, option, target)
    assert result.exit_code == 0, result.output
    assert target.read_bytes() != first
    assert sorted(path.name for path in file.parent.iterdir()) == ["a.jsonl", "report"]


@pytest.mark.parametrize("option", FORMATS)
def test_the_run_file_itself_and_any_other_file_are_kept(option: str, file: Path) -> None:
    other = file.with_name("thesis.html")
    other.write_text("<html>precious</html>")
    for target in (file, other):
        before = target.read_bytes()
        result = invoke("report", file, option, target)
        assert (result.exit_code, str(target) in result.stderr) == (4, True)
        assert target.read_bytes() == before


@pytest.mark.parametrize("option", FORMATS)
def test_what_is_not_a_regular_file_is_refused(option: str, file: Path) -> None:
    fifo, link, folder = (file.with_name(name) for name in ("fifo", "link", "folder"))
    os.mkfifo(fifo)
    link.symlink_to(file)
    folder.mkdir()
    before = file.read_bytes()
    for target in (fifo, link, folder, Path("/dev/null"), Path("/dev/full")):
        result = invoke("report", file, option, target)
        assert (result.exit_code, str(target) in result.stderr) == (4, True), target
        assert "Traceback" not in result.output
    assert file.read_bytes() == before
    assert link.is_symlink()


@pytest.mark.parametrize("option", FORMATS)
def test_a_dangling_link_is_refused(option: str, file: Path) -> None:
    link = file.with_name("link")
    link.symlink_to(file.with_name("nowhere"))
    assert invoke("report", file, option, link).exit_code == 4
    assert not file.with_name("nowhere").exists()


@pytest.mark.parametrize("option", FORMATS)
def test_a_folder_that_does_not_exist_is_an_error(option: str, file: Path) -> None:
    target = file.parent / "missing" / "report"
    result = invoke("report", file, option, target)
    assert (result.exit_code, result.stderr.count("\n")) == (4, 1)


def test_two_runs_have_a_page_but_no_picture(file: Path) -> None:
    other = file.with_name("b.jsonl")
    other.write_bytes(content(RUN))
    page = file.with_name("page.html")
    assert invoke("report", file, other, "--html", page).exit_code == 0
    assert b"b.jsonl" in page.read_bytes()
    assert invoke("report", file, other, "--png", file.with_name("picture.png")).exit_code == 2
    assert not file.with_name("picture.png").exists()


def test_a_page_has_no_other_format(file: Path) -> None:
    result = invoke("report", file, "--html", file.with_name("page.html"), "--format", "json")
    assert (result.exit_code, "--html" in result.stderr) == (2, True)
