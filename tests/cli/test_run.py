"""torchlap run, from the command to its figures, with workers in this process and on a virtual clock."""

import csv
import io
import json
from pathlib import Path

import pytest
import torch
from bare_loop import timed
from support import Command, known, only_cell, own, step_seconds
from virtual import Clock

from torchlap import figures, findings, load
from torchlap.reports.kit.units import with_interval
from torchlap.reports.run.plain import as_markdown
from torchlap.schema.events import BreakdownMeasured, CellPrepared, Failure, PeaksMeasured, Round, RunFinished

STEP_SECONDS = 0.02
CPU = ("--devices", "cpu", "--batch", 4, "--budget", "20s")


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "run.jsonl"


def test_a_step_of_a_known_length_is_reported_exactly(torchlap: Command, out: Path, clock: Clock) -> None:
    result = torchlap("run", own("sleeps"), *CPU, "--phase", "eval", "--no-why", "--out", out)
    assert result.exit_code == 0, result.output
    assert step_seconds(load(out)) == [pytest.approx(STEP_SECONDS + clock.call_seconds, rel=1e-3)]


def test_an_accelerators_step_is_reported_exactly_and_a_clock_read_too_early_is_off_by_half(
    torchlap: Command, out: Path, clock: Clock
) -> None:
    clock.call_seconds = 0.0
    with clock.ticking():
        truth, unsynchronized = timed(torch.device("sim"))
    result = torchlap("run", own("small"), "--devices", "sim:0", "--batch", 4, "--out", out)
    assert result.exit_code == 0, result.output
    assert step_seconds(load(out)) == [pytest.approx(truth, rel=1e-3)]
    assert unsynchronized < 0.5 * truth


def test_the_phases_add_up_to_the_step(torchlap: Command, out: Path) -> None:
    result = torchlap("run", own("small"), "--devices", "sim:0", "--batch", 4, "--no-verify", "--out", out)
    assert result.exit_code == 0, result.output
    breakdown = only_cell(load(out)).breakdown
    assert breakdown is not None
    assert breakdown.reason == ""
    assert set(breakdown.phases) == {"input", "transfer", "forward", "backward", "optimizer"}
    assert sum(map(min, breakdown.phases.values())) == pytest.approx(min(breakdown.steps), rel=0.02)


def test_a_device_is_not_faster_than_itself(torchlap: Command, out: Path) -> None:
    options = ("--devices", "cpu,cpu", "--batch", 4, "--phase", "eval", "--no-why", "--out", out)
    result = torchlap("run", own("sleeps"), *options)
    assert result.exit_code == 0, result.output
    speed_up = figures(load(out))[0].cells[1].speed_up
    assert speed_up is not None
    assert speed_up.value == pytest.approx(1, abs=1e-4)


def test_a_speed_up_over_the_cpu_is_shown_with_its_interval(torchlap: Command, out: Path) -> None:
    result = torchlap("run", own("small"), "--devices", "cpu,sim", "--batch", 4, "--no-why", "--out", out)
    assert result.exit_code == 0, result.output
    cpu, sim = figures(load(out))[0].cells
    assert cpu.throughput is not None
    assert sim.speed_up is not None
    assert sim.speed_up.low <= sim.speed_up.value <= sim.speed_up.high < 1
    assert with_interval(sim.speed_up, "x") in result.stdout


@pytest.mark.parametrize(
    ("function", "kind", "reason"),
    [
        ("hangs", "hang", "No answer for 20 s"),
        ("device_out_of_memory", "out_of_memory", "20.00 GiB"),
        ("host_out_of_memory", "out_of_memory", "allocate memory"),
        ("refused", "refused", "aten::nothing"),
        ("nan", "not_finite", "The loss is nan"),
    ],
)
def test_a_failed_cell_is_recorded_and_the_others_are_measured(
    function: str, kind: str, reason: str, torchlap: Command, out: Path
) -> None:
    options = ("--no-why", "--budget", "100s", "--hang-limit", "20s", "--out", out)
    result = torchlap("run", own(function), own("small"), *CPU, *options)
    assert result.exit_code == 1, result.output
    run = load(out)
    (failure,) = [event for event in run.events if isinstance(event, Failure)]
    assert (failure.group, failure.kind) == (0, kind)
    assert reason in failure.reason
    assert figures(run)[1].cells[0].throughput is not None
    assert isinstance(run.events[-1], RunFinished)
    assert "Traceback" not in result.output


def test_a_step_that_exceeds_the_budget_is_too_slow_but_not_a_failure(torchlap: Command, out: Path) -> None:
    options = ("--devices", "cpu", "--batch", "4,64", "--no-why", "--budget", "8s", "--out", out)
    result = torchlap("run", own("very_slow"), *options)
    assert result.exit_code == 0, result.output
    assert "too slow" in result.stdout
    assert "--batch 64 --budget 3m" in " ".join(result.stdout.split())


def test_a_model_may_have_its_own_loss_and_no_batch_parameter(torchlap: Command, out: Path) -> None:
    assert torchlap("run", own("without_batch"), *CPU, "--out", out).exit_code == 0


