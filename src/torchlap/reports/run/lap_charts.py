"""The charts of laps over time, and of cells from run to run."""

from collections.abc import Sequence
from statistics import median

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator
from msgspec import Struct

from torchlap.reports.kit.drawing import (
    DRAWABLE,
    FAINT,
    MOST_PANELS,
    MOST_POINTS,
    MOST_SERIES,
    SERIES,
    Drawn,
    dot_legend,
    sheet,
    short,
    side_by_side,
    styled,
)
from torchlap.reports.kit.units import significant, with_interval
from torchlap.reports.run.rows import Results
from torchlap.runs.figures import LEAST_LAPS, items_per_second
from torchlap.schema.events import Round
from torchlap.schema.workload import Group
from torchlap.stats import Interval

LEAST_RUNS = 3
"""Fewer have no trend."""

SHIFT = 0.03
"""Of a run's width, between the intervals of two cells, so that none hides another."""

LONGEST_MODEL, LONGEST_SERIES, LONGEST_CELL = 20, 40, 60
"""Characters of a panel's title, a legend's entry, and a cell's name in a summary."""

Points = list[tuple[float, float]]
"""Places on the horizontal axis, each with a speed."""


def laps(results: Results) -> Drawn | None:
    """A panel per group: each lap over its cell's median, over time, which shows drift and two speeds."""
    numbers = {event.group for event in results.run.events if isinstance(event, Round)}
    groups = [
        (number, Group(tuple(result.cell for result in found.cells)))  # with cells that joined it in a search
        for number, found in enumerate(results.groups)
        if number in numbers
    ]
    if not groups:
        return None
    names: list[str] = []
    ranges: list[str] = []
    drawn = groups[:MOST_PANELS]
    times = _over_time(results, dict(drawn))
    with styled():
        figure, panels = side_by_side(len(drawn), 1.6)
        for axes, (number, group) in zip(panels, drawn, strict=True):
            ranges += _draw_group(axes, group, times[number], names)
        dot_legend(figure, [short(name, LONGEST_SERIES) for name in names])
        figure.supxlabel("seconds since the start", size="medium")
        figure.supylabel("throughput / median", size="medium")
    if not ranges:
        return None
    hidden = f" The first {MOST_PANELS} of {len(groups)} groups are drawn." if len(groups) > MOST_PANELS else ""
    return Drawn(figure, "Laps over time", f"Each lap relative to its cell's median. {'; '.join(ranges)}.{hidden}")


def _draw_group(axes: Axes, group: Group, laps_of: dict[int, Points], names: list[str]) -> list[str]:
    """Draw a group; the range of each cell in words. `names` collects the devices and recipes, which share a color."""
    ranges = []
    for position, cell in enumerate(group.cells[:MOST_SERIES]):
        drawable = [(at, speed) for at, speed in laps_of.get(position, ()) if DRAWABLE[0] < speed < DRAWABLE[1]]
        if len(drawable) < LEAST_LAPS:
            continue
        points = _over_median(drawable)
        name = f"{cell.device} {cell.recipe}"
        if name not in names:
            names.append(name)
        times, speeds = zip(*points, strict=True)
        axes.plot(times, speeds, ".", color=SERIES[names.index(name) % len(SERIES)], markersize=4)
        ranges.append(f"{short(str(cell), LONGEST_CELL)}: {min(speeds):.2f} to {max(speeds):.2f}")
    workload = group.cells[0].workload
    axes.set_title(f"{short(workload.model.rpartition('/')[2], LONGEST_MODEL)}, batch {workload.batch}", loc="left")
    axes.axhline(1.0, color=FAINT, linewidth=0.8)
    axes.xaxis.set_major_locator(MaxNLocator(4))
    axes.grid(visible=True)
    return ranges


