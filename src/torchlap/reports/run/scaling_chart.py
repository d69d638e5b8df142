"""The charts of `torchlap scale`: throughput and efficiency by the number of devices, and where a step's time goes."""

from collections.abc import Sequence
from itertools import pairwise

from matplotlib.axes import Axes
from matplotlib.patches import Patch
from matplotlib.ticker import NullFormatter
from msgspec import Struct

from torchlap.reports.kit.drawing import FAINT, MOST_ROWS, SERIES, Drawn, ratio_ticks, sheet, side_by_side, styled, tip
from torchlap.reports.kit.units import significant, with_interval
from torchlap.reports.run.labels import is_drawable
from torchlap.reports.run.rows import Results
from torchlap.reports.scale import NAMES, headline
from torchlap.runs.scaling import SizeResult, sizes
from torchlap.stats import Interval

PARTS = ("as on one device", "without synchronization", "communication")
"""What the time of a step consists of; each is what the one before it does not have."""


class Point(Struct, frozen=True):
    """A number of devices with an interval."""

    devices: int
    interval: Interval


def scaling(results: Results) -> Drawn | None:
    """Throughput and efficiency over the number of devices, with their intervals and what would be perfect."""
    known = [size for size in sizes(results.run) if size.efficiency and is_drawable(size.efficiency)][:MOST_ROWS]
    known = [size for size in known if size.together.throughput and size.alone.throughput]
    if not known:
        return None
    alone = known[0].alone.throughput
    speeds = [Point(1, alone)] if alone else []
    speeds += [Point(size.ranks, size.together.throughput) for size in known if size.together.throughput]
    efficiencies = [Point(size.ranks, size.efficiency) for size in known if size.efficiency]
    kind = _kind(known[0])
    with styled():
        figure, (left, right) = side_by_side(2, 2.3)
        _draw_points(left, speeds, "tip-speed")
        most = max(size.ranks for size in known)
        left.plot([1, most], [speeds[0].interval.value, most * speeds[0].interval.value], "--", color=FAINT)
        left.set_title(results.rate, loc="left")
        _draw_points(right, efficiencies, "tip-efficiency")
        right.axhline(1.0, color=FAINT, linestyle="--")
        right.set_title("efficiency", loc="left")
        right.set_ylim(0, max(1.1, *(1.05 * point.interval.high for point in efficiencies)))
        for axes in (left, right):
            axes.set_xscale("log", base=2)
            axes.set_xlim(0.75, most * 1.6)
            axes.set_xticks([1, *(size.ranks for size in known)], ["1", *(str(size.ranks) for size in known)])
            axes.xaxis.set_minor_formatter(NullFormatter())
            axes.set_xlabel(kind)
            axes.grid(visible=True, axis="y")
        left.set_yscale("log")
        left.margins(y=0.15)
        ratio_ticks(left.yaxis)
    tips = {f"tip-speed-{point.devices}": _tip(point, kind, after=f" {results.rate}") for point in speeds}
    tips |= {f"tip-efficiency-{point.devices}": _tip(point, kind, before="efficiency ") for point in efficiencies}
    words = " ".join(map(headline, known))
    title = f"Throughput and efficiency by number of {kind}; dashed: perfect"
    return Drawn(figure, title, f"Bars: 95% intervals. {words}", tips)


def _kind(size: SizeResult) -> str:
    kind = size.together.cell.device.rpartition(" ")[2]
    return NAMES.get(kind, "devices")


def _tip(point: Point, kind: str, before: str = "", after: str = "") -> str:
    name = kind if point.devices > 1 else kind.removesuffix("s")
    return f"{point.devices} {name}: {before}{with_interval(point.interval)}{after}"


def _draw_points(axes: Axes, points: Sequence[Point], gid: str) -> None:
    for before, after in pairwise(points):
        ends = [before.devices, after.devices], [before.interval.value, after.interval.value]
        axes.plot(*ends, color=SERIES[0], linewidth=0.8)
    for point in points:
        interval, place = point.interval, point.devices
        axes.plot([place, place], [interval.low, interval.high], color=SERIES[0], linewidth=3, solid_capstyle="butt")
        axes.plot(place, interval.value, "o", color=SERIES[0], markersize=5)
        tip(axes, place, interval.value, f"{gid}-{place}")
        text = significant(interval.value)
        axes.annotate(text, (place, interval.low), (3, -3), textcoords="offset points", va="top", fontsize="small")


def step_parts(results: Results) -> Drawn | None:
    """A bar per number of devices: what a step takes beyond that of one device; None if nothing can be told apart."""
    known = [size for size in sizes(results.run)[:MOST_ROWS] if all(size.step_seconds)]
    if not known:
        return None
    bars = [_parts(size) for size in known]
    labels = [f"{size.ranks} {_kind(size)}" for size in known]
    with styled():
        figure = sheet(1.1 + 0.35 * len(bars))
        axes = figure.add_subplot()
        for place, parts in enumerate(bars):
            start = 0.0
            for part, seconds in enumerate(parts):
                axes.barh(place, 1e3 * max(0.0, seconds), left=1e3 * start, color=SERIES[part], height=0.6)
                start += max(0.0, seconds)
            text = f"{significant(1e3 * start)} ms"
            axes.annotate(text, (1e3 * start, place), (4, 0), textcoords="offset points", va="center")
        axes.set_yticks(range(len(bars)), labels)
        axes.set_ylim(len(bars) - 0.4, -0.6)
        axes.margins(x=0.15)
        axes.set_xlabel("ms per step")
        handles = [Patch(color=SERIES[part]) for part in range(len(PARTS))]
        figure.legend(handles, PARTS, loc="outside upper left", ncols=3, fontsize="small")
    words = "; ".join(
        f"{label}: "
        + ", ".join(f"{part} {significant(1e3 * seconds)} ms" for part, seconds in zip(PARTS, parts, strict=True))
        for label, parts in zip(labels, bars, strict=True)
    )
    return Drawn(figure, "Where the time of a step goes", f"{words}. Communication: what is not hidden.")


def _parts(size: SizeResult) -> tuple[float, float, float]:
    """Seconds of `PARTS`; they may come out below 0 by noise."""
    alone, together, unsynchronized = (seconds or 0.0 for seconds in size.step_seconds)
    ideal = size.ideal * alone
    without = size.without.value * alone if size.without else unsynchronized
    exposed = size.communication.seconds
    return ideal, without - ideal, together - without if exposed is None else exposed
