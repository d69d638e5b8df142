"""`torchlap scale` on a fake clock, with ranks that take exactly the time they are given."""

from typing import Any

import pytest
from known_ranks import (
    ALONE_SECONDS,
    DESCRIPTION,
    EXPOSED_SECONDS,
    OWN_SECONDS,
    START_SECONDS,
    Known,
    Ranks,
    measured,
    ranks_of,
)

from torchlap.errors import UsageError
from torchlap.measuring.plan import Options
from torchlap.measuring.scale import Sizes, check_options, plan_scale
from torchlap.processes.failures import CellFailedError
from torchlap.runs.scaling import sizes
from torchlap.schema.events import Failure, RunFinished
from torchlap.schema.machine import DeviceFacts
from torchlap.schema.recipe import Recipe, parse_recipe
from torchlap.schema.replies import Description
from torchlap.schema.requests import DescribeRanks, Hello, Request, RunLaps
from torchlap.schema.workload import Cell

TOLERANCE = 0.02


def options(**changes: Any) -> Options:
    return Options(**{"models": ("resnet18",), **changes})


@pytest.mark.parametrize("ranks", [2, 4, 8])
def test_a_known_cost_of_communication_gives_its_known_efficiency(ranks: int) -> None:
    (size,) = sizes(measured(ranks=(ranks,)))
    known = ALONE_SECONDS / (ALONE_SECONDS + OWN_SECONDS + EXPOSED_SECONDS)
    assert size.efficiency is not None
    assert size.efficiency.value == pytest.approx(known, rel=TOLERANCE)
    assert size.efficiency.low < known < size.efficiency.high
    assert size.speed_up is not None
    assert size.speed_up.value == pytest.approx(ranks * known, rel=TOLERANCE)
    share = size.communication.of_step
    assert share is not None
    assert share.value == pytest.approx(
        EXPOSED_SECONDS / (ALONE_SECONDS + OWN_SECONDS + EXPOSED_SECONDS), abs=TOLERANCE
    )


def test_the_bus_bandwidth_is_that_of_nccl_tests_and_the_denominator_of_what_is_not_hidden() -> None:
    (size,) = sizes(measured(ranks=(4,)))
    rate, share = size.communication.bus_bytes_per_second, size.communication.not_hidden
    assert rate is not None
    assert rate.value == pytest.approx(2 * 3 / 4 * 1e8 / 0.002)
    assert share is not None
    assert share.value == pytest.approx(EXPOSED_SECONDS / 0.002, rel=0.15)


def test_strong_scaling_divides_the_batch() -> None:
    known = Known()
    run = measured(known, total_batch=64)
    cells = run.header.plan.groups[0].cells
    assert [cell.workload.batch for cell in cells] == [64, 32, 32]
    (size,) = sizes(run)
    assert size.speed_up is not None
    assert size.speed_up.value == pytest.approx(
        ALONE_SECONDS / (ALONE_SECONDS + OWN_SECONDS + EXPOSED_SECONDS), rel=0.02
    )


def test_accumulated_batches_count_on_both_sides() -> None:
    (size,) = sizes(measured(recipe=parse_recipe("fp32+accumulate:4", of_ranks=True)))
    assert size.alone.throughput is not None
    assert size.alone.throughput.value == pytest.approx(4 * 32 / ALONE_SECONDS, rel=TOLERANCE)


def test_a_size_that_fails_is_a_record_and_the_others_go_on() -> None:
    known = Known()

    def break_two(cell: Cell, request: Request) -> None:
        if ranks_of(cell) == 2 and isinstance(request, RunLaps) and not cell.recipe.no_sync:
            raise CellFailedError("crash", "Rank 1 was killed by SIGKILL (running laps).")

    known.breaks = break_two
    run = measured(known, ranks=(2, 4))
    two, four = sizes(run)
    assert two.efficiency is None
    assert two.together.failure is not None
    assert two.together.failure.reason == "Rank 1 was killed by SIGKILL (running laps)."
    assert two.alone.throughput is not None
    assert four.efficiency is not None
    failures = [event for event in run.events if isinstance(event, Failure)]
    assert [(event.group, event.cell) for event in failures] == [(0, 1), (0, 2)]
    assert isinstance(run.events[-1], RunFinished)


def test_one_device_that_fails_leaves_the_throughput_of_several() -> None:
    known = Known()

    def break_one(cell: Cell, request: Request) -> None:
        if ranks_of(cell) == 1 and isinstance(request, RunLaps):
            raise CellFailedError("out_of_memory", "CUDA out of memory.")

    known.breaks = break_one
    (size,) = sizes(measured(known))
    assert size.efficiency is None
    assert size.together.throughput is not None


def test_ranks_that_fail_after_their_laps_keep_their_figures() -> None:
    known = Known()

    def break_description(cell: Cell, request: Request) -> None:
        if ranks_of(cell) > 1 and isinstance(request, DescribeRanks):
            raise CellFailedError("hang", "No answer.")

    known.breaks = break_description
    (size,) = sizes(measured(known))
    assert size.efficiency is not None
    assert size.communication.reason == "hang: No answer."


