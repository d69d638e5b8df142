"""The charts of a run, and of several: what they show, and what each says in words, its text alternative."""

import textwrap
from collections.abc import Callable, Iterator, Sequence
from statistics import median

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullFormatter

from torchlap.reports.kit.drawing import (
    DRAWABLE,
    FAINT,
    LONGEST_LABEL,
    MOST_PANELS,
    MOST_POINTS,
    MOST_ROWS,
    SERIES,
    TWO,
    Chart,
    Drawn,
    as_chart,
    dot_legend,
    encoded,
    line_legend,
    marker,
    ratio_ticks,
    sheet,
    short,
    side_by_side,
    styled,
)
from torchlap.reports.kit.text import machine_line
from torchlap.reports.run.bottleneck import significant
from torchlap.reports.run.rows import Judged, Row, clean, number
from torchlap.reports.run.step_charts import breakdown, roofline
from torchlap.runs.figures import items_per_second
from torchlap.runs.find import Named
from torchlap.schema.events import Round
from torchlap.stats import Interval

LONGEST_MACHINE = 230
"""Three lines of a picture."""


def headline_png(seen: Judged) -> bytes:
    """The speed-ups, or the throughputs where nothing was compared, as a picture with the machine's name below."""
    drawn = speed_ups(seen) or throughputs(seen) or _nothing()
    machine = textwrap.shorten(clean(machine_line(seen.run.header.facts)), LONGEST_MACHINE, placeholder="…")
    below = textwrap.fill(f"{machine}. Bars: 95% intervals. torchlap", 78)
    drawn.figure.set_figheight(drawn.figure.get_figheight() + 0.7)
    with styled():
        drawn.figure.suptitle(drawn.title, x=0.01, ha="left", weight="bold")
        drawn.figure.supxlabel(below, size="x-small", color=FAINT, ha="left", x=0.01)
    return encoded(drawn.figure, "png")


def of_run(seen: Judged, prefix: str) -> Iterator[Chart]:
    """The charts that a run has the figures for."""
    drawers: dict[str, Callable[[Judged], Drawn | None]] = {
        "speed-ups": speed_ups,
        "throughput": throughputs,
        "batches": by_batch,
        "laps": laps,
        "breakdown": breakdown,
        "roofline": roofline,
    }
    for name, draw in drawers.items():
        drawn = draw(seen)
        if drawn:
            yield as_chart(drawn, f"{prefix}-{name}")


def of_runs(runs: Sequence[tuple[Named, Judged]], prefix: str) -> Iterator[Chart]:
    """The chart of several runs."""
    drawn = trend(runs)
    if drawn:
        yield as_chart(drawn, f"{prefix}-trend")


def _nothing() -> Drawn:
    with styled():
        figure = sheet(1.0)
        figure.text(0.5, 0.5, "No figure with an interval.", ha="center", va="center")
    return Drawn(figure, "Nothing to draw", "No figure with an interval.")


def speed_ups(seen: Judged) -> Drawn | None:
    """A line a cell with its interval, on a scale of ratios, beside the baseline's 1."""
    told = [(row, row.result.speed_up) for row in seen.rows if row.result.speed_up and not row.void]
    ratios = [(row, ratio) for row, ratio in told if _drawable(ratio)]
    if not ratios:
        return None
    first = next(row for row in seen.rows if row.result.is_baseline)
    title = f"Speed-up over {first.device} in {first.recipe}"
    figure = _intervals(seen, ratios[:MOST_ROWS], "x", compared=True)
    return Drawn(figure, title, _summary(seen, ratios, "x"))


def throughputs(seen: Judged) -> Drawn | None:
    """A line a cell with its interval, in images a second; only where there are no speed-ups to show."""
    figures = [(row, row.result.throughput) for row in seen.rows if row.result.throughput and not row.void]
    figures = [(row, each) for row, each in figures if _drawable(each)]
    if not figures or any(row.result.speed_up for row in seen.rows):
        return None
    figure = _intervals(seen, figures[:MOST_ROWS], "", compared=False)
    return Drawn(figure, "Images a second", _summary(seen, figures, " images/s"))


def _drawable(interval: Interval) -> bool:
    return DRAWABLE[0] < interval.low and interval.high < DRAWABLE[1]


def _intervals(seen: Judged, told: Sequence[tuple[Row, Interval]], unit: str, *, compared: bool) -> Figure:
    with styled():
        figure = sheet(0.9 + 0.27 * len(told))
        axes = figure.add_subplot()
        axes.set_xscale("log")
        groups = list(dict.fromkeys(_group(row) for row, _ in told))
        for place, (row, interval) in enumerate(told):
            color = SERIES[groups.index(_group(row)) % len(SERIES)]
            axes.plot([interval.low, interval.high], [place, place], color=color, linewidth=3, solid_capstyle="butt")
            axes.plot(interval.value, place, "o", color=color, markersize=5)
            text = f"{number(interval.value, 0.1 * interval.value)}{unit}"
            axes.annotate(text, (interval.high, place), (5, 0), textcoords="offset points", va="center")
        if compared:
            axes.axvline(1.0, color=FAINT, linewidth=1)
        axes.set_yticks(range(len(told)), [_label(seen, row) for row, _ in told])
        axes.set_ylim(len(told) - 0.4, -0.6)
        axes.margins(x=0.12)
        ratio_ticks(axes.xaxis, unit)
        axes.grid(visible=True, axis="x")
    return figure


