from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some
from making import cell, explained, plan, prepared, reached, rounds, run
from reports.samples import measured, of_units

from torchlap.reports.run import terminal
from torchlap.reports.run.bottleneck import paragraphs
from torchlap.reports.run.plain import as_csv, as_json, as_markdown
from torchlap.reports.run.rows import judged
from torchlap.schema.breakdown import EnergyWindow, LoaderRate, OperatorCost
from torchlap.schema.events import Event, Run
from torchlap.schema.recipe import Recipe
from torchlap.schema.workload import Group, StepPhase


def lines_of(*events: Event, recipe: Recipe | None = None, batch: int = 4) -> tuple[str, ...]:
    """The lines of a cell on the CPU with a step of 0.1 s and these events."""
    shown = run(
        [prepared(0), *rounds([0.1] * 8), *events], plan(Group((cell(recipe=recipe or Recipe(), batch=batch),)))
    )
    return next(iter(paragraphs(judged(shown))))[1]


def test_the_lines_of_a_cell_say_where_its_time_goes() -> None:
    assert lines_of(explained(0), reached("cpu"))[:5] == (
        "Bottleneck: compute. Shares of the step: compute 0.50, memory 0.20, optimizer 0.09, input 0.01, launch 0.00.",
        (
            "Step: 100 ms. Phases in ms, synchronized after each: input 0.100, transfer 0.900, forward 30.0 (29.0 to "
            "31.0), backward 60.0, optimizer 9.00."
        ),
        "81 operators.",
        (
            "10.0 GFLOP per step: 100 GFLOP/s, 0.50 of the measured peak. At least 261 MB per step: 2.61 GB/s, 0.26 of "
            "the copy bandwidth."
        ),
        "Peak memory: 3.00 GiB.",
    )


def test_the_kernels_of_attention_are_named() -> None:
    _, _, operators, kernels, *_ = lines_of(explained(0, attention={"math": 1, "flash": 12}))
    assert operators == "81 operators."
    assert kernels == "Attention kernels: flash (12 calls), math (1 call) per step."


def test_a_step_in_which_no_part_is_large_is_bound_by_the_host() -> None:
    idle = explained(0, operators=(OperatorCost(phase="forward", operator="mm", calls=1, flops=10**9, bytes=10**6),))
    first, *_ = lines_of(idle, reached("cpu"))
    assert first == (
        "Bottleneck: host. No part has a share of 0.3 of the step; the rest is Python, waiting, or operators far below "
        "the device's peaks. Shares of the step: optimizer 0.09, compute 0.05, input 0.01, launch 0.00, memory 0.00."
    )


def test_parts_that_add_up_to_more_than_one_are_explained() -> None:
    busy = (OperatorCost(phase="forward", operator="mm", calls=1, flops=18 * 10**9, bytes=4 * 10**9),)
    slow = {"forward": (0.06,) * 3, "backward": (0.07,) * 3}
    first, second, *_ = lines_of(explained(0, operators=busy, phases=slow), reached("cpu"))
    assert first.endswith(
        "They add up to more than 1, because the parts overlap, and the peaks were measured apart from the step."
    )
    assert second.endswith("They add up to more than the step, because each waits for the one before.")


def test_a_device_says_what_it_reaches() -> None:
    *_, last = paragraphs(judged(measured()))
    assert last == (
        "Measured peaks of cuda:0",
        (
            "Matrix products: fp32 200 GFLOP/s, bf16 1.00 TFLOP/s.",
            "Memory copies: 10.0 GB/s, counting reads and writes.",
            "Smallest operator: 1.00 µs of host time.",
        ),
    )


