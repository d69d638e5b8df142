"""Comparing runs: which cells belong together, the verdict, and what differs."""

from typing import Any

import numpy as np
import pytest
from judge.speeds import at, compared_with
from making import CPU, CUDA, FACTS, FAULT, MPS, cell, explained, facts, failure, header, plan, prepared, rounds, run
from msgspec.structs import replace

import torchlap
from torchlap.judge.compare import Change, compare, gate, slower_by
from torchlap.judge.measurement import void, voided
from torchlap.runs.find import Named
from torchlap.schema.arm import Arm
from torchlap.schema.events import Conditions, Event, NumericsChecked, Round, Run
from torchlap.schema.machine import Facts, Power
from torchlap.schema.numerics import Numerics
from torchlap.schema.recipe import Recipe
from torchlap.schema.workload import Group, Identity
from torchlap.stats import Interval, lap_interval, unpaired_ratio

PUBLISHED = {
    ("vgg16", 4): 5.19,
    ("alexnet", 4): 3.36,
    ("resnet18", 4): 2.26,
    ("mobilenet_v2", 4): 4.95,
    ("efficientnet_b0", 4): 3.40,
    ("vgg16", 64): 6.10,
    ("alexnet", 64): 3.63,
    ("resnet18", 64): 6.12,
    ("mobilenet_v2", 64): 25.49,
    ("efficientnet_b0", 64): 19.19,
}


def test_the_speed_ups_of_the_2022_experiment_follow_from_its_seconds() -> None:
    compared = torchlap.compare("experiment-2022", across="devices")
    ratios = {(change.model, change.batch): change.ratio for change in compared.changes}
    assert {place: round(ratio or 0, 2) for place, ratio in ratios.items()} == PUBLISHED
    assert {change.verdict for change in compared.changes} == {"inconclusive"}  # one epoch has no spread
    assert "protocol is unsound" in compared.columns[0].published
    assert "224.99%" in compared.columns[0].published
    slow = {change.model: change.before for change in compared.changes if change.batch == 64}
    assert slow["mobilenet_v2"] == pytest.approx(1000 / 436.72195410728455)  # its last batch is not full


@pytest.mark.parametrize(
    ("after", "verdict"),
    [
        (100.0, "same"),
        (101.0, "same"),
        (112.0, "faster"),
        (89.0, "slower"),
        (106.0, "inconclusive"),
        (94.0, "inconclusive"),
    ],
)
def test_the_verdict_depends_on_the_whole_interval(after: float, verdict: str) -> None:
    (change,) = compared_with(at(100.0), at(after)).changes
    assert change.verdict == verdict
    assert change.ratio == pytest.approx(after / 100)
    assert change.interval is not None
    assert change.interval.low < change.interval.value < change.interval.high


def test_with_a_wider_band_more_is_the_same() -> None:
    assert compared_with(at(100.0), at(106.0), band=0.2).changes[0].verdict == "same"


def test_only_certain_changes_are_slower() -> None:
    for speed, expected in ((93.0, 0), (80.0, 1)):
        assert len(slower_by(compared_with(at(100.0), at(speed)), 0.05)) == expected


def test_accelerators_belong_together_whatever_their_names() -> None:
    mac = facts(devices=(CPU, MPS), cpu="Apple M1 Max")
    first, second = compared_with(at(10.0, 100.0), at(20.0, 50.0, machine=mac)).changes
    assert (first.before_device, first.device) == ("cpu", "cpu")
    assert (second.before_device, second.device) == ("cuda:0", "mps")
    assert first.ratio == pytest.approx(2.0)
    assert second.ratio == pytest.approx(0.5)


def test_cells_whose_data_arrives_differently_are_compared_and_the_difference_is_named() -> None:
    (change,) = compared_with(at(100.0), at(50.0, recipe=Recipe(workers=4))).changes
    assert change.differences == ("data resident vs. workers:4",)
    compared = compared_with(at(100.0), at(50.0, recipe=Recipe("bf16")))
    assert compared.changes == ()
    assert compared.unmatched == ("before: resnet18, batch 4, cpu", "after: resnet18, batch 4, cpu, bf16")


