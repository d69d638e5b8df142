"""Bad input: one sentence with a remedy, the documented exit code, and nothing written."""

import os
from pathlib import Path

import pytest
from support import OWN, Command, known, own

from torchlap.runs.file import RunFile, load
from torchlap.schema.events import RunFinished

BAD_INPUT = [
    (["resnet19"], "did you mean resnet18"),
    (["tim:resnet18"], "use a torchvision model"),
    (["--devices", "cuda:7"], "Device 'cuda:7' is not available: torch finds cpu"),
    (["--devices", ""], "Device '' is not available"),
    (["--batch", "0"], "Invalid batch size '0'"),
    (["--batch", "-1"], "Invalid batch size '-1'"),
    (["--batch", "x"], "Invalid batch size 'x'"),
    (["--batch", ""], "Invalid batch size ''"),
    (["--budget", "0"], "Invalid budget '0'"),
    (["--budget", "soon"], "Invalid budget 'soon'"),
    (["--phase", "test"], "Invalid phase 'test'"),
    (["--recipe", "fp64"], "Unknown recipe term 'fp64'"),
    (["--recipe", "fp16+bf16"], "names both"),
    (["--suite", "slow"], "Unknown suite 'slow'"),
    (["--precision-target", "0"], "Invalid precision target '0'"),
    (["--workers", "2"], "--data-through loader"),
    (["--data-through", "loader", "--workers", "many"], "Invalid number of workers 'many'"),
    (["--data-through", "loader", "--workers", "9" * 5000], "Invalid number of workers"),
    (["--weights", "none"], "none"),
    (["resnet18", "--data", "mnist"], "mnist-1k"),
    (["resnet18", "--weights", "pretrained"], "--weights pretrained"),
    (["no/such/file.py:make"], "no/such/file.py"),
    ([own("no_such")], "'no_such'"),
    ([own("not_a_function")], "'not_a_function'"),
    ([str(OWN)], ".py:function"),
    ([own("returns_nothing")], "must return module, (inputs, targets)"),
    ([own("returns_no_module")], "returned str"),
    ([own("raises")], "ValueError at line"),
    ([own("exits")], "SystemExit at line"),
    ([own("without_batch"), "--batch", "8"], "returned 4 rows"),
    ([known("loader_of_three"), "--batch", "8"], "returned a loader with batches of 3"),
    (["--resume", "no-such.jsonl"], "No such file"),
    ([own("raises_without_words", "odd.py")], "OddError at line"),
    ([own("raises_what_is_no_text", "odd.py")], "ValueError at line"),
    ([own("small"), "--data-through", "loader"], "provides its own batch"),
    ([own("small"), "--weights", "pretrained"], "its own weights"),
    ([own("small"), "--items", "6"], "6 items in a batch of 4 rows are not a whole number per row"),
    (["resnet18", "--unit", "words"], "resnet18 counts for itself"),
    (["resnet18", "--columns", "flops"], "Unknown column 'flops': choose from utilization"),
    (["resnet18", "--columns", "utilization", "--no-why"], "--columns utilization needs the analysis"),
    (["resnet18", "--columns", "utilization", "--format", "csv"], "--format csv has every column"),
    (["odd\x07name"], "Invalid model name"),
    (["x" * 501], "500 printable characters"),
]


@pytest.mark.parametrize(("words", "text"), BAD_INPUT, ids=lambda value: str(value)[-40:])
def test_bad_input_is_refused_in_one_sentence_with_its_exit_code(
    words: list[str], text: str, torchlap: Command, tmp_path: Path
) -> None:
    out = [] if "--resume" in words else ["--out", tmp_path / "run.jsonl"]
    batch = [] if "--batch" in words else ["--batch", "4"] * bool(out)
    result = torchlap("run", *words, *batch, *out)
    assert text in " ".join(result.stderr.split())
    assert "Traceback" not in result.output
    assert result.exit_code == (4 if "--resume" in words else 2)
    assert not (tmp_path / "run.jsonl").exists()


def test_the_folder_of_a_run_file_must_exist(torchlap: Command, tmp_path: Path) -> None:
    result = torchlap("run", "--out", tmp_path / "missing" / "run.jsonl")
    assert (result.exit_code, "does not exist" in result.stderr) == (4, True)


def test_a_run_file_is_never_overwritten(torchlap: Command, tmp_path: Path) -> None:
    out = tmp_path / "run.jsonl"
    out.write_text("precious")
    result = torchlap("run", own("small"), "--batch", 4, "--out", out)
    assert (result.exit_code, "--resume" in result.stderr) == (4, True)
    assert out.read_text() == "precious"


@pytest.mark.parametrize("content", [b"", b"\x00\xff" * 100, b"{}\n", b'{"event": "run", "schema": 99}\n'])
def test_a_file_that_is_not_a_run_file_cannot_be_resumed(content: bytes, torchlap: Command, tmp_path: Path) -> None:
    out = tmp_path / "run.jsonl"
    out.write_bytes(content)
    result = torchlap("run", "--resume", out)
    assert (result.exit_code, "torchlap" in result.stderr) == (4, True)
    assert out.read_bytes() == content


def test_other_options_with_resume_are_refused(torchlap: Command, tmp_path: Path) -> None:
    result = torchlap("run", "--resume", tmp_path / "run.jsonl", "--batch", 4)
    assert (result.exit_code, "--resume" in result.stderr) == (2, True)


def test_a_name_that_is_too_long_for_the_disk_is_an_error(torchlap: Command, tmp_path: Path) -> None:
    result = torchlap("run", own("small"), "--batch", 4, "--out", tmp_path / ("x" * 300))
    assert (result.exit_code, "File name too long" in result.stderr) == (4, True)


def test_a_fifo_is_neither_resumed_nor_written(torchlap: Command, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    resumed = torchlap("run", "--resume", tmp_path / "fifo")
    assert (resumed.exit_code, "is not a" in resumed.stderr) == (4, True)
    written = torchlap("run", own("small"), "--batch", 4, "--out", tmp_path / "fifo")
    assert (written.exit_code, "--resume" in written.stderr) == (4, False)


def test_a_run_file_that_another_process_writes_is_left_alone(torchlap: Command, tmp_path: Path) -> None:
    out = tmp_path / "run.jsonl"
    assert torchlap("run", own("small"), "--devices", "cpu", "--batch", 4, "--out", out).exit_code == 0
    assert isinstance(load(out).events[-1], RunFinished)
    content = out.read_bytes().rpartition(b'{"event":"finished"')[0] or out.read_bytes()[:-200]
    out.write_bytes(content[: content.rfind(b"\n") + 1])
    writer = RunFile.reopen(out)
    result = torchlap("run", "--resume", out)
    writer.close()
    assert (result.exit_code, "another torchlap process" in result.stderr) == (4, True)