def test_by_default_the_sizes_are_powers_of_two_up_to_all_devices() -> None:
    plan = plan_scale(options(), Sizes(), DESCRIPTION)
    assert [cell.device for group in plan.groups for cell in group.cells[:2]] == [
        "cuda:0", "2 x cuda", "cuda:0", "4 x cuda", "cuda:0", "8 x cuda",
    ]  # fmt: skip
    six = Description(DESCRIPTION.devices[:7], DESCRIPTION.models, "")
    scaling = plan_scale(options(), Sizes(), six).scaling
    assert scaling is not None
    assert scaling.ranks == (2, 4, 6)


def test_several_hosts_make_one_size() -> None:
    scaling = plan_scale(options(), Sizes(ranks=(8,), nodes=4), DESCRIPTION).scaling
    assert scaling is not None
    assert (scaling.ranks, scaling.nodes) == ((32,), 4)


def test_what_shards_has_no_step_without_synchronization() -> None:
    plan = plan_scale(options(recipes=(Recipe(shard=True),)), Sizes(ranks=(2,)), DESCRIPTION)
    assert [cell.recipe.shard for cell in plan.groups[0].cells] == [False, True]


@pytest.mark.parametrize(
    ("changes", "chosen", "sentence"),
    [
        ({}, Sizes(ranks=(16,)), "needs as many cuda devices, but this host has 8"),
        ({}, Sizes(ranks=(1,)), "compares one device with several"),
        ({}, Sizes(ranks=(2,), total_batch=33), "cannot be divided between 2 ranks"),
        ({}, Sizes(ranks=(2, 4), nodes=2), "give --ranks one number"),
        ({"devices": "cuda:1"}, Sizes(), "needs a kind of device"),
        ({"models": ("resnet19",)}, Sizes(), "Unknown torchvision model"),
    ],
)
def test_what_cannot_be_scaled_is_said_in_a_sentence(changes: dict[str, Any], chosen: Sizes, sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        plan_scale(options(**changes), chosen, DESCRIPTION)


@pytest.mark.parametrize(
    ("devices", "sentence"),
    [(("cpu",), "no accelerator"), (("cpu", "cuda"), "only one cuda device"), (("cpu", "mps"), "only one mps device")],
)
def test_a_machine_with_nothing_to_scale_over_is_told_what_to_do(devices: tuple[str, ...], sentence: str) -> None:
    found = Description(tuple(DeviceFacts(name, name) for name in devices), DESCRIPTION.models, "")
    with pytest.raises(UsageError, match=f"{sentence}.*--devices cpu"):
        plan_scale(options(), Sizes(), found)
    plan = plan_scale(options(devices="cpu"), Sizes(), found)
    assert plan.groups[0].cells[1].device == "2 x cpu"


def test_mps_has_no_backend() -> None:
    found = Description((DeviceFacts("cpu", "cpu"), DeviceFacts("mps", "mps")), DESCRIPTION.models, "")
    with pytest.raises(UsageError, match="no backend for mps"):
        plan_scale(options(devices="mps"), Sizes(), found)


@pytest.mark.parametrize(
    ("changes", "chosen", "sentence"),
    [
        ({"models": ("a", "b")}, Sizes(), "one model at a time"),
        ({"batches": (1, 2)}, Sizes(), "one batch size at a time"),
        ({"batches": (8,)}, Sizes(total_batch=8), "give one of them"),
        ({"recipes": (Recipe(no_sync=True),)}, Sizes(), "omit it"),
        ({"recipes": (Recipe(shard=True, bucket=1),)}, Sizes(), "settings of DDP"),
    ],
)
def test_options_that_contradict_each_other_are_refused(changes: dict[str, Any], chosen: Sizes, sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        check_options(options(**changes), chosen)


@pytest.mark.parametrize("word", ["shard", "bucket:5", "static_graph", "no_sync"])
def test_terms_of_ranks_are_refused_elsewhere(word: str) -> None:
    assert str(parse_recipe(f"bf16+{word}", of_ranks=True)) == f"bf16+{word}"
    with pytest.raises(UsageError, match=f"The recipe term {word} is for several ranks: use it with torchlap scale"):
        parse_recipe(f"bf16+{word}")


def test_ranks_that_do_not_start_are_a_record_and_the_others_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    def tell(self: Ranks, request: Request) -> None:
        if isinstance(request, Hello) and self.pid == 2:
            raise CellFailedError("error", "The ranks could not meet: its port is already in use.")
        self.request = request

    monkeypatch.setattr(Ranks, "tell", tell)
    two, four = sizes(measured(ranks=(2, 4)))
    assert two.together.failure is not None
    assert two.together.failure.reason.startswith("The ranks could not meet")
    assert two.alone.throughput is not None
    assert four.efficiency is not None


def test_starting_ranks_takes_nothing_from_the_budget() -> None:
    run = measured(budget_seconds=4.0, precision_target=0.0001)
    (size,) = sizes(run)
    assert size.efficiency is not None
    assert size.efficiency.count > 8
    end = run.events[-1]
    assert isinstance(end, RunFinished)
    assert end.start_up_seconds == pytest.approx(2 * START_SECONDS)
