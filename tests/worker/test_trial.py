"""The live probe: on the CPU, on the simulated accelerator, and on one that is broken in one way at a time."""

import json
import subprocess
import sys
from contextlib import nullcontext

import pytest
import torch
from support import HELPERS, PATIENCE_SECONDS, SIMULATED, Shared, own
from virtual import Clock, Here

from torchlap.api.doctor import Examination
from torchlap.machine.facts import begin
from torchlap.processes.failures import CellFailedError
from torchlap.processes.start import Launcher, SpawnLauncher
from torchlap.processes.worker import Worker
from torchlap.schema.machine import Facts
from torchlap.schema.replies import Checked, Tried
from torchlap.schema.requests import Check, TryOut
from torchlap.schema.suites import SUITES
from torchlap.worker import trial


def examined(processes: Launcher, hang_seconds: float = PATIENCE_SECONDS) -> tuple[Facts, list[str]]:
    """The facts with their trials, and what was being done."""
    doing: list[str] = []
    return Examination(processes, hang_seconds, doing.append).examine(begin()()), doing


def with_fault(clock: Clock, fault: str, monkeypatch: pytest.MonkeyPatch) -> Facts:
    """The facts with their trials, by workers in this process, of an accelerator that is broken."""
    monkeypatch.setattr("virtual.FAULT", fault)
    with clock.ticking():
        return examined(Here(clock))[0]


@pytest.mark.parametrize("device", ["cpu", "sim:0"])
def test_a_device_that_works_passes(device: str, clock: Clock) -> None:
    with clock.ticking():
        tried = Here(clock).start().ask(TryOut(device), Tried, PATIENCE_SECONDS).trial
    assert (tried.wrong, tried.missing, tried.fallbacks) == ("", (), ())
    assert tried.seconds > 0


def test_a_device_that_does_not_exist_is_refused(workers: Shared) -> None:
    with pytest.raises(CellFailedError):
        workers.start().ask(TryOut("cuda:7"), Tried, PATIENCE_SECONDS)


def test_wrong_products_are_found(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    cpu, sim, other = with_fault(clock, "half_more:aten.mm.default", monkeypatch).trials
    assert cpu.wrong == ""
    assert "elements of a product" in sim.wrong
    assert other.device == "sim:1"


def test_a_wrong_optimizer_is_found_by_the_losses(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    trials = with_fault(clock, "half_more:aten.addcdiv_.default", monkeypatch).trials
    assert "losses of a small network" in trials[1].wrong


def test_a_missing_operator_is_named_with_the_layer_that_needs_it(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    trials = with_fault(clock, "missing:aten.silu_.default", monkeypatch).trials
    assert trials[1].failed_at == ""
    first, second = trials[1].missing
    assert first == "SiLU: The operator 'aten::silu_' is not currently implemented for the SIM device."
    assert second.startswith("SqueezeExcitation: ")


def test_an_operator_that_falls_back_is_named(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    trials = with_fault(clock, "fallback:aten.hardtanh_.default", monkeypatch).trials
    assert trials[1].fallbacks == (
        "The operator 'aten::hardtanh_' is not supported and will fall back to run on the CPU.",
    )


class Broken:
    """A launcher whose workers break the simulated accelerator before they test it."""

    def __init__(self, inner: Launcher, model: str) -> None:
        self._inner, self._model = inner, model
        self.start_up_seconds = 0.0

    def start(self) -> Worker:
        worker = self._inner.start()
        worker.ask(Check(self._model, 4, "random", "mnist-1k"), Checked, PATIENCE_SECONDS)
        return worker

    def renew(self) -> None:
        return

    def close(self) -> None:
        return


def test_a_device_that_aborts_is_reported_with_its_stage_and_the_next_is_tested(workers: Shared) -> None:
    crashes = own("crash__atenDOTconvolution_backwardDOTdefault__small", "faulty.py")
    facts, doing = examined(Broken(workers, crashes))
    cpu, first, second = facts.trials
    assert cpu.failed_at == ""
    assert (first.failed_at, first.kind) == ("training a small network", "crash")
    assert "SIGABRT" in first.reason
    assert second.device == "sim:1"
    assert "sim:0: multiplying" in doing


def test_a_device_that_hangs_is_given_up(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    trials = with_fault(clock, "hang:aten.mm.default", monkeypatch).trials
    assert [trial.kind for trial in trials] == [None, "hang", "hang"]
    assert trials[1].failed_at == "multiplying"


@pytest.mark.long
def test_workers_that_are_spawned_do_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(SIMULATED))
    inner = SpawnLauncher()
    try:
        facts, _ = examined(inner)
    finally:
        inner.close()
    assert [trial.device for trial in facts.trials] == ["cpu", "sim:0", "sim:1"]
    assert all(trial.failed_at == "" for trial in facts.trials)


@pytest.mark.long
@pytest.mark.models
def test_the_layers_that_are_tried_have_every_operator_of_the_suites_models() -> None:
    models = sorted({model for name in ("quick", "experiment-2022") for model in SUITES[name].models})
    assert len(models) >= 6
    script = HELPERS / "operators.py"
    done = subprocess.run([sys.executable, script, *models], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == {model: [] for model in models}


def test_a_request_for_mixed_precision_without_effect_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    assert trial._ignored(torch.bfloat16, torch.device("cpu")) == ""
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: nullcontext())
    assert trial._ignored(torch.bfloat16, torch.device("cpu")) == (
        "torch.autocast('cpu', torch.bfloat16) computes in torch.float32"
    )


def test_a_request_for_mixed_precision_that_is_refused_is_not_one_without_effect(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise RuntimeError("unsupported")

    monkeypatch.setattr(torch, "autocast", refuse)
    assert trial._ignored(torch.float16, torch.device("cpu")) == ""
