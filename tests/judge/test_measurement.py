"""For each finding, a test that injects its cause, and a test without it."""

from collections.abc import Sequence
from math import exp

import pytest
from making import CPU, CUDA, MPS, cell, facts, failure, header, pair, plan, prepared, rounds, run
from msgspec.structs import replace
from numpy.random import default_rng

from torchlap.judge.findings import Finding
from torchlap.judge.machine import devices
from torchlap.judge.measurement import CATALOGUE, findings, void
from torchlap.judge.measurement.laps import COLD, FEW_ROUNDS
from torchlap.runs.figures import figures
from torchlap.schema.events import ClockJumped, Conditions, Event, GpuConditions, Lap, Round, Run, Watched
from torchlap.schema.machine import Facts
from torchlap.schema.recipe import Recipe
from torchlap.schema.workload import Group, Plan

WHERE = "resnet18, batch 4, cpu", "resnet18, batch 4, cuda:0"
BOTH = "resnet18, batch 4"
SLOW, FAST = [0.1] * 12, [0.02] * 12


def codes(judged: Run) -> list[tuple[str, str]]:
    return [(finding.code, finding.where) for finding in findings(judged)]


def quiet(count: int = 12, seed: int = 1, centre: float = 0.1, sigma: float = 0.004) -> list[float]:
    """Lap seconds of a quiet machine."""
    return [centre * exp(sigma * value) for value in default_rng(seed).standard_normal(count)]


def with_code(
    code: str, events: Sequence[Event], planned: Plan | None = None, machine: Facts | None = None
) -> list[Finding]:
    return [finding for finding in findings(run(events, planned, machine or facts())) if finding.code == code]


def conditions(**changes: object) -> Conditions:
    calm = Conditions(
        group=0,
        seconds=4.0,
        others_cpu_share=0.02,
        swap_grown_bytes=0,
        on_battery=False,
        power_saving=False,
        gpus=(GpuConditions(device="cuda:0", busy_before=0.0),),
    )
    return replace(calm, **changes)


def test_a_sound_run_with_an_accelerator_has_no_findings() -> None:
    assert findings(run([prepared(0), prepared(1), *rounds(SLOW, FAST), conditions()])) == ()


def test_a_quiet_machine_gives_no_false_alarm_in_twenty_runs() -> None:
    for seed in range(20):
        cpu, gpu = quiet(41, 2 * seed), quiet(41, 2 * seed + 1, centre=0.02)
        assert codes(run([prepared(0), prepared(1), *rounds(cpu, gpu), conditions()])) == []


def test_without_an_accelerator_the_finding_says_what_torch_was_asked_for() -> None:
    machine = facts(devices=(CPU,), looked_for="Looked for CUDA (no driver).")
    evidence = "The CPU is the only device. Looked for CUDA (no driver)."
    assert findings(run(machine=machine)) == (devices.NO_ACCELERATOR.finding("", evidence),)


def test_any_accelerator_counts() -> None:
    for device in (CUDA, MPS):
        assert findings(run(machine=facts(devices=(CPU, device)))) == ()


def test_fewer_than_eight_laps_are_few() -> None:
    few = run([*rounds([0.1] * 8, [0.02, 0.02, 0.02, *[None] * 5])])
    assert findings(few) == (FEW_ROUNDS.finding(WHERE[1], "3 laps, fewer than 8"),)


def test_a_cell_without_a_result_has_no_finding_about_few_laps() -> None:
    assert codes(run([*rounds([0.1] * 8, [0.02, *[None] * 7])])) == []
    assert codes(run([*rounds([0.1] * 3, [0.02] * 3), failure(0), failure(1)])) == []


def test_an_interval_wider_than_the_target_is_reported_with_its_width() -> None:
    wide = [0.1, 0.13] * 4
    (finding,) = with_code("TL202", rounds(wide, [0.02] * 8), plan(pair(), precision_target=0.1))[:1]
    assert (finding.where, finding.evidence) == (WHERE[0], "half-width 13.1%, target 10.0%, 8 laps")
    assert with_code("TL202", rounds(wide, [0.02] * 8), plan(pair(), precision_target=0.2)) == []


