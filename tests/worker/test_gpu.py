"""On a real accelerator: `pytest -m gpu`. Without one these are skipped, and the simulated accelerator stands in."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from bounds import WORKLOADS, Known, told
from support import Command, Shared, own

from torchlap import diagnose, figures, load
from torchlap.api.doctor import Examination
from torchlap.machine.facts import begin
from torchlap.processes.start import launcher
from torchlap.schema.replies import Description
from torchlap.schema.requests import Describe

pytestmark = pytest.mark.gpu
SECONDS = 120.0


@pytest.fixture(scope="module")
def workers() -> Iterator[Shared]:
    """A launcher whose workers do not know the simulated accelerator, which torch would prefer to a real one."""
    inner = launcher()
    yield Shared(inner)
    inner.close()


@pytest.fixture(scope="module")
def accelerator(workers: Shared) -> str:
    """The first real accelerator's name."""
    worker = workers.start()
    devices = worker.ask(Describe(), Description, SECONDS).devices
    worker.kill()
    names = [device.name for device in devices if device.kind != "cpu"]
    if not names:
        pytest.skip("this machine has no real accelerator")
    return names[0]


def test_every_recipe_runs_and_a_device_may_be_compared_with_itself(
    accelerator: str, torchlap_with_processes: Command, tmp_path: Path
) -> None:
    out = tmp_path / "run.jsonl"
    recipes = "fp32,fp32,bf16+channels_last+fused,fp16,compile"
    if accelerator.startswith("cuda"):
        recipes += ",tf32,graph,fp16+fused+graph,cudnn_benchmark,compile+graph"
    options = ("--devices", accelerator, "--batch", 8, "--precision-target", "10%", "--budget", "3m", "--out", out)
    result = torchlap_with_processes("run", "resnet18", "--recipe", recipes, *options)
    assert result.exit_code == 0, result.output
    first, again, *others = figures(load(out))[0].cells
    assert first.throughput is not None
    assert again.speed_up is not None
    assert again.speed_up.low < 1.03
    assert again.speed_up.high > 0.97
    assert all(other.speed_up for other in others), [other.failure for other in others]
    captured = {str(cell.cell.recipe): cell.speed_up for cell in others if cell.cell.recipe.graph}
    assert all(speed_up is not None and speed_up.low > 1 for speed_up in captured.values()), captured


def test_training_on_real_digits_learns_there(
    accelerator: str, torchlap_with_processes: Command, tmp_path: Path
) -> None:
    out = tmp_path / "run.jsonl"
    options = ("--devices", accelerator, "--batch", 64, "--budget", "30s", "--precision-target", "1%", "--out", out)
    result = torchlap_with_processes("run", "resnet18", *options)
    assert result.exit_code == 0, result.output
    (cell,) = figures(load(out))[0].cells
    assert cell.prepared is not None
    assert cell.laps[-1].loss < 0.5 * cell.prepared.first_loss


def test_a_batch_that_does_not_fit_is_a_record_and_the_smaller_one_has_its_figure(
    accelerator: str, torchlap_with_processes: Command, tmp_path: Path
) -> None:
    out = tmp_path / "run.jsonl"
    options = ("--devices", accelerator, "--batch", "64,20000", "--budget", "60s", "--out", out)
    result = torchlap_with_processes("run", "resnet18", *options)
    assert result.exit_code == 1, result.output
    fits, too_large = (group.cells[0] for group in figures(load(out)))
    assert fits.throughput is not None
    assert too_large.failure is not None
    assert too_large.failure.kind == "out_of_memory"


def test_the_cpu_and_the_accelerator_take_turns(
    accelerator: str, torchlap_with_processes: Command, tmp_path: Path
) -> None:
    out = tmp_path / "run.jsonl"
    devices = f"cpu,{accelerator}"
    result = torchlap_with_processes(
        "run", own("small"), "--devices", devices, "--batch", 64, "--budget", "30s", "--out", out
    )
    assert result.exit_code == 0, result.output
    assert figures(load(out))[0].cells[1].speed_up is not None


def test_the_doctor_tries_every_device_and_finds_none_that_fails(accelerator: str, workers: Shared) -> None:
    result = Examination(workers, SECONDS, lambda _: None).examine(begin()())
    trials = {trial.device: trial for trial in result.trials}
    assert {"cpu", accelerator} <= set(trials)
    for trial in trials.values():
        assert (trial.failed_at, trial.wrong, trial.missing) == ("", "", ())
    assert [finding for finding in diagnose(result) if finding.severity == "error"] == []


@pytest.mark.parametrize("known", WORKLOADS, ids=lambda known: known.model)
def test_a_bound_that_is_known_is_told(known: Known, accelerator: str) -> None:
    result = told(known, accelerator)
    assert result.word == known.bound
    assert result.phases == pytest.approx(1.0, rel=0.05)
