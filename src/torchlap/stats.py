"""Floats in, intervals out. Everything is computed on the log scale, where a ratio and its inverse are symmetric.

Few values (under `FEW`): the mean of the logarithms with Student's t interval. From `FEW` on: the Hodges-Lehmann
estimate (the median of the pairwise means) with the exact interval of Wilcoxon's signed-rank test, which a few laps
disturbed by something else on the machine cannot shift (Hollander, Wolfe, Chicken: Nonparametric Statistical Methods,
3rd edition, section 3.3). Correlated laps carry less information than their number suggests: intervals of laps in the
order of time are widened according to their autocorrelation.
"""

from collections.abc import Iterator, Sequence
from functools import cache, lru_cache
from itertools import takewhile
from math import exp, fsum, hypot, inf, log, sqrt
from typing import Literal

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray
from scipy.special import ndtri, stdtrit

LEAST_VALUES = 2
"""One value has no spread."""

FEW = 6
"""From six values on, the signed-rank interval exists at 95 %: 1 - 2 / 2**6 = 0.969."""

EXACT = 60
"""Up to here the signed-rank distribution is computed exactly; beyond, its normal approximation is as good."""

MANY = 1000
"""Pairwise means of more values than this are not worth their cost: the latest are used."""

MIN_ROUNDS = 8
"""No interval of fewer rounds may end a measurement: a few rounds agree by chance too often."""

MOST_DEPENDENCE = 0.8
"""A lag-1 autocorrelation counts as at most this: beyond it the laps have a trend, which is a finding."""

SHOWN_ERRORS, STOP_ERRORS = 0.4, 1.5
"""Standard errors that are added to the autocorrelation: in the intervals that are shown, and in those that end a
measurement, so that none ends because its few laps happened to look independent. Both were found by trial, with
benchmarks/interval_coverage.py."""

PLATEAU_ROUNDS = 18
"""From this round on, a half-width that does not shrink is a plateau."""

PLATEAU_SHRINKAGE = 0.9
"""Independent noise shrinks to 0.67 over two looks; noise that shrinks to more than this does not average out."""

LOOK_FACTOR = 1.5
LEAST_TURNS = 3
"""Fewer turns do not show whether they differ by more than their laps do."""


def plain(value: float, digits: int = 3) -> str:
    """A number with this many significant digits, without an exponent up to 1e15."""
    return f"{float(f'{value:.{digits}g}'):.15g}"


class Interval(Struct, frozen=True):
    """A positive quantity with its confidence interval, from `count` values.

    The same type serves a throughput (items a second) and a ratio.
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
        return f"{plain(self.value)} ({plain(self.low)} to {plain(self.high)})"


Ratio = Interval
"""A speed-up is a ratio of throughputs over paired rounds."""


@cache
def signed_rank_margin(count: int, confidence: float) -> int:
    """How many of the ordered pairwise means to leave out at either end, for at least the requested confidence."""
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
    """Estimate the center of positive `values`, with its interval.

    Raises:
        ValueError: for fewer than two values, or one that is not positive.
    """
    if len(values) < LEAST_VALUES:
        raise ValueError("an interval needs at least two values")
    if not all(0 < value < inf for value in values):
        raise ValueError("an interval needs positive, finite values")
    logs = [log(value) for value in values[-MANY:]]
    center, low, high = _few(logs, confidence) if len(logs) < FEW else _many(logs, confidence)
    return Interval(exp(center), exp(low), exp(min(high, 700.0)), len(values))


@lru_cache(4096)
def _student(freedom: float, tail: float) -> float:
    """The quantile of Student's t; a file has many intervals of as many values."""
    return float(stdtrit(freedom, tail))


def _few(logs: list[float], confidence: float) -> tuple[float, float, float]:
    count = len(logs)
    center = fsum(logs) / count
    error = sqrt(fsum((value - center) ** 2 for value in logs) / (count - 1) / count)
    reach = min(_student(count - 1, (1 + confidence) / 2) * error, 300.0)
    return center, center - reach, center + reach


