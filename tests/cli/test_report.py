"""torchlap report: runs by file, by folder and by reference; and where it may write a page or a picture."""

import os
from pathlib import Path
from threading import Thread

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
def test_force_replaces_another_file_but_no_input(option: str, file: Path) -> None:
    other = file.with_name("thesis.html")
    other.write_text("<html>old</html>")
    other.chmod(0o600)
    assert invoke("report", file, option, other, "--force").exit_code == 0
    assert (b"torchlap" in other.read_bytes(), other.stat().st_mode & 0o777) == (True, 0o600)
    link = file.with_name("link")
    link.symlink_to(file)
    before = file.read_bytes()
    for target in (file, link):
        assert invoke("report", file, option, target, "--force").exit_code == 4
        assert invoke("report", file.parent, option, target, "--force").exit_code == 4 or option == "--png"
    assert (file.read_bytes(), link.is_symlink()) == (before, True)


@pytest.mark.parametrize("option", FORMATS)
def test_a_link_is_followed(option: str, file: Path) -> None:
    link, there = file.with_name("link"), file.with_name("there")
    link.symlink_to(there)
    for _ in range(2):
        assert invoke("report", file, option, link).exit_code == 0
        assert (link.is_symlink(), there.is_file()) == (True, True)


@pytest.mark.parametrize("option", FORMATS)
def test_a_device_or_a_fifo_is_written_through(option: str, file: Path) -> None:
    fifo = file.with_name("fifo")
    os.mkfifo(fifo)
    received: list[bytes] = []
    reader = Thread(target=lambda: received.append(fifo.read_bytes()))
    reader.start()
    assert invoke("report", file, option, fifo).exit_code == 0
    reader.join()
    assert b"torchlap" in received[0]
    assert fifo.is_fifo()
    assert invoke("report", file, option, "/dev/null").exit_code == 0
    full = invoke("report", file, option, "/dev/full")
    assert (full.exit_code, full.stderr.count("\n"), "No space left" in full.stderr) == (4, 1, True)
    assert Path("/dev/null").is_char_device()
    assert Path("/dev/full").is_char_device()


@pytest.mark.parametrize("option", FORMATS)
def test_a_folder_is_refused(option: str, file: Path) -> None:
    result = invoke("report", file, option, file.parent)
    assert (result.exit_code, "is a folder" in result.stderr) == (4, True)


def test_a_picture_of_another_format_is_refused(file: Path) -> None:
    picture = file.with_name("picture.jpg")
    result = invoke("report", file, "--png", picture)
    assert (result.exit_code, "ends in .png" in result.stderr, picture.exists()) == (2, True, False)


def test_a_page_and_a_picture_are_two_files(file: Path) -> None:
    both = file.with_name("both")
    result = invoke("report", file, "--html", both, "--png", both)
    assert (result.exit_code, both.exists()) == (2, False)


@pytest.mark.parametrize("option", FORMATS)
def test_a_folder_that_does_not_exist_is_an_error(option: str, file: Path) -> None:
    target = file.parent / "missing" / "report"
    result = invoke("report", file, option, target)
    assert (result.exit_code, result.stderr.count("\n")) == (4, 1)
    assert "missing does not exist: create it" in result.stderr


@pytest.mark.parametrize("option", FORMATS)
def test_a_loop_of_links_is_an_error(option: str, file: Path) -> None:
    loop = file.parent / "loop"
    loop.symlink_to(loop)
    result = invoke("report", file, option, loop)
    assert (result.exit_code, result.stderr.count("\n"), "Cannot write" in result.stderr) == (4, 1, True)


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


def test_columns_on_request_are_in_the_table_the_list_and_the_page(file: Path) -> None:
    asked = ("report", file, "--columns", "utilization")
    assert "utilization" not in invoke("report", file).stdout
    assert "utilization" in invoke(*asked).stdout
    assert "| utilization |" in invoke(*asked, "--format", "markdown").stdout
    page = file.with_name("page.html")
    assert invoke(*asked, "--html", page).exit_code == 0
    assert "utilization" in page.read_text()
    refused = invoke(*asked, "--png", file.with_name("page.png"))
    assert (refused.exit_code, "--png has no table: omit --columns" in refused.stderr) == (2, True)