def test_differences_between_machines_are_named() -> None:
    other = facts(packages={"torch": "2.15.0", "torchvision": "0.28.0"}, power=Power(on_battery=True))
    after = compared_with(at(100.0), at(100.0, machine=other)).columns[1]
    assert after.differences == ("torch 2.13.0 vs. 2.15.0", "power plugged in vs. on battery")
    assert compared_with(at(100.0), at(100.0)).columns[1].differences == ()


def test_a_void_or_failed_cell_is_inconclusive() -> None:
    broken = run([failure(0, "out_of_memory")], plan(Group((cell(),))))
    (change,) = compared_with(at(100.0), broken).changes
    assert (change.verdict, change.ratio, change.reason) == ("inconclusive", None, "after: out of memory")
    nan = run([prepared(0), *rounds([0.1] * 8), failure(0, "not_finite")], plan(Group((cell(),))))
    assert compared_with(nan, at(100.0)).changes[0].reason == "before: void (TL215)"


def test_across_devices_the_speed_up_of_the_run_is_used() -> None:
    (change,) = compare([Named("a", at(10.0, 55.0))], across="devices").changes
    assert (change.reason, change.verdict, change.column) == ("paired", "faster", "NVIDIA H200")
    assert change.ratio == pytest.approx(5.5)


def test_across_torch_and_machines_the_latest_run_counts() -> None:
    newer = facts(packages={"torch": "2.15.0"})
    runs = [
        Named(name, measured)
        for name, measured in (("a", at(100.0)), ("b", at(150.0)), ("c", at(300.0, machine=newer)))
    ]
    compared = compare(runs, across="torch")
    assert [column.label for column in compared.columns] == ["torch 2.13.0", "torch 2.15.0"]
    assert compared.changes[0].ratio == pytest.approx(2.0)
    other = facts(cpu="Slow Processor 1", devices=(CPU,))
    compared = compare([Named("a", at(100.0)), Named("b", at(50.0, machine=other))], across="machine")
    assert [column.label for column in compared.columns] == ["Fast Processor 9 + NVIDIA H200", "Slow Processor 1"]


def changed(seconds: float, *events: Event, machine: Facts = FACTS, **preparation: Any) -> Named:
    """A run of a CPU at that many seconds a lap."""
    laps = [seconds * factor for factor in (1.0, 1.01, 0.99) * 9]
    return Named("after", run([prepared(0, **preparation), *rounds(laps), *events], plan(Group((cell(),))), machine))


def of_conditions(share: float) -> Conditions:
    return Conditions(
        group=0, seconds=20.0, others_cpu_share=share, swap_grown_bytes=0, on_battery=False, power_saving=False
    )


SLOWER_FOR_A_REASON = {
    "busy": (changed(0.05, of_conditions(0.6)), "other processes used the CPU (TL208"),
    "another input": (changed(0.05, input_shape=(4, 3, 48, 48)), "input 4x3x224x224 vs. 4x3x48x48"),
    "another layer": (changed(0.05, parameters=448), "11,689,512 vs. 448 parameters"),
}


@pytest.mark.parametrize("why", SLOWER_FOR_A_REASON)
def test_what_made_a_side_slower_is_named_and_leaves_no_ground_for_a_verdict(why: str) -> None:
    after, reason = SLOWER_FOR_A_REASON[why]
    compared = compare([Named("before", at(100.0)), after])
    (change,) = compared.changes
    assert (change.verdict, change.ground) == ("inconclusive", None)
    assert reason in change.reason
    assert change.interval is not None
    assert (slower_by(compared, 0.05), gate(compared, 0.05)) == ((), "inconclusive")


