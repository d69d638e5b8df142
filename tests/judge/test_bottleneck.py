"""The bottleneck: the rule, its advice, and how reports show it."""

import json
from typing import Any, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from making import cell, explained, plan, prepared, reached, rounds, run
from msgspec.structs import replace
from support import ROOT

from torchlap import figures
from torchlap.judge.bottleneck import Bottleneck, bottleneck
from torchlap.reports.run import terminal
from torchlap.reports.run.bottleneck import binary, scaled, significant
from torchlap.reports.run.plain import as_csv, as_json, as_markdown
from torchlap.schema.breakdown import EnergyWindow, LoaderRate, OperatorCost
from torchlap.schema.events import BreakdownMeasured, Event, PeaksMeasured, Watched
from torchlap.schema.recipe import Recipe
from torchlap.schema.workload import Group, StepPhase


def explain(
    seen: BreakdownMeasured | None = None,
    peaks: PeaksMeasured | None = None,
    watched: Watched | None = None,
    recipe: Recipe | None = None,
    device: str = "cpu",
) -> Bottleneck:
    """What is told of a cell whose steps take 0.1 s."""
    of = plan(Group((cell(device, recipe=recipe or Recipe()),)))
    events: list[Event] = [prepared(0, watched=watched), *rounds([0.1] * 8), seen or explained()]
    ((only,),) = (each.cells for each in figures(run(events, of)))
    found = bottleneck(only, peaks.peaks if peaks else None)
    assert found is not None
    return found


def phases(**seconds: float) -> dict[Any, tuple[float, ...]]:
    return {phase: (value,) * 3 for phase, value in seconds.items()}


def host(enqueue: float, wait: float = 0.0) -> Watched:
    return Watched(step_seconds=0.1, enqueue_seconds=enqueue, input_wait_seconds=wait)


def cost(flops: int, size: int, **changes: Any) -> OperatorCost:
    return replace(OperatorCost(phase="forward", operator="mm", calls=1, flops=flops, bytes=size), **changes)


def test_what_takes_most_of_the_step_is_the_word() -> None:
    seen = explain(peaks=reached())
    assert (seen.word, seen.second) == ("compute", None)
    assert seen.shares["compute"] == pytest.approx(0.5)  # 10 GFLOP at 200 GFLOP/s are 0.05 s of 0.1
    assert seen.shares["memory"] == pytest.approx(0.2)  # 20 x 10 MB at 10 GB/s, without the optimizer's
    assert seen.shares["optimizer"] == pytest.approx(0.09)
    assert seen.shares["input"] == pytest.approx(0.01)
    assert seen.shares["launch"] == pytest.approx(81e-6 / 0.1)
    assert seen.utilisation == pytest.approx(0.5)
    assert seen.traffic == pytest.approx((20 * 10**7 + 10**6 + 60 * 10**6) / 0.1 / 1e10)