@pytest.mark.parametrize("function", ["dictionary_of_targets", "knows_its_batch"])
def test_the_batch_of_a_custom_model_is_never_cut(function: str, torchlap: Command, out: Path) -> None:
    result = torchlap("run", own(function, "odd.py"), "--devices", "cpu", "--batch", 32, "--out", out)
    assert result.exit_code == 0, result.output
    assert only_cell(load(out)).throughput is not None


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        ("frozen", "has no trainable parameters"),
        ("loss_of_many", "a tensor of shape (4,)"),
        ("loss_that_is_a_float", "returned float"),
    ],
)
def test_a_model_that_cannot_train_fails_with_the_reason(
    function: str, reason: str, torchlap: Command, out: Path
) -> None:
    result = torchlap("run", own(function, "odd.py"), *CPU, "--out", out)
    assert result.exit_code == 1
    assert reason in " ".join(result.stdout.split())


def test_every_recipe_of_the_cpu_runs(torchlap: Command, out: Path) -> None:
    recipes = "fp32,bf16+channels_last,contiguous+fused,fp16"
    result = torchlap("run", own("small"), *CPU, "--recipe", recipes, "--no-why", "--out", out)
    assert result.exit_code == 0, result.output
    assert all(cell.throughput for cell in figures(load(out))[0].cells)


def test_json_is_one_object_with_every_cell(torchlap: Command, out: Path) -> None:
    result = torchlap(
        "run", own("small"), "--devices", "cpu", "--batch", "2,4", "--budget", "20s", "--out", out, "--format", "json"
    )
    report = json.loads(result.stdout)
    assert [cell["batch"] for cell in report["cells"]] == [2, 4]
    assert (report["finished"], report["run_file"]) == ("complete", str(out))
    interval = report["cells"][0]["items_per_second"]
    assert interval["low"] == pytest.approx(interval["value"]) == pytest.approx(interval["high"])


def test_csv_has_a_line_per_cell(torchlap: Command, out: Path) -> None:
    result = torchlap(
        "run", own("small"), "--devices", "cpu", "--batch", "2,4", "--budget", "20s", "--out", out, "--format", "csv"
    )
    lines = list(csv.DictReader(io.StringIO(result.stdout)))
    assert [line["batch"] for line in lines] == ["2", "4"]
    assert float(lines[0]["items_per_second"]) > 0