def _group(row: Row) -> str:
    return f"{row.device} {row.recipe}"


def _label(seen: Judged, row: Row) -> str:
    """What tells the cell from the others of the chart."""
    words = [row.model, f"batch {row.batch}"]
    words += [row.phase] * (len({each.phase for each in seen.rows}) > 1)
    accelerated = {each.device for each in seen.rows if not each.result.is_baseline}
    words += [row.device] * (len(accelerated) > 1)
    words += [row.recipe] * (len({each.recipe for each in seen.rows}) > 1)
    return short(", ".join(words), LONGEST_LABEL)


def _summary(seen: Judged, told: Sequence[tuple[Row, Interval]], unit: str) -> str:
    """The least and the most, and how many cells; the table has each."""
    ordered = sorted(told, key=lambda pair: pair[1].value)
    ends = [
        f"{number(interval.value, 0.1 * interval.value)}{unit} for {_label(seen, row)}"
        for row, interval in (ordered[0], ordered[-1])
    ]
    hidden = f" The first {MOST_ROWS} are drawn." if len(told) > MOST_ROWS else ""
    spread = ends[0] if len(told) == 1 else f"from {ends[0]} to {ends[1]}"
    return f"{len(told)} cell{'s' * (len(told) != 1)} with 95% intervals: {spread}.{hidden} The table has each figure."


def by_batch(seen: Judged) -> Drawn | None:
    """A panel a model: images a second over the batch, a line a device and recipe. None where there is one batch."""
    told = [row for row in seen.rows if row.result.throughput and not row.void and _drawable(row.result.throughput)]
    models = [model for model in dict.fromkeys(row.model for row in told) if _batches(told, model) >= TWO]
    if not models:
        return None
    with styled():
        figure, panels = side_by_side(len(models[:MOST_PANELS]), 1.75)
        groups = list(dict.fromkeys(f"{_group(row)} {row.phase}" for row in told))
        for axes, model in zip(panels, models, strict=False):
            for place, group in enumerate(groups):
                _batch_line(
                    axes, [row for row in told if (row.model, f"{_group(row)} {row.phase}") == (model, group)], place
                )
            axes.set_title(short(model), loc="left")
            axes.set_xscale("log", base=2)
            axes.set_yscale("log")
            batches = sorted({row.result.cell.workload.batch for row in told if row.model == model})
            axes.set_xticks(batches, [str(batch) for batch in batches])
            axes.xaxis.set_minor_formatter(NullFormatter())
            ratio_ticks(axes.yaxis)
            axes.grid(visible=True)
        line_legend(figure, [short(_named(group, told), 40) for group in groups])
        figure.supxlabel("batch", size="medium")
        figure.supylabel("images/s", size="medium")
    gains = "; ".join(_gains(told, model) for model in models[:MOST_PANELS])
    return Drawn(figure, "Throughput by batch", f"Images a second at each batch size. {gains}.")


def _batches(told: Sequence[Row], model: str) -> int:
    return len({row.batch for row in told if row.model == model})


def _named(group: str, told: Sequence[Row]) -> str:
    """A group without what all groups have in common."""
    row = next(row for row in told if f"{_group(row)} {row.phase}" == group)
    words = [row.device]
    words += [row.recipe] * (len({each.recipe for each in told}) > 1)
    words += [row.phase] * (len({each.phase for each in told}) > 1)
    return " ".join(words)


def _batch_line(axes: Axes, told: Sequence[Row], place: int) -> None:
    points = [(row.result.cell.workload.batch, row.result.throughput) for row in told if row.result.throughput]
    points.sort(key=lambda point: point[0])
    batches, figures = [batch for batch, _ in points], [interval for _, interval in points]
    values = [interval.value for interval in figures]
    errors = [
        [max(0.0, interval.value - interval.low) for interval in figures],
        [max(0.0, interval.high - interval.value) for interval in figures],
    ]
    color = SERIES[place % len(SERIES)]
    axes.errorbar(batches, values, yerr=errors, color=color, marker=marker(place), markersize=4, capsize=2)


