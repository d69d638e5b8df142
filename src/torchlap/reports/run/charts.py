"""The charts of a run or of several, each with a summary in words, and the picture of the main one."""

import textwrap
from collections.abc import Callable, Iterator, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from torchlap.reports.kit.drawing import (
    FAINT,
    MOST_ROWS,
    SERIES,
    Chart,
    Drawn,
    as_chart,
    dot_legend,
    encoded,
    ratio_ticks,
    sheet,
    styled,
)
from torchlap.reports.kit.machine import machine_line
from torchlap.reports.kit.text import clean, counted, date
from torchlap.reports.kit.units import number, with_interval
from torchlap.reports.run.arms_chart import arms
from torchlap.reports.run.batch_chart import by_batch
from torchlap.reports.run.hardware import hardware_names
from torchlap.reports.run.headline import headline
from torchlap.reports.run.labels import cell_label, is_drawable, variant, variant_name, workload_label
from torchlap.reports.run.ladder_chart import ladder
from torchlap.reports.run.lap_charts import laps, trend
from torchlap.reports.run.rows import Results, Row
from torchlap.reports.run.scaling_chart import scaling, step_parts
from torchlap.reports.run.step_charts import breakdown, roofline
from torchlap.runs.find import Named
from torchlap.stats import Interval

LONGEST_MACHINE = 230
"""Three lines of a picture."""

LINE_LENGTH = 100
TITLE_LENGTH = 46
LEGEND_LETTERS = 30
"""That fit into a line of a picture's legend."""

TITLE_INCHES = 0.35
"""Of a panel's title, as a share of the panel's height."""


def headline_png(results: Results) -> bytes:
    """A picture of the speed-ups, or else of the throughputs: the answer above, the machine below."""
    drawn = scaling(results) or arms(results) or speed_ups(results) or throughputs(results) or _nothing()
    header = results.run.header
    above = textwrap.fill(headline(results, hardware_names(header.facts)), TITLE_LENGTH, max_lines=3, placeholder="…")
    machine = textwrap.shorten(clean(machine_line(header.facts)), LONGEST_MACHINE, placeholder="…")
    below = textwrap.fill(
        f"{drawn.title}; bars: {_confidence(results)} intervals. {machine}. {_caveat(results)}"
        f"Measured by torchlap, {date(header.started)}.",
        LINE_LENGTH,
    )
    _legend_below_title(drawn.figure)
    drawn.figure.set_figheight(drawn.figure.get_figheight() + 0.8 + 0.2 * above.count("\n"))
    with styled():
        drawn.figure.suptitle(above, x=0.01, ha="left", weight="bold")
        drawn.figure.supxlabel(below, size="x-small", color=FAINT, ha="left", x=0.01)
    return encoded(drawn.figure, "png")


def _legend_below_title(figure: Figure) -> None:
    """Move a legend from the top of the picture, where its title will be, to the first panel."""
    if not figure.axes:
        return
    axes = figure.axes[0]
    above = (TITLE_INCHES if axes.get_title(loc="left") else 0.0) / figure.get_figheight()
    for legend in list(figure.legends):
        labels = [text.get_text() for text in legend.get_texts()]
        handles = [handle for handle in legend.legend_handles if handle is not None]
        columns = len(labels) if sum(map(len, labels)) <= LEGEND_LETTERS else 1
        with styled():
            place = (0, 1.02 + above)
            axes.legend(handles, labels, loc="lower left", bbox_to_anchor=place, ncols=columns, fontsize="small")
        legend.remove()


def of_run(results: Results, prefix: str) -> dict[str, Chart]:
    """The charts that a run has data for, by their kind."""
    drawers: dict[str, Callable[[Results], Drawn | None]] = {
        "ladder": ladder,
        "scaling": scaling,
        "step-parts": step_parts,
        "arms": arms,
        "speed-ups": speed_ups,
        "throughput": throughputs,
        "batches": by_batch,
        "laps": laps,
        "breakdown": breakdown,
        "roofline": roofline,
    }
    drawn = {kind: draw(results) for kind, draw in drawers.items()}
    return {kind: as_chart(figure, f"{prefix}-{kind}") for kind, figure in drawn.items() if figure}


def of_runs(runs: Sequence[tuple[Named, Results]], prefix: str) -> Iterator[Chart]:
    """The chart of several runs."""
    drawn = trend([results for _, results in runs])
    if drawn:
        yield as_chart(drawn, f"{prefix}-trend")


def _nothing() -> Drawn:
    with styled():
        figure = sheet(1.0)
        figure.text(0.5, 0.5, "No result with an interval.", ha="center", va="center")
    return Drawn(figure, "No results to draw", "No result with an interval.")


def _caveat(results: Results) -> str:
    """The findings that a reader of the picture alone must know of."""
    codes = dict.fromkeys(finding.code for finding in results.findings if finding.severity != "note")
    return f"Before you rely on it, read {', '.join(codes)} in the report. " if codes else ""


