"""Pairs of runs whose speeds differ for a reason: the reason is named, and where it leaves no ground, no verdict."""

from typing import Any

import pytest
from making import CPU, CUDA, cell, facts, failure, plan, prepared, rounds, run
from msgspec.structs import replace

from torchlap.judge.compare import Across, Change, Compared, compare, gate
from torchlap.reports.compare import as_text
from torchlap.runs.find import Named
from torchlap.schema.arm import Arm
from torchlap.schema.events import Conditions, Event, GpuConditions, Run
from torchlap.schema.machine import Facts, Power
from torchlap.schema.recipe import Recipe
from torchlap.schema.workload import Group, Identity

FACTORS = (1.0, 1.01, 0.99) * 9
MACHINE = facts(devices=(CPU, CUDA))


def of(
    seconds: float,
    *events: Event,
    device: str = "cpu",
    machine: Facts = MACHINE,
    laps: tuple[float, ...] = FACTORS,
    started: str = "2026-11-01T00:00:00+00:00",
    changes: dict[str, Any] | None = None,
    **preparation: Any,
) -> Run:
    """A run of one cell that takes about so many seconds a lap, with changes of its plan."""
    measured = [prepared(0, **preparation), *rounds([seconds * factor for factor in laps]), *events]
    known = run(measured, plan(Group((cell(device),)), **(changes or {})), machine)
    return replace(known, header=replace(known.header, started=started))


def files(before: Run, after: Run) -> Compared:
    return compare([Named("before", before), Named("after", after)])


def only(compared: Compared) -> Change:
    (change,) = compared.changes
    return change


def conditions(**known: Any) -> Conditions:
    quiet = {"others_cpu_share": 0.0, "swap_grown_bytes": 0, "on_battery": False, "power_saving": False}
    return Conditions(group=0, seconds=20.0, **(quiet | known))


def gpu(**known: Any) -> Conditions:
    return conditions(gpus=(GpuConditions(device="cuda:0", **known),))


LIMITED = facts(devices=(CPU, CUDA), usable_cores=2)

NO_GROUND = {
    "throttled before": (of(0.1, gpu(throttled_by=("power cap",)), device="cuda:0"), of(0.2, device="cuda:0"), "TL210"),
    "swapping": (of(0.1), of(0.2, conditions(swap_grown_bytes=300 << 20)), "TL212"),
    "a container of two cores": (of(0.1), of(0.2, machine=LIMITED, threads=2), "TL213"),
    "two speeds": (of(0.1), of(0.15, laps=(1.0, 1.005, 1.4) * 9), "TL205"),
    "others before": (of(0.2, conditions(others_cpu_share=0.4)), of(0.1), "TL208"),
}


@pytest.mark.parametrize("why", NO_GROUND)
def test_a_disturbed_side_leaves_no_ground_and_its_code_is_beside_the_row(why: str) -> None:
    before, after, code = NO_GROUND[why]
    compared = files(before, after)
    assert (only(compared).verdict, only(compared).codes) == ("inconclusive", (code,))
    assert gate(compared, 0.05) == "inconclusive"
    assert f"inconclusive ({code})" in as_text(compared, 120, color=False)


def own(inputs: str, sha256: str = "ab" * 32) -> dict[str, Any]:
    return {"identities": (Identity("resnet18", 7, sha256, (inputs,)),)}


def test_another_type_of_the_inputs_is_another_workload() -> None:
    before, after = (of(0.1 * (1 + i), changes=own(f"4x3x224x224 {t}")) for i, t in enumerate(("float32", "float64")))
    compared = files(before, after)
    assert only(compared).reason == "not the same workload: inputs 4x3x224x224 float32 vs. 4x3x224x224 float64"
    assert (only(compared).verdict, gate(compared, 0.05)) == ("inconclusive", "inconclusive")