def _gains(told: Sequence[Row], model: str) -> str:
    """From the smallest batch to the largest, of each device and recipe."""
    words = []
    for group in dict.fromkeys(_group(row) for row in told):
        mine = [row for row in told if row.model == model and _group(row) == group and row.result.throughput]
        mine.sort(key=lambda row: row.result.cell.workload.batch)
        if len(mine) >= TWO:
            ends = [row.result.throughput.value for row in (mine[0], mine[-1]) if row.result.throughput]
            words.append(f"{mine[0].device} {significant(ends[0])} to {significant(ends[1])} images/s")
    return f"{short(model)}: {', '.join(words)}"


def laps(seen: Judged) -> Drawn | None:
    """A panel a comparison: each lap beside its cell's median, over the time; drift and two speeds are seen."""
    panels = [
        (place, group)
        for place, group in enumerate(seen.run.header.plan.groups)
        if any(isinstance(event, Round) and event.group == place for event in seen.run.events)
    ]
    if not panels:
        return None
    names: dict[str, None] = {}
    swings: list[str] = []
    with styled():
        figure, drawn = side_by_side(len(panels[:MOST_PANELS]), 1.6)
        for axes, (place, group) in zip(drawn, panels, strict=False):
            for position, cell in enumerate(group.cells):
                series = _over_time(seen, place, position, cell.workload.batch)
                if len(series) >= TWO:
                    names.setdefault(f"{cell.device} {cell.recipe}")
                    color = list(names).index(f"{cell.device} {cell.recipe}")
                    times, speeds = zip(*series, strict=True)
                    axes.plot(times, speeds, ".", color=SERIES[color % len(SERIES)], markersize=4)
                    swings.append(f"{short(str(cell), 60)}: {min(speeds):.2f} to {max(speeds):.2f}")
            workload = group.cells[0].workload
            axes.set_title(f"{short(workload.model.rpartition('/')[2], 20)}, batch {workload.batch}", loc="left")
            axes.axhline(1.0, color=FAINT, linewidth=0.8)
            axes.xaxis.set_major_locator(MaxNLocator(4))
            axes.grid(visible=True)
        dot_legend(figure, [short(name, 40) for name in names])
        figure.supxlabel("seconds since the start", size="medium")
        figure.supylabel("images/s over the median", size="medium")
    if not swings:
        return None
    shown = f" The first {MOST_PANELS} of {len(panels)} comparisons are drawn." if len(panels) > MOST_PANELS else ""
    return Drawn(figure, "Laps over time", f"Each lap over its cell's median. {'; '.join(swings)}.{shown}")


def _over_time(seen: Judged, group: int, position: int, batch: int) -> list[tuple[float, float]]:
    """Seconds since the start and the speed over the median, of each lap, or of so many groups of them."""
    told = [
        (event.at_seconds, items_per_second(lap, batch))
        for event in seen.run.events
        if isinstance(event, Round) and event.group == group
        for lap in event.laps
        if lap.cell == position
    ]
    told = [(at, speed) for at, speed in told if DRAWABLE[0] < speed < DRAWABLE[1]]
    if len(told) < TWO:
        return []
    return _over_median(told)


def _over_median(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Each speed over the median of all, beside its place; of more points than are drawn, the medians of groups."""
    middle = median(speed for _, speed in points)
    size = -(-len(points) // MOST_POINTS)
    groups = [points[start : start + size] for start in range(0, len(points), size)]
    return [(group[0][0], median(speed for _, speed in group) / middle) for group in groups]


def trend(runs: Sequence[tuple[Named, Judged]]) -> Drawn | None:
    """Each cell's images a second, over its median, from run to run; None for fewer than three runs."""
    series: dict[str, list[tuple[int, float]]] = {}
    for place, (_, seen) in enumerate(runs):
        for row in seen.rows:
            speed = row.result.estimate
            if speed and not row.void and DRAWABLE[0] < speed < DRAWABLE[1]:
                series.setdefault(str(row.result.cell), []).append((place + 1, speed))
    series = {cell: points for cell, points in series.items() if len(points) > TWO}
    if not series:
        return None
    shown = dict(list(series.items())[: len(SERIES)])
    with styled():
        figure = sheet(3.2)
        axes = figure.add_subplot()
        for place, points in enumerate(shown.values()):
            places, speeds = zip(*_over_median(points), strict=True)
            axes.plot(places, speeds, ".-", color=SERIES[place], linewidth=0.8, markersize=4)
        dot_legend(figure, [short(cell, 34) for cell in shown])
        axes.set_xlabel("run, in the order of their starts")
        axes.set_ylabel("images/s over the median")
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        axes.grid(visible=True)
    hidden = f" {len(shown)} of {len(series)} cells are drawn." if len(series) > len(shown) else ""
    words = "; ".join(
        f"{short(cell, 60)}: first {significant(points[0][1])}, last {significant(points[-1][1])} images/s"
        for cell, points in shown.items()
    )
    return Drawn(figure, "From run to run", f"Each cell over its median of all runs. {words}.{hidden}")
