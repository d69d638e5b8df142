"""The live probe: on the CPU, on the simulated accelerator, and on one that is broken in one way at a time."""

import json
import subprocess
import sys
from collections.abc import Iterator

import pytest
from support import HELPERS, SIMULATED, Shared

from torchlap.api.doctor import Examination
from torchlap.machine.facts import begin
from torchlap.processes.failures import CellFailedError
from torchlap.processes.start import SpawnLauncher, launcher
from torchlap.schema.machine import Facts, Trial
from torchlap.schema.messages import Tried, TryOut
from torchlap.schema.suites import SUITES

SECONDS = 60.0


def tried(workers: Shared, device: str) -> Trial:
    worker = workers.start()
    try:
        return worker.ask(TryOut(device), Tried, SECONDS).trial
    finally:
        worker.kill()


@pytest.mark.parametrize("device", ["cpu", "sim:0"])
def test_a_device_that_works_passes(workers: Shared, device: str) -> None:
    seen = tried(workers, device)
    assert (seen.wrong, seen.missing, seen.fallbacks) == ("", (), ())
    assert seen.seconds > 0


def test_a_device_that_is_not_there_is_refused(workers: Shared) -> None:
    with pytest.raises(CellFailedError):
        tried(workers, "cuda:7")


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Iterator[Shared]:
    """Workers whose simulated accelerator has the fault that is asked for."""
    monkeypatch.setenv("PYTHONPATH", str(SIMULATED))
    monkeypatch.setenv("SIMULATED_FAULT", request.param)
    monkeypatch.setenv("SIMULATED_COST", "0.0001")
    inner = launcher()
    yield Shared(inner)
    inner.close()


def examined(processes: Shared, hang_seconds: float = SECONDS) -> tuple[Facts, list[str]]:
    said: list[str] = []
    return Examination(processes, hang_seconds, said.append).examine(begin()()), said


@pytest.mark.parametrize("broken", ["half_more:aten.mm.default"], indirect=True)
def test_wrong_products_are_seen(broken: Shared) -> None:
    seen, _ = examined(broken)
    cpu, sim, other = seen.trials
    assert cpu.wrong == ""
    assert "elements of a product of whole numbers are wrong" in sim.wrong
    assert other.device == "sim:1"


@pytest.mark.parametrize("broken", ["half_more:aten.addcdiv_.default"], indirect=True)
def test_a_wrong_optimizer_is_seen_by_the_losses(broken: Shared) -> None:
    seen, _ = examined(broken)
    assert "losses of a small network" in seen.trials[1].wrong


@pytest.mark.parametrize("broken", ["missing:aten.silu_.default"], indirect=True)
def test_an_operator_that_is_missing_is_named_with_the_layer_that_needs_it(broken: Shared) -> None:
    seen, _ = examined(broken)
    assert seen.trials[1].failed_at == ""
    first, second = seen.trials[1].missing
    assert first == "SiLU: The operator 'aten::silu_' is not currently implemented for the SIM device."
    assert second.startswith("SqueezeExcitation: ")


@pytest.mark.parametrize("broken", ["fallback:aten.hardtanh_.default"], indirect=True)
def test_an_operator_that_falls_back_is_named(broken: Shared) -> None:
    seen, _ = examined(broken)
    assert seen.trials[1].fallbacks == (
        "The operator 'aten::hardtanh_' is not supported and will fall back to run on the CPU.",
    )


@pytest.mark.parametrize("broken", ["crash:aten.convolution_backward.default"], indirect=True)
def test_a_device_that_aborts_is_told_with_the_stage_and_the_next_is_tried(broken: Shared) -> None:
    seen, said = examined(broken)
    cpu, first, second = seen.trials
    assert cpu.failed_at == ""
    assert (first.failed_at, first.kind) == ("training a small network", "crash")
    assert "SIGABRT" in first.reason
    assert second.device == "sim:1"
    assert "sim:0: multiplying" in said


@pytest.mark.parametrize("broken", ["hang:aten.mm.default"], indirect=True)
def test_a_device_that_hangs_is_given_up(broken: Shared) -> None:
    seen, _ = examined(broken, hang_seconds=2.0)
    assert [trial.kind for trial in seen.trials] == [None, "hang", "hang"]
    assert seen.trials[1].failed_at == "multiplying"


def test_workers_that_are_spawned_do_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(SIMULATED))
    inner = SpawnLauncher()
    try:
        seen, _ = examined(Shared(inner))
    finally:
        inner.close()
    assert [trial.device for trial in seen.trials] == ["cpu", "sim:0", "sim:1"]
    assert all(trial.failed_at == "" for trial in seen.trials)


@pytest.mark.models
def test_the_layers_that_are_tried_have_every_operator_of_the_suites_models() -> None:
    models = sorted({model for suite in SUITES.values() for model in suite.models})
    assert len(models) >= 6
    script = HELPERS / "operators.py"
    done = subprocess.run([sys.executable, script, *models], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == {model: [] for model in models}
