"""Floats in, intervals out. Everything is computed on the log scale, where a ratio and its inverse are alike.

Few values (under `FEW`): the mean of the logarithms with Student's t interval. From `FEW` on: the Hodges-Lehmann
estimate (the median of the pairwise means) with the exact interval of Wilcoxon's signed-rank test, which a few laps
disturbed by something else on the machine cannot pull away (Hollander, Wolfe, Chicken: Nonparametric Statistical
Methods, 3rd edition, section 3.3).
"""

from collections.abc import Sequence
from functools import cache
from math import exp, inf, log, sqrt
from typing import Literal

import numpy as np
from msgspec import Struct
from scipy.special import ndtri, stdtrit

FEW = 6
"""From six values on, the signed-rank interval exists at 95 %: 1 - 2 / 2**6 = 0.969."""

EXACT = 60
"""Up to here the signed-rank distribution is counted out; beyond, its normal approximation is as good."""

MANY = 1000
"""Pairwise means of more values than this would cost more than they tell: the latest are used."""

MIN_ROUNDS = 5
"""No interval of fewer rounds may end a measurement: a lucky few agree too often."""

PLATEAU_ROUNDS = 18
"""From here on a half-width that does not shrink is called a plateau."""

PLATEAU_SHRINKAGE = 0.9
"""Independent noise shrinks to 0.67 over two looks; one that keeps more than this does not average out."""

LOOK_FACTOR = 1.5


class Interval(Struct, frozen=True):
    """A positive quantity with its confidence interval, from `count` values.

    The same type serves a throughput (images a second) and a ratio.
    """

    value: float
    low: float
    high: float
    count: int

    @property
    def half_width(self) -> float:
        """The interval's half-width on the log scale: 0.02 is 2 % either way."""
        return log(self.high / self.low) / 2

    def __str__(self) -> str:
        """As the tables write it, without a unit: `6.10 (5.90 to 6.31)`."""
        return f"{self.value:.3g} ({self.low:.3g} to {self.high:.3g})"


Ratio = Interval
"""A speed-up is a ratio of throughputs over paired rounds."""


@cache
def signed_rank_margin(count: int, confidence: float) -> int:
    """How many of the ordered pairwise means to leave out at either end, at the least confidence asked for."""
    tail = (1 - confidence) / 2
    if count > EXACT:
        mean, deviation = count * (count + 1) / 4, sqrt(count * (count + 1) * (2 * count + 1) / 24)
        return max(0, int(mean + float(ndtri(tail)) * deviation))
    ways = np.zeros(count * (count + 1) // 2 + 1)
    ways[0] = 1.0
    for rank in range(1, count + 1):
        ways[rank:] += ways[:-rank].copy()
    below = np.cumsum(ways) / 2.0**count
    return max(0, int(np.searchsorted(below, tail, side="right")) - 1)


def interval(values: Sequence[float], confidence: float = 0.95) -> Interval:
    """Estimate the centre of positive `values` with its interval.

    Raises:
        ValueError: for fewer than two values, or one that is not positive.
    """
    if len(values) < 2:  # noqa: PLR2004  one value has no spread
        raise ValueError("an interval needs at least two values")
    if not all(0 < value < inf for value in values):
        raise ValueError("an interval needs positive, finite values")
    logs = [log(value) for value in values[-MANY:]]
    centre, low, high = _few(logs, confidence) if len(logs) < FEW else _many(logs, confidence)
    return Interval(exp(centre), exp(low), exp(min(high, 700.0)), len(values))


def _few(logs: list[float], confidence: float) -> tuple[float, float, float]:
    count = len(logs)
    centre = float(np.mean(logs))
    error = float(np.std(logs, ddof=1)) / sqrt(count)
    reach = min(float(stdtrit(count - 1, (1 + confidence) / 2)) * error, 300.0)
    return centre, centre - reach, centre + reach


def _many(logs: list[float], confidence: float) -> tuple[float, float, float]:
    array = np.asarray(logs)
    first, second = np.triu_indices(len(array))
    means = np.sort((array[first] + array[second]) / 2)
    margin = min(signed_rank_margin(len(array), confidence), len(means) // 2)
    return float(np.median(means)), float(means[margin]), float(means[-1 - margin])


def paired_ratio(numerators: Sequence[float], denominators: Sequence[float], confidence: float = 0.95) -> Ratio:
    """Estimate how many times larger the numerators are, from values measured in the same rounds.

    Raises:
        ValueError: when the two differ in length, have fewer than two values, or one that is not positive.
    """
    return interval([a / b for a, b in zip(numerators, denominators, strict=True)], confidence)


def is_look(rounds: int) -> bool:
    """Tell whether to look at the intervals after so many rounds: 5, 8, 12, 18, 27, 41 ...

    Looking on a geometric schedule keeps repeated looking from spoiling the coverage.
    """
    look = MIN_ROUNDS
    while look < rounds:
        look = _next_look(look)
    return look == rounds


def _next_look(look: int) -> int:
    return int(look * LOOK_FACTOR + 0.5)


def verdict(
    series: Sequence[Sequence[float]], target: float, confidence: float = 0.95
) -> Literal["precise", "plateau"] | None:
    """Say whether every series of positive values is known to `target`, or none gets better; None to go on.

    Args:
        series: one sequence a quantity (throughputs, speed-ups), all of the same length: the rounds so far.
        target: the half-width on the log scale that is wanted of each.
        confidence: of the intervals.
    """
    rounds = len(series[0])
    if not is_look(rounds):
        return None
    now = max(interval(values, confidence).half_width for values in series)
    if now <= target:
        return "precise"
    earlier = int(rounds / LOOK_FACTOR**2)
    if rounds < PLATEAU_ROUNDS:
        return None
    before = max(interval(values[:earlier], confidence).half_width for values in series)
    return "plateau" if now > PLATEAU_SHRINKAGE * before else None