def _over_time(results: Results, groups: dict[int, Group]) -> dict[int, dict[int, Points]]:
    """For each lap of these groups, by group and cell, the seconds since the start and its speed."""
    found: dict[int, dict[int, Points]] = {number: {} for number in groups}
    for event in results.run.events:
        if isinstance(event, Round) and event.group in groups:
            cells, points = groups[event.group].cells, found[event.group]
            for lap in event.laps:
                speed = items_per_second(lap, cells[lap.cell].workload.batch)
                points.setdefault(lap.cell, []).append((event.at_seconds, speed))
    return found


def _over_median(points: Sequence[tuple[float, float]]) -> Points:
    """Each speed over the median of all; more points than `MOST_POINTS` become medians of neighbors."""
    middle = median(speed for _, speed in points)
    size = -(-len(points) // MOST_POINTS)
    chunks = [points[start : start + size] for start in range(0, len(points), size)]
    return [(chunk[0][0], median(speed for _, speed in chunk) / middle) for chunk in chunks]


class Measured(Struct, frozen=True):
    """A cell's throughput in the run of that number; without an interval, the limits are the value."""

    number: int
    throughput: Interval


def trend(runs: Sequence[Results]) -> Drawn | None:
    """The throughput of each cell over its median, from run to run, with its interval.

    None for fewer than `LEAST_RUNS`.
    """
    series = _series(runs)
    if not series:
        return None
    shown = dict(list(series.items())[: len(SERIES)])
    with styled():
        figure = sheet(3.2)
        axes = figure.add_subplot()
        for place, points in enumerate(shown.values()):
            _draw_series(axes, points, SERIES[place], (place - (len(shown) - 1) / 2) * SHIFT)
        dot_legend(figure, [short(cell, 34) for cell in shown])
        axes.set_xlabel("run")
        axes.set_ylabel("throughput / median")
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        axes.grid(visible=True)
    hidden = f" {len(shown)} of {len(series)} cells are drawn." if len(series) > len(shown) else ""
    units = {str(row.result.cell): row.unit for results in runs for row in results.rows}
    words = "; ".join(
        f"{short(cell, LONGEST_CELL)}: first {_words(points[0])}, last {_words(points[-1])} {units[cell]}/s"
        for cell, points in shown.items()
    )
    told = f"Each cell relative to its median over all runs, with intervals. {words}.{hidden}"
    return Drawn(figure, "Changes from run to run", told)


def _draw_series(axes: Axes, points: Sequence[Measured], color: str, shift: float) -> None:
    """Draw a cell from run to run; too many runs become medians of neighbors, without intervals."""
    middle = median(point.throughput.value for point in points)
    if len(points) > MOST_POINTS:
        plain = [(float(point.number), point.throughput.value) for point in points]
        numbers, speeds = zip(*_over_median(plain), strict=True)
        axes.plot(numbers, speeds, ".-", color=color, linewidth=0.8, markersize=4)
        return
    values = [point.throughput.value / middle for point in points]
    below = [(point.throughput.value - point.throughput.low) / middle for point in points]
    above = [(min(point.throughput.high, DRAWABLE[1]) - point.throughput.value) / middle for point in points]
    places = [point.number + shift for point in points]
    axes.errorbar(places, values, yerr=[below, above], fmt=".-", color=color, linewidth=0.8, markersize=4, capsize=2)


def _words(point: Measured) -> str:
    throughput = point.throughput
    return with_interval(throughput) if throughput.low < throughput.high else significant(throughput.value)


def _series(runs: Sequence[Results]) -> dict[str, list[Measured]]:
    """For each cell the numbers of its runs, each with its throughput."""
    series: dict[str, list[Measured]] = {}
    for number, results in enumerate(runs, 1):
        for row in results.rows:
            speed = row.result.estimate
            if speed and not row.void and DRAWABLE[0] < speed < DRAWABLE[1]:
                interval = row.result.throughput or Interval(speed, speed, speed, 1)
                series.setdefault(str(row.result.cell), []).append(Measured(number, interval))
    return {cell: points for cell, points in series.items() if len(points) >= LEAST_RUNS}