def test_loaders_and_energy_have_the_unit_of_the_workload() -> None:
    loaded = explained(
        0,
        energy=(EnergyWindow(2.0, 0.1, 1),),
        meter="a meter",
        loaders=(LoaderRate(1, 1, 0.05), LoaderRate(2, 1, 0.025)),
    )
    lines = lines_of(loaded, reached("cpu"), recipe=Recipe(workers=1))
    assert "Energy: 2.00 J per step, 2.00 images/J (a meter)." in lines
    assert "Waiting for the loader: 0.100 ms per step." in lines
    assert "The loader alone, with 1 worker: 80.0 images/s." in lines
    assert "The loader alone, with 2 workers: 160 images/s." in lines
    tokens = of_units("tokens")
    analyzed = Run(tokens.header, (*tokens.events, loaded))
    assert "The loader alone, with 1 worker: 80.0 tokens/s." in next(iter(paragraphs(judged(analyzed))))[1]


def test_what_was_not_analyzed_has_its_reason() -> None:
    assert lines_of() == ("Not analyzed: out of time, or --no-why was used.",)
    assert lines_of(explained(0, reason="it is too slow", phases={})) == ("Not analyzed: it is too slow.",)
    lines = lines_of(
        explained(0, left_out=("Energy failed (OSError: gone).",)), reached(refused={"fp32": "It died."}, flops={})
    )
    assert lines[0].startswith(
        "Bottleneck: unknown, because the device's peak was not measured. Reason: It died. Shares of the step: "
    )
    assert "Energy failed (OSError: gone)." in lines


def test_a_terminal_shows_the_lines_on_request() -> None:
    brief, long = (terminal.report(measured(), None, 80, color=False, why=why) for why in (False, True))
    assert "Bottlenecks: add --why for details." in " ".join(brief.split())
    assert "Shares of the step" not in brief
    assert "add --why" not in long
    assert "\nBottlenecks\n  resnet18, batch 4, cpu\n    Bottleneck: compute. Shares of the step:" in long
    assert max(map(len, long.splitlines())) <= 80


some_seconds = some.floats(0, 1e9)
some_rate = some.floats(1, 1e24)
some_phases = some.dictionaries(
    some.sampled_from(get_args(StepPhase)), some.lists(some_seconds, min_size=1, max_size=3), min_size=1
)


@settings(max_examples=60, database=None, derandomize=True, deadline=None)
@given(
    phases=some_phases,
    work=some.tuples(some.integers(1, 10**9), some.integers(0, 10**15), some.integers(0, 10**15)),
    joules=some.floats(0, 1e12),
    rates=some.tuples(some_rate, some_rate, some.floats(1e-9, 1e9)),
    lap=some.floats(1e-9, 1e9),
    workers=some.integers(0, 1024),
)
def test_any_breakdown_of_a_run_file_can_be_shown(
    *,
    phases: dict[StepPhase, list[float]],
    work: tuple[int, int, int],
    joules: float,
    rates: tuple[float, float, float],
    lap: float,
    workers: int,
) -> None:
    calls, flops, size = work
    breakdown = explained(
        phases={phase: tuple(values) for phase, values in phases.items()},
        operators=(OperatorCost(phase="forward", operator="mm", calls=calls, flops=flops, bytes=size),),
        energy=(EnergyWindow(joules, lap, 1),),
        loaders=(LoaderRate(workers, 1, lap), LoaderRate(workers, 1, 1.0)),
    )
    peaks = reached(flops={"fp32": rates[0]}, copy_bytes=rates[1], operator_seconds=rates[2])
    shown = run(
        [prepared(0), *rounds([lap] * 8), breakdown, peaks], plan(Group((cell(recipe=Recipe(workers=workers)),)))
    )
    assert list(paragraphs(judged(shown)))
    assert as_csv(shown)
    assert as_markdown(shown, why=True)
    assert as_json(shown, None)


@pytest.mark.parametrize("text", ["\x1b[31m", "\u202e"])
def test_no_text_of_a_breakdown_controls_the_terminal(text: str) -> None:
    lines = lines_of(explained(0, no_energy=text), reached(refused={"fp16": text}))
    assert not [line for line in lines if text[0] in line]
