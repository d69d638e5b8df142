"""The charts of a step: where its time goes, and how close it comes to the peaks of the device."""

from collections.abc import Iterator, Sequence

from matplotlib.axes import Axes
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, NullFormatter

from torchlap.judge.bottleneck import Bottleneck
from torchlap.reports.kit.drawing import (
    DRAWABLE,
    FAINT,
    MOST_PANELS,
    MOST_ROWS,
    SERIES,
    Drawn,
    marker,
    sheet,
    short,
    styled,
)
from torchlap.reports.kit.units import scaled, significant
from torchlap.reports.run.labels import cell_label
from torchlap.reports.run.rows import Results
from torchlap.schema.breakdown import Peaks
from torchlap.schema.recipe import Precision
from torchlap.schema.workload import StepPhase

PHASE_COLORS: dict[StepPhase, str] = dict(
    zip(("input", "transfer", "forward", "backward", "optimizer"), SERIES, strict=False)
)
CLOSE_PEAKS = 1.3
"""Peaks within this factor share one name, because two would overlap."""


def breakdown(results: Results) -> Drawn | None:
    """A bar per cell: the phases of a step as shares of their sum, with the time of the step."""
    analyzed = [
        (row, row.analysis)
        for row in results.rows
        if row.analysis and sum(spread.value for spread in row.analysis.phases.values()) > 0
    ]
    if not analyzed:
        return None
    rows = [row for row, _ in analyzed[:MOST_ROWS]]
    bars = [(cell_label(row, rows), analysis) for row, analysis in analyzed[:MOST_ROWS]]
    with styled():
        figure = sheet(1.1 + 0.3 * len(bars))
        axes = figure.add_subplot()
        _draw_bars(axes, bars)
        phases = list(dict.fromkeys(phase for _, analysis in bars for phase in _phase_shares(analysis)))
        handles = [Patch(color=PHASE_COLORS[phase]) for phase in phases]
        figure.legend(handles, phases, loc="outside upper left", ncols=5, fontsize="small")
    words = "; ".join(
        f"{label}: " + ", ".join(f"{phase} {share:.2f}" for phase, share in _phase_shares(analysis).items())
        for label, analysis in bars
    )
    return Drawn(figure, "Where the time of a step goes", f"Shares of the time of all phases. {words}.")


def _draw_bars(axes: Axes, bars: Sequence[tuple[str, Bottleneck]]) -> None:
    for place, (_, analysis) in enumerate(bars):
        start = 0.0
        for phase, share in _phase_shares(analysis).items():
            axes.barh(place, share, left=start, color=PHASE_COLORS[phase], height=0.7)
            start += share
        time = f"{significant(1e3 * analysis.step_seconds)} ms"
        axes.annotate(time, (1.0, place), (4, 0), textcoords="offset points", va="center")
    axes.set_yticks(range(len(bars)), [label for label, _ in bars])
    axes.set_ylim(len(bars) - 0.4, -0.6)
    axes.set_xlim(0, 1.16)
    axes.set_xticks([0, 0.25, 0.5, 0.75, 1.0], ["0", "1/4", "1/2", "3/4", "1"])


def _phase_shares(analysis: Bottleneck) -> dict[StepPhase, float]:
    """Shares of the sum of all phases.

    The wait for a loader is that of the timed laps: in the extra steps the loader may still be ahead.
    """
    seconds = {phase: spread.value for phase, spread in analysis.phases.items()}
    seconds["input"] = max(seconds.get("input", 0.0), analysis.starved_seconds or 0.0)
    total = sum(seconds.values())
    return {phase: value / total for phase, value in seconds.items()}


def roofline(results: Results) -> Drawn | None:
    """A panel per device: the arithmetic rate of each cell over its arithmetic intensity, below the measured peaks."""
    devices = [device for device, reached in results.peaks.items() if reached.copy_bytes and reached.flops][:MOST_ROWS]
    cells = {device: list(_points(results, device)) for device in devices}
    devices = [device for device in devices if cells[device]][:MOST_PANELS]
    if not devices:
        return None
    with styled():
        figure = sheet(0.4 + sum(2.4 + 0.1 * min(len(cells[device]), 2 * len(SERIES)) for device in devices))
        for place, device in enumerate(devices):
            _draw_roof(figure.add_subplot(len(devices), 1, place + 1), results.peaks[device], device, cells[device])
    words = [
        f"{short(device)}: "
        + "; ".join(
            f"{label} {scaled(rate, 'FLOP/s')} at {significant(intensity)} FLOP per byte"
            for label, intensity, rate in cells[device]
        )
        for device in devices
    ]
    return Drawn(figure, "Roofline", f"Arithmetic rates below the measured peaks of the device. {'. '.join(words)}.")


def _points(results: Results, device: str) -> Iterator[tuple[str, float, float]]:
    """The label, FLOP per byte and FLOP per second of each cell."""
    rows = [row for row in results.rows if row.result.cell.device == device and row.analysis][:MOST_ROWS]
    for row in rows:
        analysis = row.analysis
        if analysis and analysis.flops and analysis.bytes:
            rate, intensity = analysis.flops / analysis.step_seconds, analysis.flops / analysis.bytes
            if DRAWABLE[0] < intensity < DRAWABLE[1] and rate < DRAWABLE[1] ** 2:
                yield cell_label(row, rows), intensity, rate


def _draw_roof(axes: Axes, reached: Peaks, device: str, points: Sequence[tuple[str, float, float]]) -> None:
    copies = reached.copy_bytes or 1.0
    shown = points[: 2 * len(SERIES)]
    intensities = [intensity for _, intensity, _ in shown]
    right = 4 * max([peak / copies for peak in reached.flops.values()] + intensities)
    left = 0.3 * min([*intensities, 1.0])
    for precisions, peak in _ceilings(reached.flops):
        axes.plot([left, peak / copies, right], [left * copies, peak, peak], color=FAINT, linewidth=1.2)
        text, above = f"{precisions} {scaled(peak, 'FLOP/s')}", (0, 2)
        axes.annotate(text, (right, peak), above, textcoords="offset points", ha="right", fontsize="small")
    for place, (label, intensity, rate) in enumerate(shown):
        axes.plot(
            intensity, rate, marker(place), color=SERIES[place % len(SERIES)], markersize=6, linestyle="", label=label
        )
    axes.set_title(f"{short(device)}; copies {scaled(copies, 'B/s')}", loc="left")
    _style_roof(axes)


def _style_roof(axes: Axes) -> None:
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: scaled(value, "")))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel("FLOP per byte")
    axes.set_ylabel("FLOP/s")
    axes.grid(visible=True)
    axes.legend(fontsize="small", loc="upper left", bbox_to_anchor=(-0.1, -0.2), ncols=2)


def _ceilings(flops: dict[Precision, float]) -> list[tuple[str, float]]:
    """The peaks in ascending order with their precisions; close ones are joined."""
    joined: list[tuple[str, float]] = []
    for precision, peak in sorted(flops.items(), key=lambda pair: pair[1]):
        if joined and peak < CLOSE_PEAKS * joined[-1][1]:
            joined[-1] = (f"{joined[-1][0]}, {precision}", peak)
        else:
            joined.append((precision, peak))
    return joined