def test_rare_slow_steps_belong_to_the_throughput_and_are_reported() -> None:
    checkpoints = [0.1] * 9 + [0.5]
    events = rounds(checkpoints * 2, [0.02] * 20)
    (finding,) = with_code("TL221", events)
    assert (finding.where, finding.evidence) == (WHERE[0], "1.40x as fast without the slowest of 20 laps")
    throughput = figures(run(events))[0].cells[0].throughput
    assert throughput is not None
    assert throughput.value == pytest.approx(4 * 20 / sum(checkpoints * 2))
    assert throughput.low < throughput.value < throughput.high


def test_a_loss_of_zero_from_the_first_step_is_reported() -> None:
    (finding,) = with_code("TL222", [prepared(0, first_loss=0.0), *rounds([0.1] * 8, loss=0.0)], plan(Group((cell(),))))
    assert finding.evidence == "0 in all 8 laps"
    assert with_code("TL222", [prepared(0, first_loss=0.0), *rounds([0.1] * 8, loss=0.5)], plan(Group((cell(),)))) == []


def test_a_wide_speed_up_is_reported_even_if_the_throughput_is_narrow_enough() -> None:
    slow, fast = [0.1, 0.104] * 4, [0.0208, 0.02] * 4
    assert codes(run(rounds(slow, fast), plan(pair(), precision_target=0.035))) == [("TL202", WHERE[1])]


def test_a_wide_interval_of_few_laps_is_reported_once_as_few_laps() -> None:
    assert codes(run(rounds([0.1, 0.2], [0.02] * 2))) == [("TL201", WHERE[0]), ("TL201", WHERE[1])]


def test_a_warm_up_that_was_cut_short_is_reported_with_its_steps() -> None:
    cut = prepared(1, steady=False, warm_up_steps=1, warm_up_seconds=3.25)
    assert findings(run([prepared(0), cut, *rounds(SLOW, FAST)])) == (
        COLD.finding(WHERE[1], "1 step of warm-up in 3.2 s"),
    )
    longer = prepared(1, steady=False, warm_up_steps=7, warm_up_seconds=3.25)
    assert findings(run([longer, *rounds(SLOW, FAST)]))[0].evidence == "7 steps of warm-up in 3.2 s"


def test_a_cold_cell_without_a_result_has_no_finding() -> None:
    assert findings(run([prepared(0, steady=False), prepared(1, steady=False)])) == ()


def slowing(laps: list[float], by: float = 1.2) -> list[float]:
    return [lap * by ** (place / (len(laps) - 1)) for place, lap in enumerate(laps)]


def test_if_both_devices_slow_down_their_speeds_drift_but_the_speed_up_does_not() -> None:
    events = rounds(slowing(quiet()), slowing(quiet(seed=2, centre=0.02)))
    drifting = [pair for pair in codes(run(events)) if pair[0] in ("TL204", "TL207")]
    assert drifting == [("TL204", WHERE[0]), ("TL204", WHERE[1])]
    assert with_code("TL204", events)[0].evidence.startswith("0.83x as fast at the end as at the start, over 12 laps")


def test_if_one_side_slows_down_the_speed_up_drifts() -> None:
    events = rounds(quiet(), slowing(quiet(seed=2, centre=0.02)))
    assert [finding.where for finding in with_code("TL207", events)] == [WHERE[1]]
    assert [finding.where for finding in with_code("TL204", events)] == [WHERE[1]]


def test_a_slight_trend_or_one_of_few_laps_is_not_reported() -> None:
    assert with_code("TL204", rounds(slowing(quiet(), 1.03), FAST)) == []
    assert with_code("TL204", rounds(slowing(quiet(7), 1.5), [0.02] * 7)) == []


def test_laps_of_two_speeds_are_reported_with_both() -> None:
    laps = [lap * (1.2 if place % 3 == 0 else 1.0) for place, lap in enumerate(quiet(18))]
    (finding,) = with_code("TL205", rounds(laps, [0.02] * 18))
    assert (finding.where, finding.evidence) == (
        WHERE[0],
        "33.4 and 40 images/s, with 67% of the laps at the higher speed",
    )


