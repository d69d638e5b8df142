"""What all charts share: colors, panels, legends; a drawing as SVG for a page, or as a PNG picture.

A page sets the colors of its charts by its style, light or dark. Text from a run file is not trusted.
"""

import html
import io
import re
import warnings
from collections.abc import Sequence
from contextlib import AbstractContextManager
from math import inf, log10
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter
from msgspec import Struct

from torchlap.reports.kit.text import clean

INK, FAINT = "#1f2328", "#8b929a"
SERIES = ("#2f74d0", "#c2570c", "#1a8754", "#a03bb8", "#8a6d00", "#c4314b", "#0f7f8c", "#6b6f76")
"""Colors with a contrast of at least 4 to 1 against white. A dark page replaces them by its `--series-0` and so on."""

STYLE: dict[Any, Any] = {
    "axes.edgecolor": FAINT,
    "axes.labelcolor": INK,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlecolor": INK,
    "axes.titlesize": "medium",
    "font.family": "sans-serif",
    "font.size": 9.5,
    "grid.color": FAINT,
    "grid.alpha": 0.35,
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "legend.labelcolor": INK,
    "svg.fonttype": "none",
    "text.color": INK,
    "text.parse_math": False,
    "xtick.color": FAINT,
    "xtick.labelcolor": INK,
    "ytick.color": FAINT,
    "ytick.labelcolor": INK,
}
WIDTH = 5.2
"""Inches: narrow enough for the text to be readable on a phone."""

PNG_DPI = 200
LONGEST_NAME = 30
LONGEST_LABEL = 38
MOST_ROWS = 48
MOST_PANELS = 12
MOST_SERIES = 2 * len(SERIES)
"""In a panel."""

MOST_POINTS = 300
"""More laps of a cell than this are drawn as the medians of this many groups."""

DRAWABLE = (1e-9, 1e15)
PANELS_ABREAST = 2
TICKS: tuple[tuple[float, tuple[float, ...]], ...] = ((2.0, (1.0, 2.0, 5.0)), (4.0, (1.0, 3.0)), (inf, (1.0,)))
"""Up to how many powers of ten an axis has which ticks; more would touch each other."""

LEGEND_LETTERS = 64
"""That fit into a line of a legend."""

SOFTWARE = "torchlap"
"""Written into each picture; the command line replaces only files that have it."""


class Chart(Struct, frozen=True):
    """A chart for a page; `name` is unique there. `has_tips`: some marks have a text of their own."""

    name: str
    title: str
    summary: str
    svg: str
    has_tips: bool = False


class Drawn(Struct, frozen=True):
    """A figure with its title, and a summary in words; `tips` are shown by a page beside what is pointed at, by gid."""

    figure: Figure
    title: str
    summary: str
    tips: dict[str, str] = {}


def styled() -> AbstractContextManager[None]:
    """A context in which charts get their style."""
    return mpl.rc_context(STYLE)


def sheet(height: float) -> Figure:
    """An empty drawing, `height` in inches."""
    return Figure(figsize=(WIDTH, height), layout="constrained")


def short(text: str, longest: int = LONGEST_NAME) -> str:
    """Clean text for a label."""
    cleaned = clean(text)
    return cleaned if len(cleaned) <= longest else f"{cleaned[: longest - 1]}…"


def ratio_ticks(axis: Axis, unit: str = "") -> None:
    """Ticks at 1, 2 and 5 in each power of ten, or fewer over a long range, in plain digits; once all is drawn."""
    low, high = axis.get_view_interval()
    decades = log10(high / low) if 0 < low < high else 1.0
    subs = next(subs for most, subs in TICKS if decades <= most)
    axis.set_major_locator(LogLocator(base=10, subs=subs, numticks=8))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}{unit}"))
    axis.set_minor_formatter(NullFormatter())


def tip(axes: Axes, x: float, y: float, gid: str) -> None:
    """An area around a mark that a page shows the text for; it cannot be seen."""
    axes.plot(x, y, "s", markersize=16, alpha=0, gid=gid)


def marker(place: int) -> str:
    """The marker of a series, so that color is not its only mark."""
    return "os^Dv*Px"[place % 8]


def side_by_side(count: int, height: float) -> tuple[Figure, list[Axes]]:
    """A number of panels, two in a line."""
    columns = min(PANELS_ABREAST, count)
    lines = -(-count // columns)
    figure = sheet(0.7 + height * lines)
    return figure, [figure.add_subplot(lines, columns, place + 1) for place in range(count)]


def line_legend(figure: Figure, labels: Sequence[str]) -> None:
    """A legend above all panels, of as many series as there are colors."""
    _legend(figure, labels, [{"marker": marker(place), "markersize": 4} for place in range(len(SERIES))])


def dot_legend(figure: Figure, labels: Sequence[str]) -> None:
    """A legend above all panels, for series of dots."""
    _legend(figure, labels, [{"marker": ".", "linestyle": "", "markersize": 7}] * len(SERIES))


def _legend(figure: Figure, labels: Sequence[str], styles: Sequence[dict[str, Any]]) -> None:
    shown = list(labels)[: len(SERIES)]
    handles = [Line2D([], [], color=SERIES[place], **styles[place]) for place in range(len(shown))]
    if shown:
        columns = min(len(shown), max(1, LEGEND_LETTERS // max(map(len, shown))))
        figure.legend(handles, shown, loc="outside upper left", ncols=columns, fontsize="small")


def as_chart(drawn: Drawn, name: str) -> Chart:
    """The drawing for a page, with the page's colors and font; its inner names are unique."""
    text = encoded(drawn.figure, "svg", name).decode()
    svg = text[text.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r' (?:width|height)="[\d.]+pt"', "", svg, count=2)
    for pattern in (r'(\bid=")', r"(\burl\(#)", r'(\bhref="#)'):
        svg = re.sub(pattern, rf"\g<1>{name}-", svg)
    for gid, tip in drawn.tips.items():
        group = f'<g id="{name}-{gid}">'
        svg = svg.replace(group, f"{group}<title>{html.escape(clean(tip))}</title>")
    for place, color in enumerate(SERIES):
        svg = svg.replace(color, f"var(--series-{place})")
    svg = svg.replace(INK, "var(--ink)").replace(FAINT, "var(--faint)")
    svg = re.sub(
        r"font(-family)?: ([\d.]+px )?[^;\"]*(?=[;\"])",
        lambda match: f"font-size: {match[2].strip()}" if match[2] else "",
        svg,
    )
    return Chart(name=name, title=clean(drawn.title), summary=clean(drawn.summary), svg=svg, has_tips=bool(drawn.tips))


def encoded(figure: Figure, kind: str, salt: str = "") -> bytes:
    """The figure's file; the same figure always gives the same bytes."""
    out = io.BytesIO()
    with mpl.rc_context(STYLE | {"svg.hashsalt": salt or "torchlap"}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from font")  # browsers have one
        warnings.filterwarnings("ignore", "constrained_layout not applied")  # a name is too wide
        if kind == "svg":
            figure.savefig(out, format="svg", transparent=True, metadata={"Date": None})
        else:
            figure.savefig(out, format="png", dpi=PNG_DPI, facecolor="white", metadata={"Software": SOFTWARE})
    return out.getvalue()
