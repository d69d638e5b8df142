"""The median of trials of which some were stopped before they showed their value."""

from collections.abc import Sequence
from math import sqrt

from msgspec import Struct


class Quantity(Struct, frozen=True):
    """What is known of a quantity from one trial: it is between `low` and `high`, which are equal if it is known.

    A trial that was stopped after some time has that time as `low`, and infinity as `high`.
    """

    low: float
    high: float


class Median(Struct, frozen=True):
    """The median of some trials, with its interval.

    Attributes:
        value: None if too many trials were stopped before they showed it.
        low: None, with `high`, if there are too few trials for an interval at the requested confidence; 0 if unknown.
        high: infinity if unknown.
        count: of the trials.
    """

    value: float | None
    low: float | None
    high: float | None
    count: int


def median_of(quantities: Sequence[Quantity], confidence: float = 0.95) -> Median:
    """The median of trials, some of which may have been stopped early, with the interval of the sign test.

    The limits are the k-th smallest and the k-th largest value, where k is the largest number with 2 P(B < k) <= 1 -
    confidence, and B is binomial with n trials and probability 1/2: exact whatever the distribution (Conover: Practical
    Nonparametric Statistics, 3rd edition, 1999, section 3.2). A trial that was stopped counts with its smallest
    possible value in the lower limit, and with its largest in the upper one, so that the interval holds wherever the
    trial would have ended (for survival times: Brookmeyer, Crowley: Biometrics 38, 1982, page 29).

    Raises:
        ValueError: without any trial.
    """
    if not quantities:
        raise ValueError("a median needs at least one trial")
    lows, highs = sorted(each.low for each in quantities), sorted(each.high for each in quantities)
    count = len(quantities)
    least, most = _middle(lows), _middle(highs)
    value = least if least == most else None
    left_out = _sign_test_rank(count, confidence)
    if left_out == 0:
        return Median(value, None, None, count)
    return Median(value, lows[left_out - 1], highs[count - left_out], count)


def _middle(ordered: Sequence[float]) -> float:
    """The median of sorted values; of two in the middle the geometric mean."""
    lower, upper = ordered[(len(ordered) - 1) // 2], ordered[len(ordered) // 2]
    return lower if lower == upper else sqrt(lower) * sqrt(upper)


def _sign_test_rank(count: int, confidence: float) -> int:
    """The rank, from either end, of the values that limit the interval; 0 if there is none."""
    ways, total, rank = 1, 0, 0
    for below in range(count):
        total += ways
        if 2 * total > (1 - confidence) * 2**count:
            break
        rank = below + 1
        ways = ways * (count - below) // (below + 1)
    return rank
