"""The command itself: help, version, and what it imports."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from support import ROOT, Command

import torchlap as package


@pytest.mark.parametrize("words", [["--help"], ["--version"], ["run", "--help"], ["upgrade", "--help"]])
def test_help_loads_nothing_heavy(words: list[str]) -> None:
    script = (
        "import sys; from torchlap.cli.app import app\n"
        f"try: app({words!r}, prog_name='torchlap')\n"
        "except SystemExit: pass\n"
        "print(sorted({'torch', 'numpy', 'scipy', 'rich', 'msgspec'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_the_version_is_one_line() -> None:
    done = subprocess.run([sys.executable, "-m", "torchlap", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout == f"torchlap {package.__version__}\n"


def test_a_reader_that_stops_reading_is_not_an_error() -> None:
    command = f"{sys.executable} -m torchlap run --help | head -1"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, check=True)
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("words", ["--help", "--version", "run --help", "run --suite list"])
def test_a_full_disk_is_one_sentence_and_an_exit_code(words: str) -> None:
    here = os.environ | {"PYTHONPATH": str(ROOT / "src")}
    with Path("/dev/full").open("w") as full:
        command = [sys.executable, "-m", "torchlap", *words.split()]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False, env=here)
    assert (done.returncode, done.stderr.count("\n"), "No space left" in done.stderr) == (4, 1, True)


def test_a_command_that_does_not_exist_is_refused(torchlap: Command) -> None:
    result = torchlap("rnu")
    assert result.exit_code == 2
    assert "Traceback" not in result.output


@pytest.mark.parametrize("model", ["resnet18", "hf:gpt2", "net.py:tiny"])
def test_a_model_in_the_place_of_a_command_is_answered_with_the_command(model: str, torchlap: Command) -> None:
    result = torchlap(model)
    assert (result.exit_code, result.stderr.count("\n")) == (2, 1)
    assert f"use torchlap run {model}." in result.stderr


PLAIN = [
    ("run --format xml", "torchlap run: Invalid value for --format: 'xml' is not one of table, markdown, csv, json,"),
    ("run --seq four", "torchlap run: Invalid value for --seq: use a whole number; see torchlap run -h."),
    ("train --epochs 0", "torchlap train: Invalid value for --epochs: use a number of at least 1;"),
    ("train --epochs 9999999", "torchlap train: Invalid value for --epochs: use a number of at most 1000000;"),
    ("explain", "torchlap explain: Missing argument 'CODE'; see torchlap explain -h."),
    ("explain TL202 TL203", "torchlap explain: Unexpected argument TL203; see torchlap explain -h."),
    ("run --frob", "torchlap run: No such option: --frob; see torchlap run -h."),
    ("run --devices", "torchlap: Option --devices requires an argument."),
    ("run --\x1b[2J", "torchlap run: No such option: --\\x1b[2J"),
    ("alexnet", "torchlap: 'alexnet' is not a command: to measure a model of that name, use torchlap run alexnet;"),
    ("reprot", "did you mean torchlap report?"),
    ("train.py", "to check a training script, use torchlap audit train.py;"),
    ("runs.jsonl", "to show a run file, use torchlap report runs.jsonl."),
    ("\x1b[2J", "torchlap: '\\x1b[2J' is not a command"),
]


@pytest.mark.parametrize(("line", "sentence"), PLAIN)
def test_an_invalid_command_line_is_one_plain_sentence(line: str, sentence: str, torchlap: Command) -> None:
    result = torchlap(*line.split())
    assert (result.exit_code, result.stdout, result.stderr.count("\n")) == (2, "", 1), result.stderr
    assert sentence in result.stderr


def test_a_finding_is_explained(torchlap: Command) -> None:
    result = torchlap("explain", "tl202")
    assert result.exit_code == 0
    assert result.stdout.startswith("# TL202: ")
    assert "**How to fix it.**" in result.stdout


def test_a_finding_that_does_not_exist_is_refused(torchlap: Command) -> None:
    result = torchlap("explain", "TL999")
    assert (result.exit_code, result.stderr.count("\n"), "'TL999'" in result.stderr) == (2, 1, True)


def test_a_file_of_the_working_folder_hides_nothing_from_torchlap(tmp_path: Path) -> None:
    (tmp_path / "dis.py").write_text("raise ImportError('the wrong dis')")
    here = {key: value for key, value in os.environ.items() if key != "PYTHONSAFEPATH"}
    command = [sys.executable, "-m", "torchlap", "--version"]
    here["PYTHONPATH"] = str(ROOT / "src")
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=here, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_first_process_of_the_doctor_needs_only_the_standard_library() -> None:
    script = "import sys, torchlap.cli.first_aid; print(*{name.partition('.')[0] for name in sys.modules})"
    here = os.environ | {"PYTHONPATH": str(ROOT / "src")}
    command = [sys.executable, "-S", "-P", "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=here)
    assert set(done.stdout.split()) - set(sys.stdlib_module_names) == {"torchlap", "__main__"} - set(
        sys.stdlib_module_names
    )


def test_a_package_that_cannot_be_imported_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "typer.py").write_text("raise ImportError('undefined symbol')")
    here = os.environ | {"PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT / 'src'}"}
    command = [sys.executable, "-P", "-m", "torchlap", "--version"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=here)
    assert (done.returncode, done.stderr.count("\n"), "undefined symbol" in done.stderr) == (3, 1, True)