def test_another_length_of_the_sequence_is_another_workload() -> None:
    def tokens(seq: int | None, seconds: float) -> Run:
        base = of(seconds)
        known = replace(base.header.plan.groups[0].cells[0], workload=cell().workload)
        long = replace(known, workload=replace(known.workload, model="hf:gpt2", seq=seq))
        return replace(base, header=replace(base.header, plan=replace(base.header.plan, groups=(Group((long,)),))))

    assert (
        only(files(tokens(128, 0.1), tokens(1024, 0.8))).reason == "not the same workload: 128 tokens vs. 1024 tokens"
    )
    assert only(files(tokens(None, 0.1), tokens(64, 0.1))).verdict == "inconclusive"
    assert only(files(tokens(128, 0.1), tokens(128, 0.2))).verdict == "slower"


NAMED = {
    "power while it was measured": (
        of(0.1, conditions()),
        of(0.2, conditions(on_battery=True)),
        "power not saving vs. saving (TL211)",
    ),
    "the GPU before": (
        of(0.1, gpu(busy_before=0.0), device="cuda:0"),
        of(0.2, gpu(busy_before=0.9, processes_before=1), device="cuda:0"),
        "GPU free vs. used by others (TL209, TL220)",
    ),
    "the first loss": (of(0.1), of(0.2, first_loss=6.9), "first loss 2.75 vs. 6.9"),
    "contents of the file": (
        of(0.1, changes=own("4x3x224x224 float32")),
        of(0.2, changes=own("4x3x224x224 float32", "cd" * 32)),
        "model file abababab vs. cdcdcdcd",
    ),
}


@pytest.mark.parametrize("why", NAMED)
def test_what_may_have_changed_the_speed_is_named_beside_the_verdict(why: str) -> None:
    before, after, words = NAMED[why]
    assert only(files(before, after)).verdict == "slower"
    assert words in only(files(before, after)).differences
    assert words not in only(files(before, before)).differences
    assert words in " ".join(as_text(files(before, after), 200, color=False).split())


def test_what_differs_between_the_machines_is_named() -> None:
    other = facts(devices=(CPU, CUDA), virtual=True, translated=True, power=Power(on_battery=True))
    first = facts(devices=(CPU, CUDA), packages={**MACHINE.packages, "numpy": "2.1"})
    other = replace(other, packages={**MACHINE.packages, "numpy": "2.2"})
    after = of(0.2, machine=other)
    after = replace(after, header=replace(after.header, torchlap="0.2.0"))
    assert files(of(0.1, machine=first), after).columns[1].differences == (
        "machine unknown vs. virtual",
        "Rosetta native vs. translated",
        "power plugged in vs. on battery",
        "numpy 2.1 vs. 2.2",
        "torchlap 0.1.0 vs. 0.2.0",
    )


def test_intervals_of_files_with_other_confidences_are_compared_at_95_percent() -> None:
    laps = (1.0, 1.2, 0.9, 1.1, 0.95, 1.05, 1.15, 0.85)
    sure, unsure = (
        only(files(of(0.1, laps=laps), of(0.11, laps=laps, changes={"confidence": confidence})))
        for confidence in (0.55, 0.99)
    )
    assert sure.interval == unsure.interval
    assert sure.verdict == "inconclusive"


def test_the_last_measured_is_the_last_in_time_wherever_its_clock_was() -> None:
    old = facts(packages={"torch": "2.12.0"})
    base = Named("base", of(0.1, machine=old, started="2026-10-01T00:00:00+00:00"))
    first = Named("first", of(0.2, started="2026-11-02T01:00:00+02:00"))  # 23:00 of the day before
    last = Named("last", of(0.1, started="2026-11-01T23:30:00Z"))
    for order in ((base, first, last), (base, last, first)):
        assert only(compare(order, across="torch")).ratio == pytest.approx(1.0)
    odd = Named("odd", of(0.2, started="some day"))
    assert only(compare((base, last, odd), across="torch")).ratio == pytest.approx(1.0)


