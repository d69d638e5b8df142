"""The whole path, command to figures, with real workers: on the CPU and on the simulated accelerator."""

import csv
import io
import json
import subprocess
import sys
from pathlib import Path

import pytest
from support import HELPERS, OWN, SIMULATED, Command, environment

from torchlap import figures, load
from torchlap.schema.events import Failure, Run, RunFinished

STEP_SECONDS = 0.02


def own(function: str) -> str:
    return f"{OWN}:{function}"


def step_seconds(run: Run) -> list[float]:
    """Seconds a step of each cell that has a figure."""
    cells = [cell for group in figures(run) for cell in group.cells]
    return [cell.cell.workload.batch / cell.throughput.value for cell in cells if cell.throughput]


def test_a_module_that_sleeps_20_ms_is_reported_within_2_percent(torchlap: Command, tmp_path: Path) -> None:
    out = tmp_path / "run.jsonl"
    options = ("--devices", "cpu", "--batch", 4, "--phase", "eval", "--no-why", "--budget", "15s", "--out", out)
    result = torchlap("run", own("sleeps"), *options)
    assert result.exit_code == 0, result.output
    assert step_seconds(load(out)) == [pytest.approx(STEP_SECONDS, rel=0.02)]


def test_the_simulated_accelerator_is_reported_within_2_percent_and_an_early_clock_is_off_by_half(
    torchlap: Command, tmp_path: Path
) -> None:
    out = tmp_path / "run.jsonl"
    bare = subprocess.run(
        [sys.executable, HELPERS / "bare_loop.py"],
        env=environment() | {"PYTHONPATH": f"{SIMULATED}:{OWN.parent}"},
        capture_output=True,
        text=True,
        check=True,
    )
    truth, unsynchronized = (json.loads(bare.stdout)[name] for name in ("truth", "unsynchronized"))
    result = torchlap("run", own("small"), "--devices", "sim:0", "--batch", 4, "--budget", "15s", "--out", out)
    assert result.exit_code == 0, result.output
    assert step_seconds(load(out)) == [pytest.approx(truth, rel=0.02)]
    assert unsynchronized < 0.5 * truth


def test_torchs_own_timer_reads_the_same(torchlap: Command, tmp_path: Path) -> None:
    out = tmp_path / "run.jsonl"
    timed = subprocess.run(
        [sys.executable, HELPERS / "timer_loop.py"],
        env=environment() | {"PYTHONPATH": str(OWN.parent)},
        capture_output=True,
        text=True,
        check=True,
    )
    options = ("--devices", "cpu", "--batch", 4, "--phase", "eval", "--no-why", "--budget", "15s", "--out", out)
    torchlap("run", own("sleeps"), *options)
    assert step_seconds(load(out)) == [pytest.approx(float(timed.stdout), rel=0.02)]


def test_a_device_is_not_faster_than_itself(torchlap: Command, tmp_path: Path) -> None:
    out = tmp_path / "run.jsonl"
    options = ("--devices", "cpu,cpu", "--batch", 4, "--phase", "eval", "--no-why", "--budget", "15s", "--out", out)
    result = torchlap("run", own("sleeps"), *options)
    assert result.exit_code == 0, result.output
    speed_up = figures(load(out))[0].cells[1].speed_up
    assert speed_up is not None
    assert speed_up.value == pytest.approx(1, abs=0.01)


def test_a_speed_up_over_the_cpu_is_shown_with_its_interval(torchlap: Command, tmp_path: Path) -> None:
    out = tmp_path / "run.jsonl"
    result = torchlap(
        "run", own("small"), "--devices", "cpu,sim", "--batch", 4, "--precision-target", "10%", "--no-why", "--out", out
    )
    assert result.exit_code == 0, result.output
    cpu, sim = figures(load(out))[0].cells
    assert cpu.throughput is not None
    assert sim.speed_up is not None
    assert sim.speed_up.low <= sim.speed_up.value <= sim.speed_up.high < 1
    assert "Speed-up: over cpu" in result.stdout


