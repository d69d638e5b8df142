from collections.abc import Sequence

import pytest
from making import cell, failure, pair, plan, prepared, rounds, run
from msgspec.structs import replace
from reports.samples import FAST, SLOW, of_units

from torchlap.reports.run.headline import headline
from torchlap.reports.run.rows import judged
from torchlap.schema.events import Run
from torchlap.schema.recipe import Recipe
from torchlap.schema.workload import Group

BF16 = Recipe("bf16")
UNSTEADY = [seconds * (0.9, 1.1)[number % 2] for number, seconds in enumerate(SLOW)]


def two_groups(first: Sequence[float | None], second: Sequence[float | None]) -> Run:
    """The accelerator's laps at two batch sizes, against the same CPU."""
    laps = [*rounds(SLOW, first, group=0), *rounds(SLOW, second, group=1)]
    return run(laps, plan(pair(), pair(batch=64)))


@pytest.mark.parametrize(
    ("shown", "text"),
    [
        (run(), "No results."),
        (run(rounds(SLOW, FAST)), "cuda:0 is 5.0x as fast as cpu."),
        (run(rounds(SLOW, SLOW)), "cuda:0 is 1.0x as fast as cpu (the same)."),
        (run(rounds(FAST, SLOW)), "cuda:0 is 0.20x as fast as cpu (slower)."),
        (run(rounds(SLOW, UNSTEADY)), "cuda:0 is 1.0x as fast as cpu (inconclusive)."),
        (two_groups(FAST, FAST), "cuda:0 is 5.0x as fast as cpu (2 of 2 comparisons)."),
        (
            two_groups(FAST, [2 * seconds for seconds in SLOW]),
            "cuda:0 is 0.50x to 5.0x as fast as cpu (1 faster, 1 slower).",
        ),
        (two_groups(FAST, SLOW[::-1]), "cuda:0 is 1.0x to 5.0x as fast as cpu (1 faster, 1 the same)."),
        (
            run(rounds(SLOW, FAST), plan(Group((cell(), cell(recipe=BF16))))),
            "bf16 is 5.0x as fast as fp32.",
        ),
        (
            run(rounds(SLOW, FAST), plan(Group((cell(), cell("cuda:0", recipe=BF16))))),
            "cuda:0 in bf16 is 5.0x as fast as cpu.",
        ),
        (run(rounds(SLOW), plan(Group((cell(phase="eval"),)))), "cpu evaluates 40 images/s."),
        (of_units("tokens"), "cpu trains 40 tokens/s."),
        (of_units("images", "tokens"), "cpu trains 40 images/s and 40 tokens/s."),
    ],
)
def test_the_headline_says_how_much_faster(shown: Run, text: str) -> None:
    assert headline(judged(shown)) == text


def test_throughputs_that_differ_are_a_range() -> None:
    groups = plan(Group((cell(),)), Group((cell(batch=64),)))
    shown = run([*rounds(SLOW, group=0), *rounds(SLOW, group=1)], groups)
    assert headline(judged(shown)) == "cpu trains 40 to 640 images/s, depending on model and batch size."


VAGUE = [1.0, 0.01]
"""Two laps whose interval says nothing."""


@pytest.mark.parametrize(
    ("shown", "text"),
    [
        (two_groups(FAST, [*FAST[:6], None, None]), "cuda:0 is 5.0x as fast as cpu (2 of 2 comparisons)."),
        (
            run([*rounds(SLOW, FAST), *rounds([0.1, 0.1], VAGUE, group=1)], plan(pair(), pair(batch=64))),
            "cuda:0 is 5.0x as fast as cpu.",
        ),
        (run(rounds(SLOW[:2], VAGUE)), "cpu trains 40 images/s."),
        (run(rounds(VAGUE, [0.02, 0.02])), "cuda:0 trains 200 images/s."),
        (run(rounds(VAGUE, VAGUE[::-1])), "No result is certain enough yet."),
        (run(rounds([0.1]), plan(Group((cell(),)))), "No result is certain enough yet."),
    ],
)
def test_a_headline_leaves_out_what_is_too_uncertain(shown: Run, text: str) -> None:
    assert headline(judged(shown)) == text


def test_a_published_figure_needs_no_interval() -> None:
    shown = run(rounds([0.1]), plan(Group((cell(),))))
    published = replace(shown, header=replace(shown.header, published="a paper"))
    assert headline(judged(published)) == "cpu trains 40 images/s."


def test_without_a_figure_of_the_first_device_the_headline_is_about_the_next() -> None:
    shown = run([failure(0, "too_slow"), *rounds([None] * 8, FAST)])
    assert headline(judged(shown)) == "cuda:0 trains 200 images/s."


def test_a_void_figure_is_no_result() -> None:
    nan = run([prepared(0), *rounds(SLOW), failure(0, "not_finite")], plan(Group((cell(),))))
    assert headline(judged(nan)) == "No results."