def test_two_speeds_of_thousands_are_written_out() -> None:
    laps = [lap * (1.2 if place % 3 == 0 else 1.0) / 100 for place, lap in enumerate(quiet(18))]
    (finding,) = with_code("TL205", rounds(laps, [0.02] * 18))
    assert finding.evidence.startswith("3340 and 4000 images/s")


def test_speeds_have_the_unit_of_the_workload() -> None:
    tokens = Group(tuple(replace(known, workload=replace(known.workload, unit="tokens")) for known in pair().cells))
    larger = Group(tuple(replace(known, workload=replace(known.workload, batch=64)) for known in tokens.cells))
    laps = [lap * (1.2 if place % 3 == 0 else 1.0) for place, lap in enumerate(quiet(18))]
    events = [*rounds(laps, [0.02] * 18), *rounds(laps, [0.04] * 18, group=1)]
    two_speeds, _ = with_code("TL205", events, plan(tokens, larger))
    assert two_speeds.evidence.startswith("33.4 and 40 tokens/s")
    (small_batch,) = with_code("TL219", events, plan(tokens, larger))
    assert small_batch.evidence == "batch 64 reaches 8.0x as many tokens/s"


def test_two_disturbed_laps_or_steps_of_a_clock_are_not_two_speeds() -> None:
    disturbed = quiet(18)
    disturbed[3] *= 1.3
    disturbed[9] *= 1.3
    assert with_code("TL205", rounds(disturbed, [0.02] * 18)) == []
    assert with_code("TL205", rounds([0.1, 0.103] * 9, [0.02] * 18)) == []


