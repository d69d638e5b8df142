"""The command itself: help, version, and what it imports."""

import subprocess
import sys

import pytest
from support import Command

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


def test_a_command_that_does_not_exist_is_refused(torchlap: Command) -> None:
    result = torchlap("rnu")
    assert result.exit_code == 2
    assert "Traceback" not in result.output