@lru_cache(4)
def pairs(count: int, apart: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """The places of all ordered pairs that are at least so far apart; a file has many series of one length."""
    first, second = np.triu_indices(count, apart)
    return first, second


def _many(logs: list[float], confidence: float) -> tuple[float, float, float]:
    array = np.asarray(logs)
    first, second = pairs(len(array), 0)
    means = (array[first] + array[second]) / 2
    means.sort()
    margin = min(signed_rank_margin(len(array), confidence), len(means) // 2)
    center = (means[(len(means) - 1) // 2] + means[len(means) // 2]) / 2
    return float(center), float(means[margin]), float(means[-1 - margin])


def autocorrelation(logs: Sequence[float], errors: float = 0.0) -> float:
    """The lag-1 autocorrelation of a series, corrected for its bias in short ones, from 0 to `MOST_DEPENDENCE`.

    A short series' own estimate is too low by (1 + 3 r) / n (Kendall: Biometrika 41, 1954, page 403). Its standard
    error is about 1 / sqrt(n), of which `errors` are added.
    """
    deviations = np.asarray(logs) - fsum(logs) / len(logs)
    power = float(deviations @ deviations)
    if power <= 0:
        return 0.0
    biased = float(deviations[1:] @ deviations[:-1]) / power
    return min(MOST_DEPENDENCE, max(0.0, biased + (1 + 3 * biased) / len(logs) + errors / sqrt(len(logs))))


def turn_interval(turns: Sequence[Sequence[float]], confidence: float = 0.95) -> Interval:
    """Estimate the center of positive values that were measured one after another, in turns of one or more laps.

    The interval is that of `interval`, widened to that of as many independent values as these are worth; but from `FEW`
    values on, never beyond the values themselves.

    Args:
        turns: the values of each turn, in the order of time.
        confidence: of the interval.

    Raises:
        ValueError: for fewer than two values, or one that is not positive.
    """
    wide = _widened(turns, confidence, SHOWN_ERRORS)
    values = [value for turn in turns for value in turn]
    if len(values) < FEW:
        return wide
    return Interval(wide.value, max(wide.low, min(values)), min(wide.high, max(values)), wide.count)


def mean_interval(values: Sequence[float], mean: float, confidence: float = 0.95) -> Interval:
    """The interval of a known overall rate, by Student's t, from the spread of the laps' seconds an item.

    Args:
        values: the rates of the laps, in the order of time.
        mean: all items over all seconds.
        confidence: of the interval.

    Raises:
        ValueError: for fewer than two values.
    """
    seconds = mean / np.asarray(values)
    worth = max(2.0, _worth_by_autocorrelation(values, SHOWN_ERRORS))
    reach = float(stdtrit(worth - 1, (1 + confidence) / 2)) * float(np.std(seconds, ddof=1)) / sqrt(worth)
    return Interval(mean, mean * exp(-reach), mean * exp(min(reach, 300.0)), len(values))


def lap_interval(values: Sequence[float], confidence: float = 0.95) -> Interval:
    """Estimate the center of positive values that were measured one after another: `turn_interval`, each a turn.

    Raises:
        ValueError: for fewer than two values, or one that is not positive.
    """
    return turn_interval([[value] for value in values], confidence)


def _widened(turns: Sequence[Sequence[float]], confidence: float, errors: float) -> Interval:
    """The widened interval, with `errors` standard errors added to the autocorrelation."""
    values = [value for turn in turns for value in turn]
    plain = interval(values, confidence)
    count = min(len(values), MANY)
    worth = min(_worth_by_autocorrelation(values, errors), _worth_by_turns(turns))
    if worth >= count:
        return plain
    tail = (1 + confidence) / 2
    quantiles = _student(max(2.0, worth - 1), tail) / _student(count - 1, tail)
    factor = sqrt(count / worth) * quantiles
    down, up = log(plain.value / plain.low) * factor, log(plain.high / plain.value) * factor
    return Interval(plain.value, plain.value * exp(-down), plain.value * exp(min(up, 300.0)), plain.count)


def _worth_by_autocorrelation(values: Sequence[float], errors: float) -> float:
    """How many independent values a series is worth: n (1 - r) / (1 + r) with a lag-1 autocorrelation r."""
    kept = values[-MANY:]
    correlation = autocorrelation([log(value) for value in kept], errors) if len(kept) >= FEW else 0.0
    return len(kept) * (1 - correlation) / (1 + correlation)


def _worth_by_turns(turns: Sequence[Sequence[float]]) -> float:
    """How many independent values laps in turns are worth, if turns differ by more than their laps do.

    By the design effect of clusters, the mean square between turns over that of all values (Kish: Survey Sampling,
    1965, section 5.4); without turns enough to see that, all of them.
    """
    counts = [len(turn) for turn in turns if len(turn)]
    count = sum(counts)
    if len(counts) < LEAST_TURNS or count == len(counts):
        return float(count)
    logs = [[log(value) for value in turn] for turn in turns if len(turn)]
    center = fsum(value for turn in logs for value in turn) / count
    total = fsum((value - center) ** 2 for turn in logs for value in turn) / (count - 1)
    between = fsum(len(turn) * (fsum(turn) / len(turn) - center) ** 2 for turn in logs) / (len(logs) - 1)
    return float(count) if total <= 0 else max(2.0, count / max(1.0, between / total))


def paired_ratio(numerators: Sequence[float], denominators: Sequence[float], confidence: float = 0.95) -> Ratio:
    """Estimate how many times as large the numerators are, from values measured in the same rounds.

    Raises:
        ValueError: when the two differ in length, have fewer than two values, or one that is not positive.
    """
    return lap_interval([a / b for a, b in zip(numerators, denominators, strict=True)], confidence)


def certain_ratio(ratios: Sequence[float], confidence: float) -> Ratio:
    """Estimate a ratio from those of rounds, at a confidence that few rounds may be too few for signed ranks.

    Their interval is then Student's t.

    Raises:
        ValueError: for fewer than two ratios, or one that is not positive.
    """
    if len(ratios) >= FEW and 2.0 ** (1 - len(ratios)) <= 1 - confidence:
        return lap_interval(ratios, confidence)
    count = interval(ratios).count
    center, low, high = _few([log(ratio) for ratio in ratios], confidence)
    return Interval(exp(center), exp(low), exp(min(high, 700.0)), count)


def unpaired_ratio(numerator: Interval, denominator: Interval, between: float = 0.0) -> Ratio:
    """Estimate how many times as large one quantity is as another that was measured at another time.

    Errors on the log scale add in quadrature, on either side.

    Args:
        numerator: its count is at least 2, and so is the denominator's.
        denominator: the quantity to compare with, at the same confidence.
        between: the half-width by which the same quantity differs from one measurement to the next, on the log scale.
    """
    value = numerator.value / denominator.value
    up = hypot(log(numerator.high / numerator.value), log(denominator.value / denominator.low))
    down = hypot(log(numerator.value / numerator.low), log(denominator.high / denominator.value))
    count = min(numerator.count, denominator.count)
    return widened(Interval(value, value * exp(-down), value * exp(min(up, 300.0)), count), between)


def widened(ratio: Ratio, between: float) -> Ratio:
    """A ratio with one more source of error: a half-width on the log scale, added in quadrature on either side."""
    down, up = hypot(log(ratio.value / ratio.low), between), hypot(log(ratio.high / ratio.value), between)
    return Interval(ratio.value, ratio.value * exp(-down), ratio.value * exp(min(up, 300.0)), ratio.count)


def next_look(count: int) -> int:
    """The next number of values after `count` at which the intervals are checked: 8, 12, 18, 27, 41 ...

    A geometric schedule keeps repeated checking from spoiling the coverage.
    """
    return next(look for look in _looks() if look > count)


def _last_look(count: int) -> int:
    """The last number of values at which the intervals were checked; 0 for none."""
    return max(takewhile(lambda look: look <= count, _looks()), default=0)


def _looks() -> Iterator[int]:
    look = MIN_ROUNDS
    while True:
        yield look
        look = int(look * LOOK_FACTOR + 0.5)


Turns = Sequence[Sequence[float]]
"""The values of each turn, in the order of time."""


def verdict(series: Sequence[Turns], target: float, confidence: float = 0.95) -> Literal["precise", "plateau"] | None:
    """Whether every quantity is known to `target`, or the others no longer improve; None to go on.

    Args:
        series: the values of each quantity (throughputs, speed-ups) so far.
        target: the half-width on the log scale that every interval should have.
        confidence: of the intervals.
    """
    settled = [settled_by(turns, target, confidence) for turns in series]
    if None in settled:
        return None
    return "precise" if set(settled) == {"precise"} else "plateau"


def settled_by(turns: Turns, target: float, confidence: float = 0.95) -> Literal["precise", "plateau"] | None:
    """Whether one quantity is known to `target`, or no longer improves, as of the last check; None to go on."""
    look = _last_look(sum(len(turn) for turn in turns))
    if not look:
        return None
    now = _widened(_first(turns, look), confidence, STOP_ERRORS).half_width
    if now <= target:
        return "precise"
    if look < PLATEAU_ROUNDS:
        return None
    before = _widened(_first(turns, int(look / LOOK_FACTOR**2)), confidence, STOP_ERRORS).half_width
    return "plateau" if now > PLATEAU_SHRINKAGE * before else None


def _first(turns: Sequence[Sequence[float]], count: int) -> list[Sequence[float]]:
    """The turns as they were after `count` values."""
    kept: list[Sequence[float]] = []
    for turn in turns:
        if count <= 0:
            break
        kept.append(turn[:count])
        count -= len(turn)
    return kept
