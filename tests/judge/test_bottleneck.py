"""The bottleneck of a step: the rule and its advice."""

from typing import Any

import pytest
from making import cell, explained, plan, prepared, reached, rounds, run
from msgspec.structs import replace

from torchlap import figures
from torchlap.judge.bottleneck import Bottleneck, bottleneck
from torchlap.schema.breakdown import EnergyWindow, LoaderRate, OperatorCost
from torchlap.schema.events import BreakdownMeasured, Event, PeaksMeasured, Watched
from torchlap.schema.recipe import Recipe
from torchlap.schema.workload import Group


def explain(
    measured: BreakdownMeasured | None = None,
    peaks: PeaksMeasured | None = None,
    watched: Watched | None = None,
    recipe: Recipe | None = None,
    device: str = "cpu",
) -> Bottleneck:
    """The bottleneck of a cell whose steps take 0.1 s."""
    planned = plan(Group((cell(device, recipe=recipe or Recipe()),)))
    events: list[Event] = [prepared(0, watched=watched), *rounds([0.1] * 8), measured or explained()]
    ((only,),) = (group.cells for group in figures(run(events, planned)))
    analysis = bottleneck(only, peaks.peaks if peaks else None)
    assert analysis is not None
    return analysis


def phases(**seconds: float) -> dict[Any, tuple[float, ...]]:
    return {phase: (value,) * 3 for phase, value in seconds.items()}


def host(enqueue: float, wait: float = 0.0) -> Watched:
    return Watched(step_seconds=0.1, enqueue_seconds=enqueue, input_wait_seconds=wait)


def cost(flops: int, size: int, **changes: Any) -> OperatorCost:
    return replace(OperatorCost(phase="forward", operator="mm", calls=1, flops=flops, bytes=size), **changes)


def test_the_largest_share_of_the_step_is_the_bottleneck() -> None:
    analysis = explain(peaks=reached())
    assert (analysis.kind, analysis.second) == ("compute", None)
    assert analysis.shares["compute"] == pytest.approx(0.5)  # 10 GFLOP at 200 GFLOP/s are 0.05 s of 0.1
    assert analysis.shares["memory"] == pytest.approx(0.2)  # 20 x 10 MB at 10 GB/s, without the optimizer's
    assert analysis.shares["optimizer"] == pytest.approx(0.09)
    assert analysis.shares["input"] == pytest.approx(0.01)
    assert analysis.shares["launch"] == pytest.approx(81e-6 / 0.1)
    assert analysis.utilization == pytest.approx(0.5)
    assert analysis.bandwidth_utilization == pytest.approx((20 * 10**7 + 10**6 + 60 * 10**6) / 0.1 / 1e10)


@pytest.mark.parametrize(
    ("kind", "measured", "watched"),
    [
        ("input", explained(phases=phases(input=0.06, forward=0.04)), None),
        ("optimizer", explained(phases=phases(forward=0.02, optimizer=0.08)), None),
        ("memory", explained(operators=(cost(10**6, 8 * 10**8),)), None),
        ("launch", explained(operators=(cost(0, 4, calls=90_000),)), None),
        ("launch", explained(), host(0.095)),
        ("input", explained(), host(0.095, wait=0.06)),
        ("compute", explained(), host(0.08)),
    ],
)
def test_each_kind_of_bottleneck_is_found(kind: str, measured: BreakdownMeasured, watched: Watched | None) -> None:
    device = "cuda:0" if watched else "cpu"
    assert explain(measured, reached(device), watched, device=device).kind == kind


def test_loss_scaling_waits_for_the_gradients_so_the_enqueue_time_is_ignored() -> None:
    peaks = reached("cuda:0", flops={"fp16": 2e11})
    assert explain(watched=host(0.093), peaks=peaks, recipe=Recipe("fp16"), device="cuda:0").kind == "compute"
    fused = Recipe("fp16", fused=True)
    assert explain(watched=host(0.093), peaks=peaks, recipe=fused, device="cuda:0").kind == "launch"


def test_a_second_bottleneck_is_named_if_it_is_close() -> None:
    both = explained(operators=(cost(10**10, 10**6), cost(0, 45 * 10**7, operator="copy_")))
    assert (explain(both, reached()).kind, explain(both, reached()).second) == ("compute", "memory")


def test_an_operator_is_bound_by_its_arithmetic_or_its_traffic_but_not_both() -> None:
    shares = explain(explained(operators=(cost(10**10, 4 * 10**8),)), reached()).shares
    assert shares["compute"] == pytest.approx(0.5)
    assert shares["memory"] == 0.0


def test_without_the_peaks_only_a_share_of_at_least_half_is_a_bottleneck() -> None:
    assert explain().kind is None
    assert explain(explained(phases=phases(input=0.06, forward=0.04))).kind == "input"
    assert explain(watched=host(0.099), device="cuda:0").kind == "launch"


def test_pointwise_operators_of_a_compiled_step_count_as_fused() -> None:
    measured = explained(operators=(cost(0, 5 * 10**8, pointwise=True), cost(10**8, 10**8)))
    compiled = explain(measured, reached("cuda:0"), recipe=Recipe(compile=True), device="cuda:0")
    assert compiled.shares["memory"] == pytest.approx(0.1)


def test_a_step_that_was_not_analyzed_has_no_bottleneck() -> None:
    planned = plan(Group((cell(),)))
    for more in ([], [explained(reason="the analysis would take about 9 s; raise --budget", phases={})]):
        ((only,),) = (group.cells for group in figures(run([prepared(0), *rounds([0.1] * 8), *more], planned)))
        assert bottleneck(only, reached().peaks) is None


def flags(analysis: Bottleneck) -> list[str]:
    return [advice.flag for advice in analysis.advice]


