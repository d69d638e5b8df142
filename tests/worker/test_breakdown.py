"""How a breakdown is measured: counted operators, meters, loaders, and workloads with a known bottleneck."""

from typing import Any

import pytest
from bounds import WORKLOADS, Known, told
from support import SIMULATED, answers

QUICKLY = ("--budget", "60s", "--precision-target", "20%")
ACCEPTED = {"launch": {"launch", "host"}}
"""On a CPU of a busy machine, time between operators can exceed that of launching them."""

MODELS = (
    *("alexnet", "densenet121", "efficientnet_b0", "efficientnet_b1", "googlenet"),
    *("mnasnet0_5", "mnasnet1_0", "mobilenet_v2", "mobilenet_v3_large", "mobilenet_v3_small", "regnet_x_400mf"),
    *("regnet_x_800mf", "regnet_y_400mf", "resnet18", "resnet34", "resnet50", "shufflenet_v2_x0_5", "swin_t"),
    *("shufflenet_v2_x1_0", "squeezenet1_0", "squeezenet1_1"),
)


@pytest.fixture(scope="module")
def measured() -> dict[str, Any]:
    """What the scripts of `helpers` print that import torch, in one process."""
    names = ("costs.py", "loaders.py", "meters.py")
    return dict(zip(names, answers(*names), strict=True))


def test_the_bytes_that_operators_read_and_write_are_counted(measured: dict[str, Any]) -> None:
    costs = measured["costs.py"]
    assert costs["product"] == [[1, 2 * 8 * 16 * 32, 4 * (8 * 16 + 16 * 32 + 8 * 32)]]
    assert costs["copy"] == [[1, 0, 8 * 1000]]
    assert costs["in place"] == [[1, 0, 8 * 1000]]
    assert costs["expanded"] == [[1, 0, 4 * (1 + 1000 + 1000)]]
    assert costs["view"] == []
    assert costs["rows of a table"] == [[1, 0, 2 * 4 * 3 * 10]]
    assert costs["a linear layer in inference"] == [[1, 2 * 8 * 16 * 32, 4 * (8 * 16 + 16 * 32 + 32 + 8 * 32)]]
    assert costs["lists"] == [[1, 0, 4 * (100 + 200) * 2]]


def test_a_loader_is_freed_as_soon_as_nothing_refers_to_it(measured: dict[str, Any]) -> None:
    loaders = measured["loaders.py"]
    assert loaders["freed without the garbage collector"] is True


def test_an_incomplete_batch_of_an_own_loader_is_skipped(measured: dict[str, Any]) -> None:
    loaders = measured["loaders.py"]
    assert loaders["rows of an uneven loader's batches"] == [4, 4, 4, 4]


def test_each_energy_meter_is_read_or_the_reason_is_given(measured: dict[str, Any]) -> None:
    meters = measured["meters.py"]
    assert meters["rapl"] == ["RAPL, the CPU's packages", 3.5]
    assert meters["rapl, its counter begun again"] == ["RAPL, the CPU's packages", 0.5]
    assert "cannot be read" in meters["rapl, gone"]
    assert "only root may read" in meters["rapl, not for us"]
    assert "chmod" in meters["rapl, not for us"]
    assert "no energy counter" in meters["no rapl"]
    assert meters["nvidia"] == ["NVIDIA's driver, the whole GPU", 2.0]
    assert "does not report it" in meters["nvidia, too old"]
    assert meters["apple"] == ["zeus, gpu", 1.5]
    assert "torchlap[energy]" in meters["apple, without zeus"]
    assert meters["another"] == "Energy: no supported energy meter for xpu."


@pytest.mark.long
@pytest.mark.models
def test_floating_point_operations_are_those_that_torchvision_publishes() -> None:
    (flops,) = answers("flops.py", arguments=MODELS)
    assert len(flops) >= 20
    assert {name: pair for name, pair in flops.items() if pair[0] != pytest.approx(pair[1], rel=0.02)} == {}


@pytest.mark.alone
@pytest.mark.long
@pytest.mark.parametrize("known", WORKLOADS, ids=lambda known: known.model)
def test_a_known_bottleneck_is_reported(known: Known) -> None:
    assert told(known, "cpu", *QUICKLY).word in ACCEPTED.get(known.bound, {known.bound})


@pytest.mark.long
@pytest.mark.parametrize(
    "known", [known for known in WORKLOADS if known.bound in ("input", "launch")], ids=lambda known: known.model
)
def test_a_known_bottleneck_is_reported_on_the_simulated_accelerator(
    known: Known, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(SIMULATED))
    monkeypatch.setenv("SIMULATED_COST", "0.00001")
    assert told(known, "sim:0", *QUICKLY).word == known.bound