def test_a_drift_is_named_too() -> None:
    laps = [0.04 * (1 + 0.02 * number) for number in range(27)]
    after = Named("after", run([prepared(0), *rounds(laps)], plan(Group((cell(),)))))
    (change,) = compare([Named("before", at(100.0)), after]).changes
    assert (change.verdict, change.codes) == ("inconclusive", ("TL204",))


def test_settings_that_differ_are_named_beside_the_verdict() -> None:
    after = changed(0.08, memory_format="channels_last", threads=1, steady=False)
    planned = replace(after.run.header.plan, data="synthetic", weights="pretrained")
    after = Named("after", replace(after.run, header=replace(after.run.header, plan=planned)))
    (change,) = compare([Named("before", at(100.0)), after]).changes
    assert change.verdict == "slower"
    assert change.differences == (
        "data mnist-1k vs. synthetic",
        "weights random vs. pretrained",
        "threads 8 vs. 1",
        "memory format contiguous vs. channels_last",
        "warm-up steady vs. cut short (TL203)",
    )


def test_two_devices_of_one_model_have_a_column_each() -> None:
    second = replace(CUDA, name="cuda:1")
    machine = facts(devices=(CPU, CUDA, second))
    compared = compare([Named("a", at(10.0, 100.0, 50.0, machine=machine))], across="devices")
    labels = [column.label for column in compared.columns]
    assert labels == ["Fast Processor 9", "NVIDIA H200 (cuda:0)", "NVIDIA H200 (cuda:1)"]
    assert [round(change.ratio or 0) for change in compared.changes] == [10, 5]


def test_of_several_runs_in_a_column_the_one_measured_last_counts() -> None:
    old = facts(packages={"torch": "2.13.0"})
    first, new, earlier = at(100.0, machine=old), at(100.0), at(50.0)
    new = replace(new, header=replace(new.header, started="2026-11-20T00:00:00+00:00"))
    earlier = replace(earlier, header=replace(earlier.header, started="2026-11-02T00:00:00+00:00"))
    other = replace(first, header=replace(first.header, facts=facts(packages={"torch": "2.12.0"})))
    for runs in ((other, new, earlier), (other, earlier, new)):
        compared = compare([Named(str(number), of_run) for number, of_run in enumerate(runs)], across="torch")
        assert [change.ratio for change in compared.changes] == [pytest.approx(1.0)]


def test_across_recipes_cells_of_one_run_are_paired() -> None:
    recipes = (Recipe(), Recipe("bf16"))
    group = Group(tuple(cell("cuda:0", recipe=recipe) for recipe in recipes))
    measured = run([prepared(0), prepared(1), *rounds([0.02] * 9, [0.01] * 9)], plan(group))
    compared = compare([Named("a", measured)], across="recipe")
    (change,) = compared.changes
    assert [column.label for column in compared.columns] == ["fp32", "bf16"]
    assert (change.verdict, change.reason, change.recipe) == ("faster", "paired", "fp32, bf16")


def test_a_published_figure_says_something_only_where_it_is_far_away() -> None:
    published = at(100.0)
    lap = [event for event in published.events if not isinstance(event, Round)][:1]
    published = run([*lap, *rounds([0.04])], plan(Group((cell(),))))
    published = replace(published, header=replace(published.header, published="a write-up"))
    for speed, verdict in ((750.0, "faster"), (140.0, "inconclusive"), (40.0, "slower")):
        compared = compare([Named("before", published), Named("after", at(speed))])
        assert (compared.changes[0].verdict, compared.changes[0].interval) == (verdict, None)
        assert compared.changes[0].reason == "before: published without a spread"
        assert slower_by(compared, 0.05) == ()


def test_an_unpaired_interval_contains_the_true_ratio() -> None:
    generator, held = np.random.default_rng(1), 0
    for _ in range(300):
        first, second = (list(np.exp(generator.normal(mean, 0.03, 18))) for mean in (0.0, 0.2))
        ratio = unpaired_ratio(lap_interval(second), lap_interval(first))
        held += ratio.low <= np.exp(0.2) <= ratio.high
    assert held >= 0.93 * 300


