import pytest
from making import cell, pair, plan, rounds, run
from reports.samples import FAST, SLOW, of_units

from torchlap.reports.run.headline import headline
from torchlap.reports.run.rows import judged
from torchlap.schema.events import Run
from torchlap.schema.recipe import Recipe
from torchlap.schema.workload import Group

BF16 = Recipe("bf16")


def two_groups(first: list[float], second: list[float]) -> Run:
    """The accelerator's laps at two batch sizes, against the same CPU."""
    laps = [*rounds(SLOW, first, group=0), *rounds(SLOW, second, group=1)]
    return run(laps, plan(pair(), pair(batch=64)))


@pytest.mark.parametrize(
    ("shown", "text"),
    [
        (run(), "No results yet."),
        (run(rounds(SLOW, FAST)), "cuda:0 is 5.0x as fast as cpu."),
        (two_groups(FAST, FAST), "cuda:0 is 5.0x as fast as cpu (2 of 2 comparisons)."),
        (
            two_groups(FAST, [2 * seconds for seconds in SLOW]),
            "cuda:0 is 0.50x to 5.0x as fast as cpu (1 faster, 1 slower).",
        ),
        (two_groups(FAST, SLOW[::-1]), "cuda:0 is 1.0x to 5.0x as fast as cpu (1 faster, 1 inconclusive)."),
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
