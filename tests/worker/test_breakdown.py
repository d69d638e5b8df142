"""How a breakdown is measured: counted operators, meters, loaders, and workloads with a known bottleneck."""

from pathlib import Path

import pytest
from bounds import WORKLOADS, Known, told
from support import OWN, SIMULATED, Command, answer

from torchlap import figures, load

QUICKLY = ("--budget", "20s", "--precision-target", "20%")


MODELS = (
    *("alexnet", "densenet121", "efficientnet_b0", "efficientnet_b1", "googlenet"),
    *("mnasnet0_5", "mnasnet1_0", "mobilenet_v2", "mobilenet_v3_large", "mobilenet_v3_small", "regnet_x_400mf"),
    *("regnet_x_800mf", "regnet_y_400mf", "resnet18", "resnet34", "resnet50", "shufflenet_v2_x0_5", "swin_t"),
    *("shufflenet_v2_x1_0", "squeezenet1_0", "squeezenet1_1"),
)


@pytest.mark.models
def test_floating_point_operations_are_those_that_torchvision_publishes() -> None:
    seen = answer("flops.py", *MODELS)
    assert len(seen) >= 20
    assert {name: pair for name, pair in seen.items() if pair[0] != pytest.approx(pair[1], rel=0.02)} == {}


def test_what_operators_read_and_write_is_counted() -> None:
    seen = answer("costs.py")
    assert seen["product"] == [[1, 2 * 8 * 16 * 32, 4 * (8 * 16 + 16 * 32 + 8 * 32)]]
    assert seen["copy"] == [[1, 0, 8 * 1000]]
    assert seen["in place"] == [[1, 0, 8 * 1000]]
    assert seen["expanded"] == [[1, 0, 4 * (1 + 1000 + 1000)]]
    assert seen["view"] == []
    assert seen["rows of a table"] == [[1, 0, 2 * 4 * 3 * 10]]
    assert seen["a linear layer in inference"] == [[1, 2 * 8 * 16 * 32, 4 * (8 * 16 + 16 * 32 + 32 + 8 * 32)]]
    assert seen["lists"] == [[1, 0, 4 * (100 + 200) * 2]]


def test_a_loader_that_nobody_uses_any_more_ends_at_once() -> None:
    assert answer("loaders.py")["freed without the garbage collector"] is True


def test_each_meter_is_read_and_who_cannot_be_read_says_why() -> None:
    seen = answer("meters.py")
    assert seen["rapl"] == ["RAPL, the CPU's packages", 3.5]
    assert seen["rapl, its counter begun again"] == ["RAPL, the CPU's packages", 0.5]
    assert "root access" in seen["rapl, not for us"]
    assert "no energy counter" in seen["no rapl"]
    assert seen["nvidia"] == ["NVIDIA's driver, the whole GPU", 2.0]
    assert "does not report it" in seen["nvidia, too old"]
    assert seen["apple"] == ["zeus, gpu", 1.5]
    assert "torchlap[energy]" in seen["apple, without zeus"]
    assert seen["another"] == "Energy: no supported energy meter for xpu."


def by(device: str) -> list[Known]:
    return [known for known in WORKLOADS if device == "cpu" or known.bound in ("input", "launch")]


@pytest.mark.parametrize("known", by("cpu"), ids=lambda known: known.model)
def test_a_bound_that_is_known_is_told(known: Known) -> None:
    assert told(known, "cpu", *QUICKLY).word == known.bound


@pytest.mark.parametrize("known", by("sim:0"), ids=lambda known: known.model)
def test_on_the_simulated_accelerator_too(known: Known, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(SIMULATED))
    monkeypatch.setenv("SIMULATED_COST", "0.00001")
    assert told(known, "sim:0", *QUICKLY).word == known.bound


def test_the_phases_add_up_to_the_step(torchlap: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIMULATED_COST", "0.0003")
    out = tmp_path / "run.jsonl"
    more = ("--budget", "20s", "--precision-target", "20%", "--no-verify", "--out", out)
    result = torchlap("run", f"{OWN}:small", "--devices", "sim:0", "--batch", 4, *more)
    assert result.exit_code == 0, result.output
    ((only,),) = (each.cells for each in figures(load(out)))
    seen = only.breakdown
    assert seen is not None
    assert not seen.reason
    total = sum(map(min, seen.phases.values()))
    assert total == pytest.approx(min(seen.steps), rel=0.05)
    assert set(seen.phases) == {"input", "transfer", "forward", "backward", "optimizer"}


def test_an_incomplete_batch_of_ones_own_loader_is_left_out() -> None:
    assert answer("loaders.py")["rows of an uneven loader's batches"] == [4, 4, 4, 4]
