"""Causes injected into whole runs, with real workers: each is found, and a run without it is silent."""

import subprocess
import sys
from pathlib import Path

import pytest
from support import OWN, Command

from torchlap import findings, load
from torchlap.reports.run.plain import as_markdown
from torchlap.schema.events import CellPrepared

SILENT_ABOUT = {"TL204", "TL205", "TL207", "TL213", "TL214", "TL215", "TL216", "TL217", "TL218"}
BRIEFLY = ("--budget", "12s", "--no-why")


def run_of(torchlap: Command, tmp_path: Path, function: str, *words: object) -> tuple[set[str], int, str]:
    out = tmp_path / "run.jsonl"
    options = ("--devices", "cpu", "--batch", 8, *BRIEFLY, "--out", out)
    result = torchlap("run", f"{OWN}:{function}", *options, *words)
    assert "Traceback" not in result.output
    return {finding.code for finding in findings(load(out))}, result.exit_code, result.stdout


@pytest.mark.parametrize(
    ("function", "code", "exit_code"),
    [("slows_down", "TL204", 0), ("never_learns", "TL216", 0), ("falls_back", "TL214", 0), ("turns_nan", "TL215", 1)],
)
def test_an_injected_cause_is_found(
    function: str, code: str, exit_code: int, torchlap: Command, tmp_path: Path
) -> None:
    codes, exited, printed = run_of(torchlap, tmp_path, function, "--precision-target", "0.2%")
    assert code in codes
    assert code in printed
    assert exited == exit_code


def test_a_sound_model_gives_none_of_these(torchlap: Command, tmp_path: Path) -> None:
    codes, exited, _ = run_of(torchlap, tmp_path, "digits_network", "--precision-target", "20%")
    assert codes & SILENT_ABOUT == set()
    assert exited == 0


def test_a_void_figure_looks_void(torchlap: Command, tmp_path: Path) -> None:
    _, _, printed = run_of(torchlap, tmp_path, "turns_nan", "--precision-target", "0.2%")
    assert "void (TL215): " in printed
    assert "~~void (TL215): " in as_markdown(load(tmp_path / "run.jsonl"))


def test_a_device_that_is_given_its_work_in_time_is_not_launch_bound(torchlap: Command, tmp_path: Path) -> None:
    out = tmp_path / "run.jsonl"
    options = ("--devices", "sim:0", "--batch", 4, "--precision-target", "20%", *BRIEFLY, "--out", out)
    torchlap("run", f"{OWN}:small", *options)
    assert "TL218" not in {finding.code for finding in findings(load(out))}
    (prepared,) = (event.preparation for event in load(out).events if isinstance(event, CellPrepared))
    assert prepared.watched is not None
    assert prepared.watched.enqueue_seconds < 0.5 * prepared.watched.step_seconds


@pytest.mark.models
def test_a_step_through_a_loader_tells_how_long_it_waited(torchlap: Command, tmp_path: Path) -> None:
    out = tmp_path / "run.jsonl"
    options = ("--devices", "cpu", "--batch", 4, "--precision-target", "40%", *BRIEFLY, "--out", out)
    torchlap("run", "squeezenet1_0", "--phase", "eval", "--data-through", "loader", "--workers", 0, *options)
    (prepared,) = (event.preparation for event in load(out).events if isinstance(event, CellPrepared))
    assert prepared.watched is not None
    assert prepared.watched.input_wait_seconds > 0


def test_a_cpu_with_one_thread_is_held_back(tmp_path: Path) -> None:
    out = tmp_path / "run.jsonl"
    words = ["run", f"{OWN}:small", "--devices", "cpu", "--batch", "4", "--precision-target", "20%", "--out", str(out)]
    environment = {"OMP_NUM_THREADS": "1", "PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}
    done = subprocess.run([sys.executable, "-m", "torchlap", *words], env=environment, capture_output=True, check=True)
    assert (b"TL213" in done.stdout) is (b"1 cores" not in done.stdout)