def _confidence(results: Results) -> str:
    return f"{results.run.header.plan.confidence:.0%}"


def speed_ups(results: Results) -> Drawn | None:
    """A bar per cell for its interval, on a scale of ratios; a line marks the baseline's 1.

    None for runs of arms or ranks, which have charts of their own.
    """
    if results.run.header.plan.arms or results.run.header.plan.scaling:
        return None
    points = [
        (row, row.result.speed_up)
        for row in results.rows
        if row.result.speed_up and not row.void and is_drawable(row.result.speed_up)
    ]
    if not points:
        return None
    first = next(row for row in results.rows if row.result.is_baseline)
    recipes = {row.recipe for row, _ in points}
    where = f" in {recipes.pop()}" if len(recipes) == 1 and recipes != {first.recipe} else ""
    drawn, tips = points[:MOST_ROWS], {}
    for place, (row, interval) in enumerate(drawn):
        tips[f"tip-{place}"] = f"{row.result.cell}: {with_interval(interval, 'x')}, {row.throughput} {row.unit}/s"
    over = hardware_names(results.run.header.facts).get(first.device, first.device)
    title = f"Speed-up{where} over {over} in {first.recipe}"
    return Drawn(_intervals(results, drawn, "x", compared=True), title, _summary(results, points, "x"), tips)


def throughputs(results: Results) -> Drawn | None:
    """A bar per cell for its interval, in items per second; only if there are no speed-ups."""
    if any(row.result.speed_up for row in results.rows):
        return None
    points = [
        (row, row.result.throughput)
        for row in results.rows
        if row.result.throughput and not row.void and is_drawable(row.result.throughput)
    ]
    if not points:
        return None
    drawn = points[:MOST_ROWS]
    tips = {f"tip-{place}": f"{row.result.cell}: {row.throughput} {row.unit}/s" for place, (row, _) in enumerate(drawn)}
    figure = _intervals(results, drawn, "", compared=False)
    unit = results.rate.removesuffix("/s")
    return Drawn(figure, f"{unit.capitalize()} per second", _summary(results, points, f" {results.rate}"), tips)


def _intervals(results: Results, points: Sequence[tuple[Row, Interval]], unit: str, *, compared: bool) -> Figure:
    """A line per workload, with a bar for each device, recipe and phase; a legend where there are several."""
    rows = [row for row, _ in points]
    variants = list(dict.fromkeys(variant(row) for row in rows))
    lines = list(dict.fromkeys(workload_label(row, rows) for row in rows))
    with styled():
        figure = sheet(0.9 + 0.27 * len(lines) * (0.4 + 0.6 * len(variants)))
        axes = figure.add_subplot()
        axes.set_xscale("log")
        for place, (row, interval) in enumerate(points):
            series = variants.index(variant(row))
            height = lines.index(workload_label(row, rows)) + (series + 0.5) / len(variants) * 0.8 - 0.4
            _bar(axes, height, interval, unit, SERIES[series % len(SERIES)])
            axes.plot([interval.low, interval.high], [height] * 2, linewidth=14, alpha=0, gid=f"tip-{place}")
        if compared:
            axes.axvline(1.0, color=FAINT, linewidth=1)
        axes.set_yticks(range(len(lines)), lines)
        axes.set_ylim(len(lines) - 0.4, -0.6)
        axes.margins(x=0.12)
        ratio_ticks(axes.xaxis, unit)
        axes.grid(visible=True, axis="x")
        if len(variants) > 1:
            names = hardware_names(results.run.header.facts)
            firsts = {variant(row): row for row in reversed(rows)}
            dot_legend(figure, [variant_name(firsts[of], rows, names) for of in variants])
    return figure


def _bar(axes: Axes, place: float, interval: Interval, unit: str, color: str) -> None:
    axes.plot([interval.low, interval.high], [place, place], color=color, linewidth=3, solid_capstyle="butt")
    axes.plot(interval.value, place, "o", color=color, markersize=5)
    text = f"{number(interval.value, 0.1 * interval.value)}{unit}"
    axes.annotate(text, (interval.high, place), (5, 0), textcoords="offset points", va="center")


def _summary(results: Results, points: Sequence[tuple[Row, Interval]], unit: str) -> str:
    """The number of cells, the least and the most; the table has every value."""
    rows = [row for row, _ in points]
    ordered = sorted(points, key=lambda point: point[1].value)
    ends = [
        f"{number(interval.value, 0.1 * interval.value)}{unit} ({cell_label(row, rows)})"
        for row, interval in (ordered[0], ordered[-1])
    ]
    spread = ends[0] if len(points) == 1 else f"from {ends[0]} to {ends[1]}"
    hidden = f" The first {MOST_ROWS} are drawn." if len(points) > MOST_ROWS else ""
    cells = counted(len(points), "cell")
    return f"{cells} with {_confidence(results)} intervals: {spread}.{hidden} The table has all values."
