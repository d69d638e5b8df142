"""A run in odd environments: each ends with a figure, or with one sentence and its exit code."""

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from support import OWN, PATIENCE_SECONDS, environment

from torchlap import load
from torchlap.runs import find

pytestmark = [pytest.mark.long, pytest.mark.rare]
BRIEFLY = ("--devices", "cpu", "--batch", "4", "--precision-target", "50%", "--budget", "30s", "--no-why")
ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
NAMESPACES = sys.platform == "linux" and os.geteuid() == 0 and shutil.which("unshare") is not None


def run(
    folder: Path, *, flags: str = "", file: str = "my models.py", out: str = "run 1.jsonl", before: str = "", **env: str
) -> subprocess.CompletedProcess[bytes]:
    shutil.copy(OWN, folder / file)
    words = [sys.executable, *flags.split(), "-m", "torchlap", "run", f"{folder / file}:paced", *BRIEFLY]
    words += ["--out", str(folder / out)] if out else []
    line = " ".join(map(shlex.quote, words))
    command = ["unshare", "-m", "sh", "-c", f"{before}; exec {line}"] if before else ["sh", "-c", f"exec {line}"]
    return subprocess.run(command, capture_output=True, check=False, timeout=PATIENCE_SECONDS, env=environment(**env))


def test_a_path_with_spaces_and_an_optimized_python_are_no_obstacle(tmp_path: Path) -> None:
    folder = tmp_path / "a b"
    folder.mkdir()
    done = run(folder, flags="-O")
    assert (done.returncode, b"Traceback" in done.stderr) == (0, False), done.stderr
    assert load(folder / "run 1.jsonl").events


def test_a_locale_without_utf_8_shows_every_name(tmp_path: Path) -> None:
    done = run(tmp_path, out="r\udcff.jsonl", **ASCII)
    assert (done.returncode, b"Traceback" in done.stderr) == (0, False), done.stderr
    assert load(tmp_path / "r\udcff.jsonl").events


def test_a_model_whose_name_cannot_be_stored_is_refused_in_one_sentence(tmp_path: Path) -> None:
    done = run(tmp_path, file="m\udcff.py")
    assert (done.returncode, b"Invalid model name" in done.stderr) == (2, True)


def test_a_folder_for_runs_that_cannot_be_made_is_one_sentence(tmp_path: Path) -> None:
    done = run(tmp_path, out="", XDG_DATA_HOME="/dev/null/nowhere")
    assert (done.returncode, b"choose a file with --out" in done.stderr) == (4, True)


@pytest.mark.skipif(not NAMESPACES, reason="needs root and mount namespaces")
@pytest.mark.parametrize(
    ("gone", "code", "words"), [("/proc", 4, b"mount /proc, which torchlap needs"), ("/dev/shm", 0, b"")]
)
def test_without_a_mount_a_run_ends_in_order(gone: str, code: int, words: bytes, tmp_path: Path) -> None:
    done = run(tmp_path, before=f"umount -l {gone} || exit 77")
    if done.returncode == 77:
        pytest.skip(f"{gone} cannot be unmounted here")
    assert (done.returncode, words in done.stderr, b"Traceback" in done.stderr) == (code, True, False), done.stderr


def test_two_runs_of_one_second_have_their_own_files() -> None:
    assert find.default_path() != find.default_path()
