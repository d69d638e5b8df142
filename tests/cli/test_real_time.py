"""The whole path in real time, with real workers: the accuracy that is promised, and torchvision's models.

Compared values are measured side by side, so that other load on the machine affects both.
"""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from support import HELPERS, OWN, SIMULATED, Command, environment, only_cell, own, step_seconds

from torchlap import figures, load

pytestmark = [pytest.mark.long, pytest.mark.alone]
EVALUATES = ("--devices", "cpu", "--batch", 4, "--phase", "eval", "--no-why", "--budget", "60s")


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "run.jsonl"


def printed(helper: str, path: str) -> str:
    command = [sys.executable, str(HELPERS / helper)]
    variables = environment(PYTHONPATH=path)
    return subprocess.run(command, env=variables, capture_output=True, text=True, check=True).stdout


def test_the_steps_of_a_module_that_sleeps_are_as_long_as_torchs_own_timer_measures(
    torchlap_with_processes: Command, out: Path
) -> None:
    before = float(printed("timer_loop.py", str(OWN.parent)))
    result = torchlap_with_processes("run", own("sleeps"), *EVALUATES, "--out", out)
    after = float(printed("timer_loop.py", str(OWN.parent)))
    assert result.exit_code == 0, result.output
    (seconds,) = step_seconds(load(out))
    assert 0.98 * min(0.02, before, after) < seconds < 1.02 * max(0.02, before, after)


def test_an_accelerators_steps_are_as_long_as_its_operators_take(torchlap_with_processes: Command, out: Path) -> None:
    loop = json.loads(printed("bare_loop.py", f"{SIMULATED}:{OWN.parent}"))
    options = ("--devices", "sim:0", "--batch", 4, "--no-why", "--budget", "60s", "--out", out)
    result = torchlap_with_processes("run", own("small"), *options)
    assert result.exit_code == 0, result.output
    assert step_seconds(load(out)) == [pytest.approx(loop["truth"], rel=0.02)]
    assert loop["unsynchronized"] < 0.5 * loop["truth"]


def test_a_device_is_not_faster_than_itself(torchlap_with_processes: Command, out: Path) -> None:
    options = ("--devices", "cpu,cpu", *EVALUATES[2:], "--out", out)
    result = torchlap_with_processes("run", own("sleeps"), *options)
    assert result.exit_code == 0, result.output
    speed_up = figures(load(out))[0].cells[1].speed_up
    assert speed_up is not None
    assert speed_up.value == pytest.approx(1, abs=0.02)


@pytest.mark.models
def test_a_real_model_learns_real_digits_through_a_real_loader(torchlap_with_processes: Command, out: Path) -> None:
    options = ("--devices", "cpu", "--batch", 4, "--precision-target", "30%", "--out", out)
    loader = ("--data-through", "loader", "--workers", 1)
    result = torchlap_with_processes("run", "squeezenet1_0", *loader, *options)
    assert result.exit_code == 0, result.output
    cell = only_cell(load(out))
    assert cell.throughput is not None
    assert cell.prepared is not None
    assert cell.prepared.input_shape == (4, 3, 224, 224)


@pytest.mark.models
def test_a_step_through_a_loader_reports_how_long_it_waited(torchlap_with_processes: Command, out: Path) -> None:
    loader = ("--data-through", "loader", "--workers", 0)
    torchlap_with_processes("run", "squeezenet1_0", *loader, *EVALUATES, "--precision-target", "40%", "--out", out)
    prepared = only_cell(load(out)).prepared
    assert prepared is not None
    assert prepared.watched is not None
    assert prepared.watched.input_wait_seconds > 0


def test_a_compiled_step_is_measured(torchlap_with_processes: Command, out: Path) -> None:
    options = ("--devices", "cpu", "--batch", 4, "--recipe", "fp32,compile", "--precision-target", "40%")
    result = torchlap_with_processes("run", own("small"), *options, "--budget", "3m", "--out", out)
    assert result.exit_code == 0, result.output
    assert all(cell.throughput for cell in figures(load(out))[0].cells)
