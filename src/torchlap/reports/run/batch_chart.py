"""The chart of throughput by batch size."""

from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.ticker import NullFormatter

from torchlap.reports.kit.drawing import (
    MOST_PANELS,
    MOST_SERIES,
    SERIES,
    Drawn,
    line_legend,
    marker,
    ratio_ticks,
    short,
    side_by_side,
    styled,
)
from torchlap.reports.kit.units import significant
from torchlap.reports.run.hardware import hardware_names
from torchlap.reports.run.labels import is_drawable, variant
from torchlap.reports.run.rows import MOST_CELLS, Results, Row

LEAST_POINTS = 2
"""Of a line."""

LONGEST_SERIES = 40
MOST_TICKS = 16
"""Of more batch sizes, only the ends are named."""


def by_batch(results: Results) -> Drawn | None:
    """A panel per model: throughput over the batch size, a line per device, recipe and phase.

    None if no model has several batch sizes.
    """
    rows = [
        row
        for row in results.first.rows
        if row.result.throughput and not row.void and is_drawable(row.result.throughput)
    ]
    batches: dict[str, set[int]] = {}
    for row in rows:
        batches.setdefault(row.model, set()).add(row.result.cell.workload.batch)
    models = [model for model, sizes in batches.items() if len(sizes) >= LEAST_POINTS]
    if not models:
        return None
    rows = [row for row in rows if row.model in models[:MOST_PANELS]]
    names = hardware_names(results.run.header.facts)
    with styled():
        figure, panels = side_by_side(len(models[:MOST_PANELS]), 1.75)
        lines = list(dict.fromkeys(_line(row) for row in rows))[:MOST_SERIES]
        for axes, model in zip(panels, models, strict=False):
            points = [row for row in rows if row.model == model]
            for place, line in enumerate(lines):
                _draw_line(axes, [row for row in points if _line(row) == line], place)
            _style_panel(axes, short(model), sorted({row.result.cell.workload.batch for row in points}))
        line_legend(figure, [short(_line_name(line, rows, names), LONGEST_SERIES) for line in lines[: len(SERIES)]])
        figure.supxlabel("batch", size="medium")
        figure.supylabel(results.rate, size="medium")
    gains = "; ".join(_gains(rows, model) for model in models[:MOST_PANELS])
    hidden = (
        f" The first {MOST_CELLS} of {len(results.rows)} cells are drawn." if len(results.rows) > MOST_CELLS else ""
    )
    words = f"Throughput from the smallest batch to the largest. {gains}.{hidden}"
    return Drawn(figure, "Throughput by batch size", words)


def _line(row: Row) -> str:
    return f"{variant(row)} {row.phase}"


def _line_name(line: str, rows: Sequence[Row], names: Mapping[str, str]) -> str:
    """A line's hardware, and its recipe and phase if they vary."""
    row = next(row for row in rows if _line(row) == line)
    varying = [name for name in ("recipe", "phase") if len({getattr(other, name) for other in rows}) > 1]
    return ", ".join([names.get(row.device, row.device), *(getattr(row, name) for name in varying)])


def _draw_line(axes: Axes, rows: Sequence[Row], place: int) -> None:
    points = [(row.result.cell.workload.batch, row.result.throughput) for row in rows if row.result.throughput]
    points.sort(key=lambda point: point[0])
    batches, intervals = [batch for batch, _ in points], [interval for _, interval in points]
    values = [interval.value for interval in intervals]
    errors = [
        [max(0.0, interval.value - interval.low) for interval in intervals],
        [max(0.0, interval.high - interval.value) for interval in intervals],
    ]
    color = SERIES[place % len(SERIES)]
    axes.errorbar(batches, values, yerr=errors, color=color, marker=marker(place), markersize=4, capsize=2)


def _style_panel(axes: Axes, title: str, batches: Sequence[int]) -> None:
    axes.set_title(title, loc="left")
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    shown = batches if len(batches) <= MOST_TICKS else (batches[0], batches[-1])
    axes.set_xticks(shown, [str(batch) for batch in shown])
    axes.xaxis.set_minor_formatter(NullFormatter())
    ratio_ticks(axes.yaxis)
    axes.grid(visible=True)


def _gains(rows: Sequence[Row], model: str) -> str:
    """The throughput at the smallest batch and at the largest, of each device and recipe."""
    words = []
    for name in list(dict.fromkeys(variant(row) for row in rows))[:MOST_SERIES]:
        points = [row for row in rows if row.model == model and variant(row) == name and row.result.throughput]
        points.sort(key=lambda row: row.result.cell.workload.batch)
        if len(points) >= LEAST_POINTS:
            ends = [row.result.throughput.value for row in (points[0], points[-1]) if row.result.throughput]
            unit = points[0].unit
            words.append(f"{points[0].device} {significant(ends[0])} to {significant(ends[1])} {unit}/s")
    return f"{short(model)}: {', '.join(words)}"