def test_correlated_laps_are_reported() -> None:
    waves = [0.1 * exp(0.03 * (1 if place // 4 % 2 else -1)) for place in range(24)]
    (finding,) = with_code("TL206", rounds(waves, [0.02] * 24))[:1]
    assert finding.where == WHERE[0]
    assert finding.evidence.endswith("from lap to lap, over 24 laps")
    assert with_code("TL206", rounds(quiet(24), quiet(24, 2, 0.02))) == []


def test_other_processes_that_use_more_than_a_tenth_of_the_cpu_are_reported() -> None:
    (finding,) = with_code("TL208", [*rounds(SLOW, FAST), conditions(others_cpu_share=0.37)])
    assert (finding.where, finding.evidence) == (BOTH, "37% of all cores over 4.0 s")
    for share in (None, 0.0, 0.1):
        assert with_code("TL208", [*rounds(SLOW, FAST), conditions(others_cpu_share=share)]) == []


def on_gpu(**changes: object) -> list[Event]:
    gpu = replace(GpuConditions(device="cuda:0", busy_before=0.0), **changes)
    return [*rounds(SLOW, FAST), conditions(gpus=(gpu,))]


@pytest.mark.parametrize(
    ("code", "changes", "evidence"),
    [
        ("TL209", {"processes_before": 1}, "1 other process before the first cell"),
        ("TL209", {"processes_before": 2}, "2 other processes before the first cell"),
        ("TL210", {"throttled_by": ("power cap", "power brake")}, "power cap, power brake"),
        ("TL220", {"busy_before": 0.93}, "93% busy before the first cell"),
    ],
)
def test_what_the_driver_reports_about_a_gpu_is_a_finding(code: str, changes: dict[str, object], evidence: str) -> None:
    (finding,) = with_code(code, on_gpu(**changes))
    assert (finding.where, finding.evidence) == (WHERE[1], evidence)


def test_a_gpu_that_is_idle_or_cannot_be_read_has_no_findings() -> None:
    assert findings(run(on_gpu())) == findings(run(on_gpu(busy_before=None))) == ()


@pytest.mark.parametrize(
    ("changes", "evidence"),
    [
        ({"on_battery": True}, "on battery"),
        ({"power_saving": True}, "low-power mode"),
        ({"on_battery": True, "power_saving": True}, "on battery and low-power mode"),
    ],
)
def test_power_saving_is_reported(changes: dict[str, object], evidence: str) -> None:
    assert [finding.evidence for finding in with_code("TL211", [conditions(**changes)])] == [evidence]
    assert with_code("TL211", [conditions(on_battery=None, power_saving=None)]) == []


def test_swap_that_grew_is_reported_unless_it_grew_little() -> None:
    (finding,) = with_code("TL212", [conditions(swap_grown_bytes=300 << 20)])
    assert finding.evidence == "300 MiB in 4 s"
    for grown in (None, -(300 << 20), 1 << 20):
        assert with_code("TL212", [conditions(swap_grown_bytes=grown)]) == []


@pytest.mark.parametrize(
    ("machine", "threads", "evidence"),
    [
        (facts(environment={"OMP_NUM_THREADS": "1"}), 1, "1 thread on 8 cores (OMP_NUM_THREADS=1)"),
        (facts(usable_cores=2), 2, "2 threads on 8 cores (2 usable)"),
    ],
)
def test_a_cpu_with_fewer_threads_than_cores_is_reported(machine: Facts, threads: int, evidence: str) -> None:
    (finding,) = with_code("TL213", [prepared(0, threads=threads), prepared(1, threads=threads)], machine=machine)
    assert (finding.where, finding.evidence) == (WHERE[0], evidence)


def test_a_cpu_with_all_its_cores_or_its_fast_ones_is_not_limited() -> None:
    assert with_code("TL213", [prepared(0, threads=8)], machine=facts(environment={"OMP_NUM_THREADS": "8"})) == []
    assert with_code("TL213", [prepared(0, threads=4)], machine=facts(devices=(CPU, MPS))) == []


def test_operators_that_fell_back_to_the_cpu_are_named() -> None:
    warned = "The operator 'aten::x' will fall back to run on the CPU."
    (finding,) = with_code("TL214", [prepared(1, fallbacks=(warned,))])
    assert (finding.where, finding.evidence) == (WHERE[1], warned)
    assert with_code("TL214", [prepared(1)]) == []


def test_a_loss_that_is_not_finite_makes_the_result_void() -> None:
    events: list[Event] = [*rounds(SLOW, FAST), failure(1, "not_finite", "The loss is nan.")]
    all_findings = findings(run(events))
    assert [(finding.code, finding.severity, finding.where) for finding in all_findings] == [
        ("TL215", "error", WHERE[1])
    ]
    assert void(all_findings) == {WHERE[1]: "TL215"}


def test_other_findings_void_no_result() -> None:
    assert void(findings(run([*rounds([0.1, 0.2], [0.02] * 2), failure(1)], machine=facts(devices=(CPU,))))) == {}


def learning(losses: list[float], first: float = 2.3, steps: int = 20) -> list[Event]:
    laps = [Round(0, 0.0, (Lap(0, steps, 0.1 * steps, loss), Lap(1, 1, 0.02, 2.0))) for loss in losses]
    return [prepared(0, first_loss=first), prepared(1), *laps]


def test_a_loss_that_does_not_decrease_is_reported_after_enough_steps() -> None:
    (finding,) = with_code("TL216", learning([2.4, 2.2, 2.3] * 4))
    assert (finding.where, finding.evidence) == (WHERE[0], "2.3 at first, 2.3 after 250 steps")


@pytest.mark.parametrize(
    "events",
    [
        learning([2.3, 1.5, 0.9, 0.7] * 3),
        learning([2.3] * 12, steps=5),
        learning([2.3] * 7, steps=100),
    ],
)
def test_a_loss_that_decreases_or_has_had_few_steps_is_not_reported(events: list[Event]) -> None:
    assert with_code("TL216", events) == []


def test_in_eval_the_loss_need_not_decrease() -> None:
    eval_pair = Group((cell(phase="eval"), cell("cuda:0", phase="eval")))
    assert with_code("TL216", learning([2.3] * 12), plan(eval_pair)) == []


def watched(enqueue: float, wait: float = 0.001, step: float = 0.1) -> Watched:
    return Watched(step_seconds=step, enqueue_seconds=enqueue, input_wait_seconds=wait)


def test_a_step_that_waits_for_its_loader_is_reported() -> None:
    through_loader = plan(Group((cell(recipe=Recipe(workers=2)),)))
    (finding,) = with_code("TL217", [prepared(0, watched=watched(0.1, 0.06))], through_loader)
    assert finding.evidence == "60 ms of a 100 ms step"
    assert with_code("TL217", [prepared(0, watched=watched(0.1, 0.01))], through_loader) == []


def test_a_step_that_takes_as_long_to_enqueue_as_to_run_is_launch_bound() -> None:
    (finding,) = with_code("TL218", [prepared(1, watched=watched(0.097))])
    assert (finding.where, finding.evidence) == (WHERE[1], "96 ms to enqueue a 100 ms step")
    assert with_code("TL218", [prepared(1, watched=watched(0.04))]) == []
    assert with_code("TL218", [prepared(0, watched=watched(0.1))]) == []


def test_a_wait_for_the_loader_is_not_called_launch_bound() -> None:
    through_loader = plan(Group((cell(), cell("cuda:0", recipe=Recipe(workers=2)))))
    assert with_code("TL218", [prepared(1, watched=watched(0.1, 0.08))], through_loader) == []


def test_a_batch_that_leaves_most_of_the_device_idle_is_reported() -> None:
    events = [*rounds(SLOW, FAST), *rounds([1.6] * 12, [0.04] * 12, group=1)]
    (finding,) = with_code("TL219", events, plan(pair(), pair(batch=64)))
    assert (finding.where, finding.evidence) == (WHERE[1], "batch 64 reaches 8.0x as many images/s")
    even = [*rounds(SLOW, FAST), *rounds([1.6] * 12, [0.25] * 12, group=1)]
    assert with_code("TL219", even, plan(pair(), pair(batch=64))) == []


def test_findings_are_sorted_by_code() -> None:
    events: list[Event] = [prepared(0, steady=False), prepared(1, steady=False), *rounds([0.1, 0.2], [0.02] * 2)]
    both = plan(pair(), pair(batch=64), precision_target=0.001)
    events += rounds([0.1, 0.2] * 4, [0.02] * 8, group=1)
    in_order = [finding.code for finding in findings(run(events, both, facts(devices=(CPU,))))]
    assert in_order == ["TL101", "TL201", "TL201", "TL202", "TL202", "TL203", "TL203", "TL219", "TL221"]


def test_the_catalogue_has_each_code_once_sorted_and_with_a_remedy() -> None:
    in_order = [rule.code for rule in CATALOGUE]
    assert in_order == sorted(set(in_order))
    assert all(rule.remedy.endswith(".") and rule.why.endswith(".") for rule in CATALOGUE)


def test_a_run_without_events_is_judged_too() -> None:
    assert findings(Run(header())) == ()


@pytest.mark.parametrize(
    ("asleep", "wall", "evidence"),
    [
        (40.0, 0.0, "asleep for 40 s; 1 turn was left out"),
        (0.0, -3600.0, "clock moved by -3600 s; 1 turn was left out"),
    ],
)
def test_a_turn_in_which_the_machine_slept_is_reported_and_counts_for_nothing(
    asleep: float, wall: float, evidence: str
) -> None:
    laps = (Lap(1, 1, 5.0, 1.0),)
    jump = ClockJumped(group=0, cell=1, at_seconds=9.0, asleep_seconds=asleep, wall_seconds=wall, laps=laps)
    events: list[Event] = [prepared(0), prepared(1), *rounds(SLOW, FAST), jump, conditions()]
    (finding,) = with_code("TL225", events)
    assert (finding.where, finding.evidence) == (WHERE[1], evidence)
    assert figures(run(events))[0].cells[1].laps == figures(run(events[:-2]))[0].cells[1].laps
    assert not with_code("TL225", events[:-2])