def test_no_line_is_wider_than_the_terminal(torchlap: Command, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torchlap("run", own("small"), "--devices", "cpu,sim:0", "--batch", 4, "--budget", "20s", "--out", out)
    for columns in (20, 40, 80, 200):
        monkeypatch.setenv("COLUMNS", str(columns))
        result = torchlap("run", "--resume", out, "--why")
        assert result.exit_code == 0, result.output
        assert max(map(len, result.stdout.splitlines())) <= columns
        assert "\x1b" not in result.stdout


def test_a_complete_run_that_is_resumed_reports_the_same_and_writes_nothing(torchlap: Command, out: Path) -> None:
    first = torchlap("run", own("small"), *CPU, "--out", out)
    before = out.read_bytes()
    again = torchlap("run", "--resume", out)
    assert (first.exit_code, again.exit_code) == (0, 0)
    assert out.read_bytes() == before
    assert first.stdout.partition("Run file")[0] == again.stdout.partition("Run file")[0]


def test_a_run_that_was_cut_off_resumes_with_what_is_missing(torchlap: Command, out: Path) -> None:
    torchlap("run", own("small"), own("sleeps"), *CPU, "--phase", "eval", "--no-why", "--out", out)
    lines = out.read_bytes().splitlines(keepends=True)
    second = next(number for number, line in enumerate(lines) if b'"group_started","group":1' in line)
    out.write_bytes(b"".join(lines[: second + 3]) + lines[second + 3][:20])  # as a crash in the middle of a line
    result = torchlap("run", "--resume", out)
    assert result.exit_code == 0, result.output
    resumed = load(out)
    assert resumed.remarks == ()
    assert all(group.cells[0].throughput for group in figures(resumed))
    assert out.read_bytes().startswith(b"".join(lines[:second]))


def test_verification_is_on_by_default_and_can_be_skipped(torchlap: Command, tmp_path: Path) -> None:
    options = ("--devices", "sim:0", "--batch", 4, "--no-why", "--out")
    verified = torchlap("run", own("small"), *options, tmp_path / "a.jsonl")
    skipped = torchlap("run", own("small"), "--no-verify", *options, tmp_path / "b.jsonl")
    assert (verified.exit_code, skipped.exit_code) == (0, 0)
    assert ("TL304" in verified.stdout, "TL304" in skipped.stdout) == (False, True)


def test_without_breakdowns_no_bottleneck_is_measured(torchlap: Command, out: Path) -> None:
    assert torchlap("run", own("small"), *CPU, "--no-why", "--out", out).exit_code == 0
    assert not any(isinstance(event, BreakdownMeasured | PeaksMeasured) for event in load(out).events)
    shown = torchlap("run", "--resume", out, "--why")
    assert "--no-why" in shown.output


SILENT_ABOUT = {"TL204", "TL205", "TL207", "TL213", "TL214", "TL215", "TL216", "TL217", "TL218"}


def codes(out: Path) -> set[str]:
    return {finding.code for finding in findings(load(out))}


@pytest.mark.parametrize(
    ("function", "code"),
    [("slows_down", "TL204"), ("never_learns", "TL216"), ("falls_back", "TL214"), ("turns_nan", "TL215")],
)
def test_an_injected_cause_is_found(function: str, code: str, torchlap: Command, out: Path, clock: Clock) -> None:
    clock.call_seconds = 0.0005
    options = ("--devices", "cpu", "--batch", 8, "--no-why", "--budget", "20s", "--precision-target", "0.2%")
    result = torchlap("run", own(function), *options, "--out", out)
    assert code in codes(out)
    assert code in result.stdout
    assert result.exit_code == (1 if code == "TL215" else 0)


def test_a_sound_model_causes_none_of_these_findings(torchlap: Command, out: Path) -> None:
    result = torchlap("run", own("digits_network"), "--devices", "cpu", "--batch", 8, "--no-why", "--out", out)
    assert codes(out) & SILENT_ABOUT == set()
    assert result.exit_code == 0


def test_training_on_a_fixed_batch_learns(torchlap: Command, out: Path) -> None:
    result = torchlap("run", own("digits_network"), "--devices", "cpu", "--batch", 64, "--no-why", "--out", out)
    assert result.exit_code == 0, result.output
    cell = only_cell(load(out))
    assert cell.prepared is not None
    assert cell.laps[-1].loss < 0.9 * cell.prepared.first_loss


def test_a_void_figure_is_marked_as_void(torchlap: Command, out: Path) -> None:
    options = ("--devices", "cpu", "--batch", 8, "--no-why", "--precision-target", "0.2%", "--out", out)
    assert "void (TL215): " in torchlap("run", own("turns_nan"), *options).stdout
    assert "~~void (TL215): " in as_markdown(load(out))


def test_a_device_that_gets_its_work_in_time_is_not_launch_bound(torchlap: Command, out: Path) -> None:
    torchlap("run", own("small"), "--devices", "sim:0", "--batch", 4, "--no-why", "--out", out)
    assert "TL218" not in codes(out)
    (preparation,) = (event.preparation for event in load(out).events if isinstance(event, CellPrepared))
    assert preparation.watched is not None
    assert preparation.watched.enqueue_seconds < 0.5 * preparation.watched.step_seconds


def test_a_host_that_is_slower_than_its_device_is_launch_bound(torchlap: Command, out: Path, clock: Clock) -> None:
    clock.call_seconds = 0.3
    torchlap("run", own("small"), "--devices", "sim:0", "--batch", 4, "--no-why", "--out", out)
    assert "TL218" in codes(out)


def test_a_custom_loader_is_used_unless_its_batch_size_differs(torchlap: Command, out: Path) -> None:
    result = torchlap("run", known("loader_of_three"), *CPU, "--out", out)
    assert result.exit_code == 2, result.output
    assert "returned a loader with batches of 3" in " ".join(result.output.split())
    assert torchlap("run", known("loader_of_three"), "--devices", "cpu", "--batch", 3, "--out", out).exit_code == 0


@pytest.mark.parametrize(
    ("function", "reason", "exit_code"),
    [("loader_of_tensors", "Tensor", 1), ("empty_loader", "The loader has no batches: its dataset is too small.", 2)],
)
def test_a_custom_loader_that_cannot_be_used_fails_with_the_reason(
    function: str, reason: str, exit_code: int, torchlap: Command, out: Path
) -> None:
    result = torchlap("run", known(function), "--devices", "cpu", "--batch", 3, "--out", out)
    assert result.exit_code == exit_code, result.output
    assert reason in " ".join(result.output.split())


def test_a_step_that_waits_for_its_loader_is_bound_by_its_input(torchlap: Command, out: Path) -> None:
    result = torchlap("run", known("sleeping_loader"), *CPU, "--format", "json", "--out", out)
    (cell,) = json.loads(result.stdout)["cells"]
    assert cell["bottleneck"]["kind"] == "input"
    prepared = only_cell(load(out)).prepared
    assert prepared is not None
    assert prepared.watched is not None
    assert prepared.watched.input_wait_seconds == pytest.approx(0.04, rel=0.01)


def test_a_run_with_many_groups_stays_within_its_budget(torchlap: Command, out: Path, clock: Clock) -> None:
    before = clock.now
    options = ("--devices", "cpu", "--batch", "1,2,4,8", "--phase", "train,eval", "--precision-target", "0.1%")
    result = torchlap("run", own("slows_down"), *options, "--budget", "30s", "--out", out)
    assert result.exit_code == 0, result.output
    assert clock.now - before < 33
    assert sum(isinstance(event, Round) for event in load(out).events) > 20