def test_advice_has_the_flag_that_tries_it() -> None:
    assert flags(explain(peaks=reached())) == ["--recipe bf16"]
    (advice,) = explain(peaks=reached()).advice
    assert advice.reason == "5.0x the peak of fp32 on this device"
    assert flags(explain(watched=host(0.099), device="cuda:0")) == [
        "--batch 16",
        "--recipe fp32+graph",
        "--recipe fp32+compile",
    ]
    slow = explained(phases=phases(forward=0.02, optimizer=0.08))
    assert flags(explain(slow, reached())) == ["--batch 16", "--recipe fp32+fused"]
    copies = explained(operators=(cost(0, 9 * 10**8),))
    on_gpu = explain(copies, reached("cuda:0"), host(0.01), device="cuda:0")
    assert flags(on_gpu) == ["--recipe fp32+compile", "--recipe fp32+channels_last", "--recipe bf16"]


def test_more_workers_are_recommended_if_they_load_faster() -> None:
    waits = phases(input=0.06, forward=0.04)
    loaders = LoaderRate(2, 10, 1.0), LoaderRate(4, 20, 1.0)
    through = Recipe(workers=2)
    more = explain(explained(phases=waits, loaders=loaders), reached(), recipe=through)
    assert flags(more) == ["--workers 4", "--data-through resident"]
    assert more.loader_items_per_second == {2: 40.0, 4: 80.0}
    assert more.advice[0].reason == "40 images/s from the loader alone with 2 workers, 80 with 4"
    level = explained(phases=waits, loaders=(loaders[0], LoaderRate(4, 10, 1.0)))
    assert flags(explain(level, reached(), recipe=through)) == ["", "--data-through resident"]
    idle = explain(explained(loaders=(LoaderRate(2, 10, 0.4),)), reached(), recipe=through)
    assert flags(idle)[0] == "--workers 1"
    assert "--workers 1" not in flags(explain(explained(loaders=(LoaderRate(2, 10, 0.6),)), reached(), recipe=through))


def test_a_custom_loader_and_resident_data_get_advice_without_a_flag() -> None:
    waits = phases(input=0.06, forward=0.04)
    own = explain(explained(phases=waits, loaders=(LoaderRate(1, 10, 1.0), LoaderRate(2, 20, 1.0))), reached())
    assert [advice.reason for advice in own.advice] == [
        "40 images/s from the loader alone with 1 worker, 80 with 2",
        "A DataLoader with more num_workers or lighter transforms would load faster",
    ]
    (advice,) = explain(explained(phases=waits), reached()).advice
    assert (advice.reason[:23], advice.flag) == ("The time goes to moving", "")


def test_a_precision_that_is_hardly_faster_is_not_recommended() -> None:
    assert flags(explain(peaks=reached(flops={"fp32": 2e11, "bf16": 2.1e11}))) == []


def test_without_laps_the_extra_steps_give_the_time() -> None:
    ((only,),) = (group.cells for group in figures(run([prepared(0), explained()], plan(Group((cell(),))))))
    analysis = bottleneck(only, None)
    assert analysis is not None
    assert analysis.step_seconds == pytest.approx(0.1)


def test_a_loader_that_is_the_slowest_part_is_the_bottleneck_of_a_mostly_busy_device() -> None:
    busy = phases(input=0.0001, transfer=0.0009, forward=0.03, backward=0.05, optimizer=0.004)  # 0.085 of 0.1 s
    through = Recipe(workers=4)
    slow, quick = (LoaderRate(4, 10, seconds) for seconds in (0.95, 0.3))
    assert explain(explained(phases=busy, loaders=(slow,)), reached("cuda:0"), recipe=through).kind == "input"
    idle = explain(explained(phases=busy), reached("cuda:0"), host(0.02), recipe=through, device="cuda:0")
    assert (idle.kind, idle.shares["input"]) == ("input", 1.0)  # between steps, and its host is ahead
    behind = explain(explained(phases=busy), reached("cuda:0"), host(0.095), recipe=through, device="cuda:0")
    assert behind.kind == "launch"
    full = phases(input=0.0001, transfer=0.0009, forward=0.04, backward=0.055, optimizer=0.004)
    assert explain(explained(phases=full, loaders=(quick,)), reached("cuda:0"), recipe=through).kind == "compute"
    alone = (LoaderRate(0, 10, 0.95),)  # without workers nothing runs beside the step
    assert explain(explained(phases=busy, loaders=alone), reached("cuda:0"), recipe=Recipe(workers=0)).kind == "compute"


def test_the_kernels_of_attention_are_those_recorded_or_else_those_of_the_operators() -> None:
    flash = cost(0, 8, operator="_scaled_dot_product_flash_attention", calls=12)
    backward = cost(0, 8, operator="_scaled_dot_product_flash_attention_backward", calls=12)
    efficient = cost(0, 8, operator="_scaled_dot_product_efficient_attention", calls=20)
    operators = (flash, backward, efficient)
    assert explain(explained(operators=operators)).attention == {"efficient": 20, "flash": 12}
    assert explain(explained(operators=operators, attention={"math": 3})).attention == {"math": 3}
    assert explain(explained()).attention == {}


def test_energy_has_a_spread() -> None:
    windows = EnergyWindow(10.0, 0.4, 4), EnergyWindow(12.0, 0.4, 4), EnergyWindow(11.0, 0.4, 4)
    analysis = explain(explained(energy=windows, meter="a meter", no_energy=""))
    assert analysis.joules is not None
    assert (analysis.joules.low, analysis.joules.value, analysis.joules.high) == (2.5, 2.75, 3.0)
    assert analysis.items_per_joule is not None
    assert analysis.items_per_joule.value == pytest.approx(16 / 11)
