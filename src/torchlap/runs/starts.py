"""Several starts of a program in one run: what differs from one process to the next is part of the interval."""

from collections.abc import Iterable, Sequence
from math import exp, log, sqrt
from typing import TypeVar

import numpy as np
from scipy.special import stdtrit

from torchlap.stats import LEAST_VALUES, Interval, Ratio, interval, lap_interval

Value = TypeVar("Value")

LEAST_STARTS = 3
"""Two starts show hardly anything about their spread: Student's t is then 12.7."""


def by_start(starts: Iterable[int], values: Iterable[Value]) -> list[list[Value]]:
    """Sort values by the start that they belong to, in the order of time."""
    found: dict[int, list[Value]] = {}
    for start, value in zip(starts, values, strict=True):
        found.setdefault(start, []).append(value)
    return list(found.values())


def center(values: Sequence[float]) -> float:
    """The estimate of `torchlap.stats.interval`; of a single value, itself."""
    return interval(values).value if len(values) >= LEAST_VALUES else values[0]


def start_interval(centers: Sequence[float], count: int, confidence: float) -> Interval:
    """The interval of a positive quantity, from its estimates in several starts of the same program.

    Rounds of one process share its memory layout, so they are not independent values of what the program does; starts
    are. This is Student's t over their logarithms (Kalibera and Jones: Rigorous benchmarking in reasonable time,
    ISMM 2013: the mean over executions): center +- t(k - 1) s / sqrt(k), where s is the standard deviation of the k
    starts' estimates. It contains the noise of their rounds, too.

    Args:
        centers: the estimate of each start.
        count: of the values behind them.
        confidence: of the interval.

    Raises:
        ValueError: for fewer than two starts.
    """
    if len(centers) < LEAST_VALUES:
        raise ValueError("an interval over starts needs at least two")
    logs, starts = [log(value) for value in centers], len(centers)
    reach = float(stdtrit(starts - 1, (1 + confidence) / 2)) * float(np.std(logs, ddof=1)) / sqrt(starts)
    reach, mean = min(reach, 300.0), float(np.mean(logs))
    return Interval(exp(mean), exp(mean - reach), exp(min(mean + reach, 700.0)), count)


def ratio_interval(ratios: Sequence[float], starts: Sequence[int], confidence: float) -> Ratio:
    """The interval of a ratio from that of each round, over starts if there are enough of them.

    Args:
        ratios: in the order of time.
        starts: of each of them; empty for a single one.
        confidence: of the interval.

    Raises:
        ValueError: for fewer than two ratios, or one that is not positive.
    """
    parts = by_start(starts, ratios) if starts else []
    if len(parts) < LEAST_STARTS:
        return lap_interval(ratios, confidence)
    return start_interval([center(part) for part in parts], len(ratios), confidence)
