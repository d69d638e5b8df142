"""The rules of a bisection: which cell is followed, and on which side of the middle a release lies."""

import pytest
from judge.speeds import at, compared_with

from torchlap.judge.bisect import Bisected, Step, side, suspect
from torchlap.reports.bisect import as_text
from torchlap.stats import Interval

SLOWER = Interval(0.8, 0.79, 0.81, 20)
FASTER = Interval(1.25, 1.24, 1.26, 20)


def test_the_cell_that_changed_the_most_is_followed() -> None:
    found = suspect(compared_with(at(10.0, 100.0), at(8.0, 50.0)))
    assert found is not None
    assert (found.device, found.verdict) == ("cuda:0", "slower")
    assert suspect(compared_with(at(10.0, 100.0), at(10.0, 100.0))) is None


@pytest.mark.parametrize(
    ("total", "speed", "expected"),
    [
        (SLOWER, 100.0, "unchanged"),
        (SLOWER, 80.0, "changed"),
        (SLOWER, 90.0, "unclear"),
        (FASTER, 100.0, "unchanged"),
        (FASTER, 130.0, "changed"),
    ],
)
def test_a_release_is_on_a_side_of_the_middle_with_its_whole_interval(
    total: Interval, speed: float, expected: str
) -> None:
    assert side(total, compared_with(at(100.0), at(speed)).changes) == expected


def test_a_release_without_a_verdict_is_on_no_side() -> None:
    assert side(SLOWER, ()) == "unclear"


def test_an_unclear_release_leaves_a_range() -> None:
    change = suspect(compared_with(at(100.0), at(80.0)))
    steps = Step("torch 2.14.0", SLOWER, "changed"), Step("torch 2.13.0", None, "unclear")
    found = Bisected(first="torch 2.12.0", change=change, unchanged="torch 2.12.0", changed="torch 2.14.0", steps=steps)
    assert not found.is_narrow
    text = as_text(found)
    assert "- torch 2.13.0: no result, unclear\n" in text
    assert "Inconclusive: resnet18, batch 4, cpu became slower after torch 2.12.0 and not after torch 2.14.0" in text