@pytest.mark.parametrize(
    ("function", "kind", "said"),
    [
        ("killed", "crash", "SIGKILL"),
        ("segmentation_fault", "crash", "SIGSEGV"),
        ("aborts", "crash", "SIGABRT"),
        ("hangs", "hang", "No answer for 3 s"),
        ("device_out_of_memory", "out_of_memory", "20.00 GiB"),
        ("host_out_of_memory", "out_of_memory", "allocate memory"),
        ("refused", "refused", "aten::nothing"),
        ("nan", "not_finite", "The loss is nan"),
    ],
)
def test_a_worker_that_fails_is_a_record_and_nothing_else_is_lost(
    function: str, kind: str, said: str, torchlap: Command, tmp_path: Path
) -> None:
    out = tmp_path / "run.jsonl"
    options = (
        "--devices",
        "cpu",
        "--batch",
        4,
        "--precision-target",
        "5%",
        "--no-why",
        "--budget",
        "12s",
        "--hang-limit",
        "3s",
        "--out",
        out,
    )
    result = torchlap("run", own(function), own("small"), *options)
    assert result.exit_code == 1, result.output
    run = load(out)
    (failure,) = [event for event in run.events if isinstance(event, Failure)]
    assert (failure.group, failure.kind) == (0, kind)
    assert said in failure.reason
    assert figures(run)[1].cells[0].throughput is not None
    assert isinstance(run.events[-1], RunFinished)
    assert "Traceback" not in result.output


def test_a_step_over_the_budget_is_too_slow_and_no_failure(torchlap: Command, tmp_path: Path) -> None:
    options = ("--devices", "cpu", "--batch", "4,64", "--no-why", "--budget", "8s", "--out", tmp_path / "run.jsonl")
    result = torchlap("run", own("very_slow"), *options)
    assert result.exit_code == 0, result.output
    assert "too slow" in result.stdout
    assert "--budget 10m" in result.stdout


def test_a_model_may_bring_its_own_loss_and_take_no_batch(torchlap: Command, tmp_path: Path) -> None:
    options = ("--devices", "cpu", "--batch", 4, "--precision-target", "20%", "--out", tmp_path / "run.jsonl")
    assert torchlap("run", own("without_batch"), *options).exit_code == 0


def test_every_recipe_of_the_cpu_runs(torchlap: Command, tmp_path: Path) -> None:
    out = tmp_path / "run.jsonl"
    recipes = "fp32,bf16+channels_last,contiguous+fused,fp16"
    options = (
        "--devices",
        "cpu",
        "--batch",
        4,
        "--recipe",
        recipes,
        "--precision-target",
        "20%",
        "--no-why",
        "--out",
        out,
    )
    result = torchlap("run", own("small"), *options)
    assert result.exit_code == 0, result.output
    assert all(cell.throughput for cell in figures(load(out))[0].cells)


@pytest.mark.models
def test_a_real_model_on_real_digits_through_a_real_loader(torchlap: Command, tmp_path: Path) -> None:
    out = tmp_path / "run.jsonl"
    options = ("--devices", "cpu", "--batch", 4, "--precision-target", "30%", "--out", out)
    result = torchlap("run", "squeezenet1_0", "--data-through", "loader", "--workers", 1, *options)
    assert result.exit_code == 0, result.output
    (cell,) = figures(load(out))[0].cells
    assert cell.throughput is not None
    assert cell.prepared is not None
    assert cell.prepared.input_shape == (4, 3, 224, 224)


@pytest.mark.models
def test_training_on_the_embedded_digits_learns(torchlap: Command, tmp_path: Path) -> None:
    out = tmp_path / "run.jsonl"
    result = torchlap("run", own("digits_network"), "--devices", "cpu", "--batch", 64, "--budget", "10s", "--out", out)
    assert result.exit_code == 0, result.output
    (cell,) = figures(load(out))[0].cells
    assert cell.prepared is not None
    assert cell.laps[-1].loss < 0.5 * cell.prepared.first_loss


def test_json_is_one_object_with_every_cell(torchlap: Command, tmp_path: Path) -> None:
    options = ("--devices", "cpu", "--batch", "2,4", "--precision-target", "20%", "--out", tmp_path / "run.jsonl")
    result = torchlap("run", own("small"), *options, "--format", "json")
    report = json.loads(result.stdout)
    assert [cell["batch"] for cell in report["cells"]] == [2, 4]
    assert report["finished"] == "complete"
    interval = report["cells"][0]["images_per_second"]
    assert interval["low"] <= interval["value"] <= interval["high"]


def test_csv_has_a_line_a_cell(torchlap: Command, tmp_path: Path) -> None:
    options = ("--devices", "cpu", "--batch", "2,4", "--precision-target", "20%", "--out", tmp_path / "run.jsonl")
    result = torchlap("run", own("small"), *options, "--format", "csv")
    lines = list(csv.DictReader(io.StringIO(result.stdout)))
    assert [line["batch"] for line in lines] == ["2", "4"]
    assert float(lines[0]["images_per_second"]) > 0