def test_variation_between_runs_widens_the_interval() -> None:
    exact = Interval(2.0, 2.0, 2.0, 8)
    assert unpaired_ratio(exact, Interval(1.0, 1.0, 1.0, 8)).half_width == 0.0
    assert unpaired_ratio(exact, exact, between=0.03).half_width == pytest.approx(0.03)


def test_arms_that_were_started_only_once_may_differ_by_their_processes() -> None:
    cells = tuple(replace(cell(), arm=arm) for arm in ("a", "b"))
    laps = [0.1 * factor for factor in (1.0, 1.002, 0.998, 1.0, 1.001, 0.999, 1.0, 1.0)]
    once = rounds(laps, [1.07 * lap for lap in laps])
    often = [replace(of_round, start=start) for start in range(3) for of_round in once]
    found = []
    for events in (once, often):
        measured = run([prepared(0), prepared(1), *events], plan(Group(cells), arms=(Arm("a"), Arm("b"))))
        (change,) = compare([Named("run", measured)], across="arm").changes
        found.append((change.verdict, round(change.interval.half_width, 2) if change.interval else None))
    assert found == [("inconclusive", 0.04), ("slower", 0.0)]


def test_cpus_of_virtual_machines_differ_more_from_run_to_run() -> None:
    guest = facts(virtual=True)
    cpu, accelerator = compared_with(at(10.0, 100.0, machine=guest), at(8.0, 80.0, machine=guest)).changes
    assert (cpu.verdict, accelerator.verdict) == ("inconclusive", "slower")
    assert compared_with(at(10.0), at(6.0, machine=guest)).changes[0].verdict == "slower"
    assert compared_with(at(10.0), at(8.0)).changes[0].verdict == "slower"


def test_every_change_is_plain_data() -> None:
    (change, _) = compared_with(at(10.0, 100.0), at(10.0, 70.0)).changes
    assert isinstance(change, Change)
    assert header().published == ""


def test_a_void_cell_is_void_by_both_functions() -> None:
    nan = run([prepared(0), *rounds([0.1] * 8), failure(0, "not_finite")], plan(Group((cell(),))))
    wrong = run(
        [
            prepared(1),
            *rounds([0.1] * 8, [0.1] * 8),
            NumericsChecked(group=0, cell=1, numerics=Numerics(faults=(FAULT,))),
        ]
    )
    for judged in (nan, wrong, at(10.0, 20.0)):
        results = [result for group in torchlap.figures(judged) for result in group.cells]
        codes = {str(result.cell): voided(result) for result in results if voided(result)}
        assert codes == void(torchlap.findings(judged))


def test_other_kernels_of_attention_are_named_where_both_sides_have_some() -> None:
    def using(*kernels: str) -> Run:
        of = at(100.0)
        return replace(of, events=(*of.events, explained(attention=dict.fromkeys(kernels, 12))))

    assert compared_with(using("flash"), using("math", "flash")).changes[0].differences == (
        "attention kernels flash vs. flash + math",
    )
    for after in (using("flash"), using()):
        assert compared_with(using("flash"), after).changes[0].differences == ()


def test_a_file_with_other_contents_under_the_same_name_is_named() -> None:
    before, after = (with_file_hash(at(10.0, 20.0), sha256) for sha256 in ("ab" * 32, "cd" * 32))
    assert "model file abababab vs. cdcdcdcd" in compared_with(before, after).changes[0].differences
    assert compared_with(before, before).changes[0].differences == ()


def with_file_hash(of: Run, sha256: str) -> Run:
    """The run, as if its model came from a file with this hash."""
    identities = (Identity(of.header.plan.groups[0].cells[0].workload.model, 7, sha256),)
    return replace(of, header=replace(of.header, plan=replace(of.header.plan, identities=identities)))
