"""A chart of one kind of work by release of torch, as coordinates: `chip.html.j2` draws it."""

from collections.abc import Sequence
from math import log

from msgspec import Struct

from torchlap.judge.collection import Spread
from torchlap.reports.kit.text import clean
from torchlap.reports.kit.units import significant

LEFT, RIGHT, TOP, BOTTOM = 80, 315, 20, 155
MOST_RELEASES = 8
MARGIN = 0.05
"""On the log scale, above and below."""


class HistoryPoint(Struct, frozen=True):
    """A release: where its median is, and the ends of its range."""

    x: float
    y: float
    top: float
    bottom: float
    label: str
    tip: str


class HistoryChart(Struct, frozen=True):
    """A chart; `ticks` are labels with their heights."""

    title: str
    summary: str
    points: tuple[HistoryPoint, ...]
    ticks: tuple[tuple[str, float], ...]


def history_chart(title: str, releases: Sequence[Spread]) -> HistoryChart:
    """The chart of the newest releases, of at least two, on a log scale."""
    shown = releases[-MOST_RELEASES:]
    low = log(min(each.low for each in shown)) - MARGIN
    high = log(max(each.high for each in shown)) + MARGIN

    def height(value: float) -> float:
        return round(BOTTOM - (BOTTOM - TOP) * (log(value) - low) / (high - low), 1)

    step = (RIGHT - LEFT) / (len(shown) - 1)
    points = tuple(
        HistoryPoint(
            x=round(LEFT + place * step, 1),
            y=height(each.value),
            top=height(each.high),
            bottom=height(each.low),
            label=clean(each.label),
            tip=_tip(each),
        )
        for place, each in enumerate(shown)
    )
    values = [min(each.low for each in shown), max(each.high for each in shown)]
    ticks = tuple((significant(value, 3), height(value)) for value in values)
    return HistoryChart(title, "; ".join(point.tip for point in points), points, ticks)


def _tip(each: Spread) -> str:
    machines = "1 machine" if each.machines == 1 else f"{each.machines} machines"
    values = f"{significant(each.low, 4)} to {significant(each.high, 4)}"
    return clean(f"torch {each.label}: {significant(each.value, 4)} ({values}; {machines})")
