"""The charts of a step: where its time goes, and how near it comes to what the device reaches."""

from collections.abc import Iterator, Sequence

from matplotlib.axes import Axes
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, NullFormatter

from torchlap.judge.bottleneck import Bottleneck
from torchlap.reports.kit.drawing import (
    DRAWABLE,
    FAINT,
    LONGEST_LABEL,
    MOST_PANELS,
    MOST_ROWS,
    SERIES,
    Drawn,
    marker,
    sheet,
    short,
    styled,
)
from torchlap.reports.run.bottleneck import scaled, significant
from torchlap.reports.run.rows import Judged, Row
from torchlap.schema.recipe import Precision
from torchlap.schema.workload import StepPhase

PHASE_COLORS: dict[StepPhase, str] = dict(
    zip(("input", "transfer", "forward", "backward", "optimizer"), SERIES, strict=False)
)
CLOSE_PEAKS = 1.3
"""Peaks nearer to each other than that share a line's name."""


def breakdown(seen: Judged) -> Drawn | None:
    """A bar a cell: the phases of a step, each as its share of their sum, with the step's time."""
    told = [
        (row, row.explained)
        for row in seen.rows
        if row.explained and sum(each.value for each in row.explained.phases.values()) > 0
    ]
    if not told:
        return None
    shown = told[:MOST_ROWS]
    with styled():
        figure = sheet(1.1 + 0.3 * len(shown))
        axes = figure.add_subplot()
        for place, (_, why) in enumerate(shown):
            start = 0.0
            for phase, share in _phase_shares(why).items():
                axes.barh(place, share, left=start, color=PHASE_COLORS[phase], height=0.7)
                start += share
            axes.annotate(
                f"{significant(1e3 * why.step_seconds)} ms",
                (1.0, place),
                (4, 0),
                textcoords="offset points",
                va="center",
            )
        axes.set_yticks(range(len(shown)), [_cell_label(seen, row) for row, _ in shown])
        axes.set_ylim(len(shown) - 0.4, -0.6)
        axes.set_xlim(0, 1.16)
        axes.set_xticks([0, 0.25, 0.5, 0.75, 1.0], ["0", "1/4", "1/2", "3/4", "1"])
        phases = list(dict.fromkeys(phase for _, why in shown for phase in _phase_shares(why)))
        handles = [Patch(color=PHASE_COLORS[phase]) for phase in phases]
        figure.legend(handles, phases, loc="outside upper left", ncols=5, fontsize="small")
    words = "; ".join(
        f"{_cell_label(seen, row)}: " + ", ".join(f"{phase} {share:.2f}" for phase, share in _phase_shares(why).items())
        for row, why in shown
    )
    return Drawn(figure, "Where a step's time goes", f"Shares of the phases' time. {words}.")


def _phase_shares(why: Bottleneck) -> dict[StepPhase, float]:
    """Of the phases' sum; a loader's wait is that of the timed laps, in the extra ones it may still be ahead."""
    seconds = {phase: each.value for phase, each in why.phases.items()}
    seconds["input"] = max(seconds.get("input", 0.0), why.starved_seconds or 0.0)
    total = sum(seconds.values())
    return {phase: each / total for phase, each in seconds.items()}


def _cell_label(seen: Judged, row: Row) -> str:
    """As `_label`, with the device where there are several."""
    device = f", {row.device}" if len({each.device for each in seen.rows}) > 1 else ""
    return short(
        f"{row.model}, batch {row.batch}{device}" + f", {row.recipe}" * (len({each.recipe for each in seen.rows}) > 1),
        LONGEST_LABEL,
    )


def roofline(seen: Judged) -> Drawn | None:
    """A panel a device: each cell's arithmetic a second over its arithmetic a byte, below what the device reaches."""
    devices = [device for device, reached in seen.peaks.items() if reached.copy_bytes and reached.flops]
    cells = {device: list(_points(seen, device)) for device in devices}
    devices = [device for device in devices if cells[device]][:MOST_PANELS]
    if not devices:
        return None
    with styled():
        figure = sheet(0.4 + 2.7 * len(devices))
        for place, device in enumerate(devices):
            _roof(figure.add_subplot(len(devices), 1, place + 1), seen, device, cells[device])
    words = [
        f"{short(device)}: "
        + "; ".join(
            f"{label} {scaled(rate, 'FLOP/s')} at {significant(intensity)} FLOP a byte"
            for label, intensity, rate in cells[device]
        )
        for device in devices
    ]
    return Drawn(
        figure, "Roofline", f"Arithmetic a second beside what the device was seen to reach. {'. '.join(words)}."
    )


def _points(seen: Judged, device: str) -> Iterator[tuple[str, float, float]]:
    """Of each cell its label, FLOP a byte and FLOP a second."""
    for row in seen.rows:
        why = row.explained
        if why and row.result.cell.device == device and why.flops and why.bytes:
            rate, intensity = why.flops / why.step_seconds, why.flops / why.bytes
            if DRAWABLE[0] < intensity < DRAWABLE[1] and rate < DRAWABLE[1] ** 2:
                label = f"{row.model}, batch {row.batch}"
                label += f", {row.recipe}" * (len({each.recipe for each in seen.rows}) > 1)
                yield short(label, LONGEST_LABEL), intensity, rate


def _roof(axes: Axes, seen: Judged, device: str, points: Sequence[tuple[str, float, float]]) -> None:
    reached = seen.peaks[device]
    copies = reached.copy_bytes or 1.0
    shown = points[: 2 * len(SERIES)]
    right = 4 * max([peak / copies for peak in reached.flops.values()] + [intensity for _, intensity, _ in shown])
    left = 0.3 * min([intensity for _, intensity, _ in shown] + [1.0])
    for precisions, peak in _ceilings(reached.flops):
        axes.plot([left, peak / copies, right], [left * copies, peak, peak], color=FAINT, linewidth=1.2)
        text, above = f"{precisions} {scaled(peak, 'FLOP/s')}", (0, 2)
        axes.annotate(text, (right, peak), above, textcoords="offset points", ha="right", fontsize="small")
    for place, (label, intensity, rate) in enumerate(shown):
        axes.plot(
            intensity, rate, marker(place), color=SERIES[place % len(SERIES)], markersize=6, linestyle="", label=label
        )
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: scaled(value, "")))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel("FLOP a byte")
    axes.set_ylabel("FLOP/s")
    axes.set_title(f"{short(device)}; copies {scaled(copies, 'B/s')}", loc="left")
    axes.grid(visible=True)
    axes.legend(fontsize="small", loc="lower right")


def _ceilings(flops: dict[Precision, float]) -> list[tuple[str, float]]:
    """The peaks from the lowest, with what is reached in each; those so close that their names would overlap as one."""
    found: list[tuple[str, float]] = []
    for precision, peak in sorted(flops.items(), key=lambda one: one[1]):
        if found and peak < CLOSE_PEAKS * found[-1][1]:
            found[-1] = (f"{found[-1][0]}, {precision}", peak)
        else:
            found.append((precision, peak))
    return found