@pytest.mark.parametrize(
    ("word", "seen", "watched"),
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
def test_each_word_has_its_figures(word: str, seen: BreakdownMeasured, watched: Watched | None) -> None:
    device = "cuda:0" if watched else "cpu"
    assert explain(seen, reached(device), watched, device=device).word == word


def test_loss_scaling_waits_for_the_gradients_so_enqueuing_tells_nothing() -> None:
    peaks = reached("cuda:0", flops={"fp16": 2e11})
    assert explain(watched=host(0.093), peaks=peaks, recipe=Recipe("fp16"), device="cuda:0").word == "compute"
    fused = Recipe("fp16", fused=True)
    assert explain(watched=host(0.093), peaks=peaks, recipe=fused, device="cuda:0").word == "launch"


def test_a_second_word_is_told_where_it_is_close() -> None:
    both = explained(operators=(cost(10**10, 10**6), cost(0, 45 * 10**7, operator="copy_")))
    assert (explain(both, reached()).word, explain(both, reached()).second) == ("compute", "memory")


def test_an_operator_is_bound_by_its_arithmetic_or_by_its_traffic_and_not_by_both() -> None:
    shares = explain(explained(operators=(cost(10**10, 4 * 10**8),)), reached()).shares
    assert shares["compute"] == pytest.approx(0.5)
    assert shares["memory"] == 0.0


def test_without_the_peaks_only_what_takes_half_of_the_step_is_told() -> None:
    assert explain().word is None
    assert explain(explained(phases=phases(input=0.06, forward=0.04))).word == "input"
    assert explain(watched=host(0.099), device="cuda:0").word == "launch"


def test_a_compiled_steps_pointwise_operators_are_taken_as_fused() -> None:
    seen = explained(operators=(cost(0, 5 * 10**8, pointwise=True), cost(10**8, 10**8)))
    compiled = explain(seen, reached("cuda:0"), recipe=Recipe(compile=True), device="cuda:0")
    assert compiled.shares["memory"] == pytest.approx(0.1)


def test_what_was_not_looked_at_is_not_explained() -> None:
    of = plan(Group((cell(),)))
    for more in ([], [explained(reason="it would take about 9 s: more --budget", phases={})]):
        ((only,),) = (each.cells for each in figures(run([prepared(0), *rounds([0.1] * 8), *more], of)))
        assert bottleneck(only, reached().peaks) is None


def flags(seen: Bottleneck) -> list[str]:
    return [each.flag for each in seen.advice]


def test_advice_names_the_flag_that_tries_it() -> None:
    assert flags(explain(peaks=reached())) == ["--recipe bf16"]
    (advice,) = explain(peaks=reached()).advice
    assert advice.why == "5.0 times the peak of fp32 here"
    assert flags(explain(watched=host(0.099), device="cuda:0")) == ["--batch 16", "--recipe fp32+compile"]
    slow = explained(phases=phases(forward=0.02, optimizer=0.08))
    assert flags(explain(slow, reached())) == ["--batch 16", "--recipe fp32+fused"]
    copies = explained(operators=(cost(0, 9 * 10**8),))
    on_gpu = explain(copies, reached("cuda:0"), host(0.01), device="cuda:0")
    assert flags(on_gpu) == ["--recipe fp32+compile", "--recipe fp32+channels_last", "--recipe bf16"]


def test_more_workers_are_advised_where_they_were_seen_to_load_faster() -> None:
    waits = phases(input=0.06, forward=0.04)
    loaders = LoaderRate(2, 10, 1.0), LoaderRate(4, 20, 1.0)
    through = Recipe(workers=2)
    more = explain(explained(phases=waits, loaders=loaders), reached(), recipe=through)
    assert flags(more) == ["--workers 4", "--data-through resident"]
    assert more.loader_items_per_second == {2: 40.0, 4: 80.0}
    level = explained(phases=waits, loaders=(loaders[0], LoaderRate(4, 10, 1.0)))
    assert flags(explain(level, reached(), recipe=through)) == ["", "--data-through resident"]
    idle = explain(explained(loaders=(LoaderRate(2, 10, 0.4),)), reached(), recipe=through)
    assert flags(idle)[0] == "--workers 1"
    assert "--workers 1" not in flags(explain(explained(loaders=(LoaderRate(2, 10, 0.6),)), reached(), recipe=through))


def test_a_loader_that_is_the_slowest_of_the_pipeline_bounds_it_though_the_device_is_mostly_busy() -> None:
    busy = phases(input=0.0001, transfer=0.0009, forward=0.03, backward=0.05, optimizer=0.004)  # 0.085 of 0.1 s
    through = Recipe(workers=4)
    slow, quick = (LoaderRate(4, 10, seconds) for seconds in (0.95, 0.3))
    assert explain(explained(phases=busy, loaders=(slow,)), reached("cuda:0"), recipe=through).word == "input"
    idle = explain(explained(phases=busy), reached("cuda:0"), host(0.02), recipe=through, device="cuda:0")
    assert (idle.word, idle.shares["input"]) == ("input", 1.0)  # between steps, and its host is ahead
    behind = explain(explained(phases=busy), reached("cuda:0"), host(0.095), recipe=through, device="cuda:0")
    assert behind.word == "launch"
    full = phases(input=0.0001, transfer=0.0009, forward=0.04, backward=0.055, optimizer=0.004)
    assert explain(explained(phases=full, loaders=(quick,)), reached("cuda:0"), recipe=through).word == "compute"
    alone = (LoaderRate(0, 10, 0.95),)  # without workers nothing runs beside the step
    assert explain(explained(phases=busy, loaders=alone), reached("cuda:0"), recipe=Recipe(workers=0)).word == "compute"


def test_energy_has_its_spread() -> None:
    windows = EnergyWindow(10.0, 0.4, 4), EnergyWindow(12.0, 0.4, 4), EnergyWindow(11.0, 0.4, 4)
    seen = explain(explained(energy=windows, meter="a meter", no_energy=""))
    assert seen.joules is not None
    assert (seen.joules.low, seen.joules.value, seen.joules.high) == (2.5, 2.75, 3.0)
    assert seen.items_per_joule is not None
    assert seen.items_per_joule.value == pytest.approx(16 / 11)


SHOWN = run(
    [
        *[prepared(0), prepared(1, watched=host(0.008))],
        *rounds([0.1] * 8, [0.01] * 8),
        explained(0, loaders=(LoaderRate(2, 10, 0.5),)),
        reached("cpu"),
        explained(1, reason="it would take about 9 s: more --budget", phases={}),
    ]
)


def test_the_table_has_the_word_and_why_tells_more_in_80_columns() -> None:
    brief, long = (terminal.report(SHOWN, None, 80, color=False, why=shown) for shown in (False, True))
    assert brief.splitlines()[4].split() == ["resnet18", "4", "cpu", "40.0", "(40.0", "to", "40.0)", "compute"]
    assert "Bound by: --why tells more." in brief.replace("\n", " ")
    assert "Why\n" not in brief
    assert max(map(len, long.splitlines())) <= 80
    text = " ".join(long.split())
    assert "resnet18, batch 4, cpu Bound by compute. Parts of the step: compute 0.50, memory 0.20," in text
    assert "forward 30.0 (29.0 to 31.0), backward 60.0, optimizer 9.00 ms." in text
    assert (
        "10.0 GFLOP a step: 100 GFLOP/s, 50% of the peak. At least 261 MB a step: 2.61 GB/s, 26% of a copy's." in text
    )
    assert "Peak memory 3.00 GiB. Energy: nobody reads it here. Waiting for the loader: 0.100 ms of a step." in text
    assert "A loader of 2 workers alone: 80.0 images/s. Try --recipe bf16: 5.0 times the peak of fp32 here." in text
    assert "resnet18, batch 4, cuda:0 Not looked at: it would take about 9 s: more --budget." in text
    assert (
        "cpu reaches Matrix products: fp32 200 GFLOP/s, bf16 1.00 TFLOP/s. Copies within its memory: 10.0 GB/s" in text
    )


def test_the_other_formats_have_it_too() -> None:
    first, second = json.loads(as_json(SHOWN, None))["cells"]
    assert (first["why"]["word"], second["why"]) == ("compute", None)
    documented = (ROOT / "docs" / "bottleneck.md").read_text()
    assert [name for name in first["why"] if f"`{name}`" not in documented] == []
    line = as_csv(SHOWN).splitlines()[1]
    assert line == "resnet18,4,train,fp32,cpu,40.0,40.0,40.0,,,,,,compute,8,0.25,1.5,10000000000,0.5,3221225472,,,"
    assert "| resnet18 | 4 | train | fp32 | cpu | 40.0 (40.0 to 40.0) |  | 8 | compute |" in as_markdown(SHOWN)
    assert "**resnet18, batch 4, cpu**: Bound by compute." in as_markdown(SHOWN, why=True)


some_seconds = st.floats(0, 1e9)
some_rate = st.floats(1, 1e24)
some_phases = st.dictionaries(
    st.sampled_from(get_args(StepPhase)), st.lists(some_seconds, min_size=1, max_size=3), min_size=1
)


@settings(max_examples=60, database=None, derandomize=True, deadline=None)
@given(
    phases=some_phases,
    work=st.tuples(st.integers(1, 10**9), st.integers(0, 10**15), st.integers(0, 10**15)),
    joules=st.floats(0, 1e12),
    reaches=st.tuples(some_rate, some_rate, st.floats(1e-9, 1e9)),
    lap=st.floats(1e-9, 1e9),
    workers=st.integers(0, 1024),
)
def test_whatever_a_run_file_says_is_shown(
    *,
    phases: dict[Any, list[float]],
    work: tuple[int, int, int],
    joules: float,
    reaches: tuple[float, float, float],
    lap: float,
    workers: int,
) -> None:
    calls, flops, size = work
    seen = explained(
        phases={phase: tuple(values) for phase, values in phases.items()},
        operators=(OperatorCost(phase="forward", operator="mm", calls=calls, flops=flops, bytes=size),),
        energy=(EnergyWindow(joules, lap, 1),),
        loaders=(LoaderRate(workers, 1, lap), LoaderRate(workers, 1, 1.0)),
    )
    peaks = reached(flops={"fp32": reaches[0]}, copy_bytes=reaches[1], operator_seconds=reaches[2])
    of = run([prepared(0), *rounds([lap] * 8), seen, peaks], plan(Group((cell(recipe=Recipe(workers=workers)),))))
    assert terminal.report(of, None, 80, color=False, why=True)
    assert as_csv(of)
    assert as_markdown(of, why=True)
    (told_of,) = json.loads(as_json(of, None), parse_constant=pytest.fail)["cells"]
    assert told_of["why"]["step_seconds"] == pytest.approx(lap)


def test_what_could_not_be_looked_at_is_said() -> None:
    seen = explained(left_out=("Energy failed (OSError: gone).",))
    refused = reached(flops={"bf16": 1e12}, refused={"fp32": "The driver died."})
    of = run([prepared(0), *rounds([0.1] * 8), seen, refused], plan(Group((cell(),))))
    text = " ".join(terminal.report(of, None, 80, color=False, why=True).split())
    assert "Bound by: not known, for the device's peak was not measured. The driver died. Parts of the step:" in text
    assert "Energy failed (OSError: gone)." in text
    assert "Not in fp32: The driver died." in text


def test_nothing_in_a_run_file_reaches_the_screen_as_it_is() -> None:
    evil = "\x1b[31m\u202e"
    of = run([prepared(0), *rounds([0.1] * 8), explained(no_energy=evil), reached(evil)], plan(Group((cell(),))))
    assert not {"\x1b", "\u202e"} & set(terminal.report(of, None, 80, color=False, why=True))


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0, "0"), (0.0180, "0.0180"), (79.12, "79.1"), (999.7, "1000"), (12345, "12300"), (1e-300, "0.000000000")],
)
def test_three_digits_count(value: float, shown: str) -> None:
    assert significant(value) == shown


def test_units_keep_figures_short() -> None:
    assert (scaled(640, "FLOP"), scaled(2.5e13, "FLOP/s")) == ("640 FLOP", "25.0 TFLOP/s")
    assert (binary(961 * 2**20), binary(12)) == ("961 MiB", "12.0 B")
