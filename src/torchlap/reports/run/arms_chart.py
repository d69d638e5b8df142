"""The chart of arms: the throughputs of all side by side, and the ratios to the first with their intervals."""

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullFormatter
from msgspec import Struct

from torchlap.reports.kit.drawing import (
    FAINT,
    LONGEST_LABEL,
    MOST_ROWS,
    SERIES,
    Drawn,
    ratio_ticks,
    sheet,
    short,
    styled,
    tip,
)
from torchlap.reports.kit.text import clean
from torchlap.reports.kit.units import with_interval
from torchlap.reports.run.labels import is_drawable
from torchlap.reports.run.rows import Results, Row
from torchlap.stats import Interval

LONGEST_ARM = 40
LEAST_DECADES = 10.0
"""Throughputs that differ by more than this factor are drawn on a logarithmic scale."""


class Line(Struct, frozen=True):
    """A cell of all arms: its name, and its row in each arm."""

    name: str
    rows: dict[str, Row]


class At(Struct, frozen=True):
    """Where a mark is: its height in a panel, the number of its arm, and what its tip is called."""

    height: float
    arm: int
    key: str


def arms(results: Results) -> Drawn | None:
    """Two panels with a line per cell: throughput by arm, and the ratio to the first arm; None without arms."""
    names = [clean(arm.name) for arm in results.run.header.plan.arms]
    lines = _lines(results)
    ratios = [interval for line in lines for row in line.rows.values() if (interval := _ratio(row))]
    if len(names) < 2 or not ratios:  # noqa: PLR2004  nothing is compared
        return None
    drawn = lines[: MOST_ROWS // len(names)]
    tips: dict[str, str] = {}
    with styled():
        figure = sheet(1.3 + 0.24 * len(drawn) * len(names))
        left, right = figure.subplots(1, 2, sharey=True)
        for place, line in enumerate(drawn):
            for arm, name in enumerate(names):
                row = line.rows.get(name)
                if row:
                    at = At(place + (arm + 0.5) / len(names) * 0.7 - 0.35, arm, f"{place}-{arm}")
                    tips |= _draw(left, row.result.throughput, at, "", _speed_tip(line, row))
                    tips |= _draw(right, _ratio(row), at, "x", _ratio_tip(line, row, names))
        _style(left, right, results.rate, names[0], drawn)
        handles = [Patch(color=SERIES[place % len(SERIES)]) for place in range(len(names))]
        legend = [short(name, LONGEST_ARM) for name in names]
        figure.legend(handles, legend, loc="outside upper left", ncols=2, fontsize="small")
    others = " and ".join(short(name, LONGEST_ARM) for name in names[1:])
    title = f"{others} and {short(names[0], LONGEST_ARM)} side by side"
    hidden = f" The first {len(drawn)} of {len(lines)} are drawn." if len(lines) > len(drawn) else ""
    words = "; ".join(text for key, text in tips.items() if key.startswith("tip-ratio"))
    return Drawn(figure, title, f"Bars: {results.run.header.plan.confidence:.0%} intervals. {words}.{hidden}", tips)


def _lines(results: Results) -> list[Line]:
    devices, recipes = ({getattr(row, name) for row in results.rows} for name in ("device", "recipe"))
    by_arm = {arm.name: arm.recipe for arm in results.run.header.plan.arms}
    own_recipes = len(set(by_arm.values())) > 1
    lines: dict[tuple[str, ...], Line] = {}
    for row in results.rows:
        recipe = row.recipe if len(recipes) > 1 and not own_recipes else ""
        place = (row.model, row.batch, row.phase, row.device, recipe)
        words = [row.model, f"batch {row.batch}", *([row.device] * (len(devices) > 1)), *([recipe] * bool(recipe))]
        line = lines.setdefault(place, Line(short(", ".join(words), LONGEST_LABEL), {}))
        if not row.void:
            line.rows[row.arm] = row
    return list(lines.values())


def _ratio(row: Row) -> Interval | None:
    interval = row.result.speed_up
    return interval if interval and is_drawable(interval) and not row.result.is_baseline else None


def _speed_tip(line: Line, row: Row) -> str:
    return f"{line.name}, {row.arm}: {row.throughput} {row.unit}/s"


def _ratio_tip(line: Line, row: Row, names: Sequence[str]) -> str:
    interval = row.result.speed_up
    return f"{line.name}: {row.arm} is {with_interval(interval, 'x')} as fast as {names[0]}" if interval else ""


def _draw(axes: Axes, interval: Interval | None, at: At, unit: str, text: str) -> dict[str, str]:
    """Draw an interval, if there is one; its tip."""
    if interval is None or not is_drawable(interval):
        return {}
    color, height = SERIES[at.arm % len(SERIES)], at.height
    gid = f"tip-{'ratio' if unit else 'speed'}-{at.key}"
    axes.plot([interval.low, interval.high], [height, height], color=color, linewidth=3, solid_capstyle="butt")
    axes.plot(interval.value, height, "o", color=color, markersize=5)
    tip(axes, interval.value, height, gid)
    label = with_interval(interval, unit).partition(" (")[0]
    axes.annotate(label, (interval.high, height), (5, 0), textcoords="offset points", va="center", fontsize="small")
    return {gid: text}


def _style(left: Axes, right: Axes, rate: str, first: str, lines: Sequence[Line]) -> None:
    speeds = [row.result.estimate for line in lines for row in line.rows.values() if row.result.estimate]
    if speeds and max(speeds) > LEAST_DECADES * min(speeds):
        left.set_xscale("log")
        ratio_ticks(left.xaxis)
    else:
        left.set_xlim(left=0)
        left.xaxis.set_major_locator(MaxNLocator(4))
    right.set_xscale("log")
    right.xaxis.set_major_locator(MaxNLocator(3))
    right.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}x"))
    right.xaxis.set_minor_formatter(NullFormatter())
    right.axvline(1.0, color=FAINT, linewidth=1)
    left.set_yticks(range(len(lines)), [line.name for line in lines])
    left.set_ylim(len(lines) - 0.4, -0.6)
    left.set_title(rate, loc="left")
    right.set_title(f"over {short(first)}", loc="left")
    for axes in (left, right):
        axes.margins(x=0.22)
        axes.grid(visible=True, axis="x")
