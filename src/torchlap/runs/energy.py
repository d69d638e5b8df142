"""From a meter's readings to joules an item, watts and costs."""

from collections.abc import Sequence
from math import exp, sqrt

import numpy as np
from msgspec import Struct
from scipy.special import stdtrit

from torchlap.stats import LEAST_VALUES, Interval

LEAST_TURNS, LEAST_SECONDS = 3, 2.0
"""A meter's counter may be a tenth of a second late at either end of a turn, so a short time says nothing."""

JOULES_PER_KWH, SECONDS_PER_HOUR = 3.6e6, 3600.0
MILLION = 1e6


class MeteredTurn(Struct, frozen=True):
    """A turn of a cell: the joules that its device used, how long that was, and the items of its laps."""

    joules: float
    seconds: float
    items: int


class Energy(Struct, frozen=True, kw_only=True):
    """The energy of a cell, over all its turns.

    Attributes:
        joules_per_item: None where `reason` says why there is no figure; the same for `watts`.
        watts: the mean power during the turns.
        seconds: of all turns together.
        turns: how many there were.
    """

    joules_per_item: Interval | None = None
    watts: Interval | None = None
    seconds: float = 0.0
    turns: int = 0
    reason: str = ""


class Prices(Struct, frozen=True):
    """What energy and the machine's time cost, in any currency; None where that is not counted."""

    per_kwh: float | None = None
    per_hour: float | None = None

    def __bool__(self) -> bool:
        """Whether anything is counted."""
        return self.per_kwh is not None or self.per_hour is not None


def energy_of(turns: Sequence[MeteredTurn], confidence: float) -> Energy | None:
    """All energy over all items, and over all seconds, with intervals from the spread of the turns; None without turns.

    Never from a single turn, because a driver's counter stands still between its updates.
    """
    turns = [turn for turn in turns if turn.items]
    if not turns:
        return None
    seconds = sum(turn.seconds for turn in turns)
    joules = [turn.joules for turn in turns]
    if seconds < LEAST_SECONDS or len(turns) < LEAST_TURNS:
        lasted = f"{seconds:.1f} s in {len(turns)} turns"
        reason = f"read for too short a time ({lasted}; {LEAST_TURNS} turns and {LEAST_SECONDS:.0f} s are needed)"
        return Energy(seconds=seconds, turns=len(turns), reason=f"Energy: {reason}: raise --budget.")
    if sum(joules) <= 0:
        reason = f"Energy: the meter stood still for {seconds:.1f} s: check it with the driver's own tool."
        return Energy(seconds=seconds, turns=len(turns), reason=reason)
    return Energy(
        joules_per_item=interval_of_sums(joules, [turn.items for turn in turns], confidence),
        watts=interval_of_sums(joules, [turn.seconds for turn in turns], confidence),
        seconds=seconds,
        turns=len(turns),
    )


def interval_of_sums(numerators: Sequence[float], denominators: Sequence[float], confidence: float = 0.95) -> Interval:
    """The ratio of two sums with its interval, by Student's t, from how far each pair is from that ratio.

    The ratio estimate of survey sampling (Cochran: Sampling Techniques, 3rd edition, 1977, section 6.4): a numerator
    that is too small in one pair and too large in the next, like that of a counter which lags behind, does no harm.

    Args:
        numerators: at least zero, in the order of time.
        denominators: positive.
        confidence: of the interval.

    Raises:
        ValueError: for fewer than two pairs, or numerators that add up to nothing.
    """
    if len(numerators) < LEAST_VALUES or not sum(numerators) > 0:
        raise ValueError("an interval of sums needs at least two pairs and a positive sum")
    count, ratio = len(numerators), sum(numerators) / sum(denominators)
    residuals = np.asarray(numerators) - ratio * np.asarray(denominators)
    error = sqrt(count / (count - 1) * float(residuals @ residuals)) / sum(numerators)
    reach = min(300.0, float(stdtrit(count - 1, (1 + confidence) / 2)) * error)
    return Interval(ratio, ratio * exp(-reach), ratio * exp(reach), count)


def cost_per_million(throughput: Interval | None, energy: Energy | None, prices: Prices) -> Interval | None:
    """What a million items cost; None where a part of it is not known.

    The limits of the two parts are added, as if both were at their worst at the same time.

    Args:
        throughput: items a second.
        energy: of the same cell.
        prices: of a kilowatt-hour, of an hour of the machine, or of both.
    """
    parts = []
    if prices.per_kwh is not None:
        if energy is None or energy.joules_per_item is None:
            return None
        parts.append(_scaled(energy.joules_per_item, MILLION / JOULES_PER_KWH * prices.per_kwh))
    if prices.per_hour is not None:
        if throughput is None:
            return None
        seconds = Interval(1 / throughput.value, 1 / throughput.high, 1 / throughput.low, throughput.count)
        parts.append(_scaled(seconds, MILLION / SECONDS_PER_HOUR * prices.per_hour))
    if not parts:
        return None
    value, low, high = (sum(getattr(part, name) for part in parts) for name in ("value", "low", "high"))
    return Interval(value, low, high, min(part.count for part in parts))


def _scaled(quantity: Interval, factor: float) -> Interval:
    return Interval(quantity.value * factor, quantity.low * factor, quantity.high * factor, quantity.count)