def test_a_later_run_that_had_no_time_for_a_cell_has_not_measured_it() -> None:
    old = facts(packages={"torch": "2.12.0"})
    base = Named("base", of(0.1, machine=old))
    measured = Named("measured", of(0.1, started="2026-11-02T00:00:00+00:00"))
    late = run([failure(0, "no_time")], plan(Group((cell(),))), MACHINE)
    late = replace(late, header=replace(late.header, started="2026-11-03T00:00:00+00:00"))
    assert only(compare((base, measured, Named("late", late)), across="torch")).verdict == "same"
    crashed = replace(late, events=(failure(0, "crash"),))
    assert only(compare((base, measured, Named("crashed", crashed)), across="torch")).reason == "crashed: crash"


def of_arms(second: float, torch: tuple[str, str] = ("2.13.0", "2.14.0"), recipe: Recipe | None = None) -> Run:
    names = [f"torch {version}" for version in torch] if recipe is None else ["a", "b"]
    recipes = Recipe(), recipe or Recipe()
    cells = tuple(replace(cell(recipe=own), arm=name) for name, own in zip(names, recipes, strict=True))
    arms = tuple(Arm(name, packages={"torch": version}) for name, version in zip(names, torch, strict=True))
    laps = [[seconds * factor for factor in FACTORS] for seconds in (0.1, second)]
    return run([prepared(0), prepared(1), *rounds(*laps)], plan(Group(cells), arms=arms), MACHINE)


def test_across_torch_the_arms_of_an_upgrade_are_columns() -> None:
    compared = compare([Named("run", of_arms(0.2))], across="torch")
    assert [column.label for column in compared.columns] == ["torch 2.13.0", "torch 2.14.0"]
    assert (only(compared).verdict, only(compared).reason) == ("slower", "paired")


def test_what_the_arms_of_two_runs_have_is_named() -> None:
    runs = [of_arms(0.1, torch, Recipe("bf16")) for torch in (("2.13.0", "2.13.0"), ("2.13.0", "2.14.0"))]
    first, second = files(*runs).changes
    assert "torch 2.13.0 vs. 2.14.0" not in first.differences
    assert "torch 2.13.0 vs. 2.14.0" in second.differences


def test_across_recipes_and_devices_a_disturbed_run_has_no_verdict_either() -> None:
    for cells in ((cell(), cell(recipe=Recipe("bf16"))), (cell(), cell("cuda:0"))):
        laps = [[seconds * factor for factor in FACTORS] for seconds in (0.2, 0.1)]
        events: list[Event] = [prepared(0), prepared(1), *rounds(*laps), conditions(others_cpu_share=0.6)]
        measured = run(events, plan(Group(cells)), MACHINE)
        across: Across = "recipe" if cells[0].device == cells[1].device else "devices"
        change = only(compare([Named("run", measured)], across=across))
        assert (change.verdict, change.codes) == ("inconclusive", ("TL208",))


def test_a_certain_ratio_has_its_limits_however_wide_and_no_tilde() -> None:
    wide = (1.0, 1.9, 0.5)
    compared = files(of(3.0, laps=wide), of(0.01, laps=wide))
    assert only(compared).verdict == "faster"
    row = next(
        line for line in as_text(compared, 120, color=False).splitlines() if "faster" in line and "resnet" in line
    )
    ratio = row.rpartition("x (")[0].split()[-1]
    assert not ratio.startswith("~")


def test_the_only_accelerator_of_each_side_is_compared_whichever_it_is() -> None:
    machine = facts(devices=(CPU, CUDA, replace(CUDA, name="cuda:1")))
    first, second = of(0.1, device="cuda:0", machine=machine), of(0.2, device="cuda:1", machine=machine)
    change = only(files(first, second))
    assert (change.before_device, change.device, change.verdict) == ("cuda:0", "cuda:1", "slower")
    assert "cuda:0, cuda:1" in as_text(files(first, second), 120, color=False)
