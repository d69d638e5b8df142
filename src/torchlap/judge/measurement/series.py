"""What a series of laps shows beside its center: a trend, or two levels."""

from collections.abc import Sequence
from math import exp, sqrt

import numpy as np
from msgspec import Struct
from scipy.special import ndtr

from torchlap.stats import MANY, pairs


class Trend(Struct, frozen=True):
    """How a series moved: `change` is the factor from its first to its last value, `p` the chance of that by noise."""

    change: float
    p: float


def trend(values: Sequence[float], starts: Sequence[int] = ()) -> Trend:
    """Estimate how much positive values rose or fell over the series, unaffected by a few disturbed ones.

    With the process that each belongs to in `starts`, only values of the same process are compared with each other.

    The change is from the Theil-Sen slope of the logarithms; the chance from Kendall's test against no trend, in its
    normal approximation (Mann: Econometrica 13, 1945, page 245). scipy.stats has both, but importing it takes half a
    second, which is too long for an interrupted run.
    """
    logs, count = np.log(np.asarray(values[-MANY:])), min(len(values), MANY)
    first, second = pairs(count, 1)
    lengths = np.array([count])
    if starts:
        processes = np.asarray(starts[-MANY:])
        together = processes[first] == processes[second]
        first, second, lengths = first[together], second[together], np.unique(processes, return_counts=True)[1]
    if not len(first):
        return Trend(1.0, 1.0)
    rises = logs[second] - logs[first]
    slope = float(np.median(rises / (second - first)))
    score = abs(float(np.sign(rises).sum()))
    deviation = sqrt(float(np.sum(lengths * (lengths - 1) * (2 * lengths + 5))) / 18)
    change = exp(slope * (int(lengths.max()) - 1))
    return Trend(change, min(1.0, 2 * float(ndtr(-max(0.0, score - 1) / deviation))))


class Levels(Struct, frozen=True):
    """Two levels instead of one: the center of either group, and the share of the values in the upper one."""

    low: float
    high: float
    share: float


LEVELS_APART = 6.0
"""Ashman's D above which there are two groups. The halves of a normal series have 2.7, those of a uniform one 3.5
(Ashman, Bird, Zepf: Astronomical Journal 108, 1994, page 2348, require 2 for a known mixture; here the groups are
searched for first)."""

LEVELS_FROM, LEVELS_MIN = 12, 3
"""Fewer values fall into two groups by chance too often; a group of one or two is just disturbed laps."""


def two_levels(values: Sequence[float]) -> Levels | None:
    """Find two groups with a gap between them among positive values; None if there are none."""
    if len(values) < LEVELS_FROM:
        return None
    logs = np.sort(np.log(np.asarray(values)))

    splits = np.arange(LEVELS_MIN, len(logs) - LEVELS_MIN + 1)
    centered = logs - logs.mean()
    below, squares = np.cumsum(centered)[splits - 1], float(centered @ centered)
    within = squares - below**2 / splits - below**2 / (len(logs) - splits)  # the centered values add up to zero
    best = int(splits[np.argmin(within)])
    low, high = logs[:best], logs[best:]
    spread = sqrt((float(low.var()) + float(high.var())) / 2)
    if float(high.mean() - low.mean()) <= LEVELS_APART * spread:
        return None
    return Levels(exp(float(low.mean())), exp(float(high.mean())), len(high) / len(logs))
