"""The median of trials of which some were stopped."""

from math import exp, inf
from random import Random

import pytest

from torchlap.runs.censored import Median, Quantity, median_of


def test_the_median_of_trials_has_the_interval_of_the_sign_test() -> None:
    known = [Quantity(float(value), float(value)) for value in (6, 1, 5, 2, 4, 3)]
    assert median_of(known) == Median(pytest.approx(12**0.5), 1.0, 6.0, 6)  # type: ignore[arg-type]  # about as large
    assert median_of(known[:5]) == Median(4.0, None, None, 5)
    nine = [Quantity(float(value), float(value)) for value in range(1, 10)]
    assert median_of(nine) == Median(5.0, 2.0, 8.0, 9)  # 2 P(B < 2) = 2 * 10 / 512 = 0.04
    with pytest.raises(ValueError, match="at least one"):
        median_of([])


def test_a_trial_that_was_stopped_only_moves_the_limit_that_it_leaves_open() -> None:
    stopped = [*(Quantity(float(value), float(value)) for value in (1, 2, 3, 4, 5)), Quantity(2.5, inf)]
    found = median_of(stopped)
    assert (found.low, found.high) == (1.0, inf)
    assert found.value is None
    late = [*(Quantity(float(value), float(value)) for value in (1, 2, 3, 4, 5)), Quantity(9.0, inf)]
    assert median_of(late).value == pytest.approx(12**0.5)


@pytest.mark.parametrize("limit", [inf, 3.0])
def test_the_interval_of_the_median_contains_it_also_if_trials_are_stopped(limit: float) -> None:
    random = Random(2)
    contained = 0
    for _ in range(1000):
        times = [random.lognormvariate(1.0, 0.5) for _ in range(10)]
        found = median_of([Quantity(time, time) if time <= limit else Quantity(limit, inf) for time in times])
        assert found.low is not None
        assert found.high is not None
        contained += found.low <= exp(1.0) <= found.high
    assert contained >= 960  # of 1000: with ten trials the interval holds in 979
