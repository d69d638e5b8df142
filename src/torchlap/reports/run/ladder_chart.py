"""The chart of a search: each recipe's speed-up over the plain step, tier by tier, with what is out left out."""

from torchlap.reports.kit.drawing import FAINT, MOST_ROWS, SERIES, Drawn, ratio_ticks, sheet, short, styled
from torchlap.reports.kit.units import with_interval
from torchlap.reports.run.labels import is_drawable
from torchlap.reports.run.rows import Results
from torchlap.reports.tune.ladder import TITLES, headline
from torchlap.runs.tuning import Rung, tuned
from torchlap.schema.tuning import Tier

LONGEST_RECIPE = 44
COLORS: dict[Tier, str] = dict(zip(TITLES, SERIES, strict=False))


def ladder(results: Results) -> Drawn | None:
    """A bar per recipe, from the slowest to the fastest of each tier; None for a run that searched for nothing."""
    found = tuned(results.run)
    if found is None:
        return None
    rungs = [
        rung for rung in found.rungs if rung.result.speed_up and is_drawable(rung.result.speed_up) and not rung.out
    ]
    rungs.sort(key=lambda rung: (list(TITLES).index(rung.tier), _speed(rung)))
    if not rungs:
        return None
    with styled():
        figure = sheet(1.0 + 0.27 * len(rungs[:MOST_ROWS]))
        axes = figure.add_subplot()
        axes.set_xscale("log")
        for place, rung in enumerate(rungs[:MOST_ROWS]):
            interval = rung.result.speed_up
            if interval:
                axes.plot([interval.low, interval.high], [place, place], color=COLORS[rung.tier], linewidth=3)
                axes.plot(interval.value, place, "s" if rung.wins else "o", color=COLORS[rung.tier], markersize=5)
        axes.axvline(1.0, color=FAINT, linewidth=1)
        axes.set_yticks(range(len(rungs[:MOST_ROWS])), [_label(rung) for rung in rungs[:MOST_ROWS]])
        axes.margins(x=0.12)
        ratio_ticks(axes.xaxis, "x")
        axes.grid(visible=True, axis="x")
    plain = found.plain.cell.recipe
    winners = "; ".join(
        f"{TITLES[rung.tier].lower()}: {rung.result.cell.recipe} {with_interval(rung.result.speed_up, 'x')}"
        for rung in rungs
        if rung.wins and rung.result.speed_up
    )
    summary = f"{headline(found, results.run.header.plan)} {winners}".strip()
    return Drawn(figure, f"The ladder: speed-up over {plain}; a square is the best of its tier", summary)


def _speed(rung: Rung) -> float:
    return rung.result.speed_up.value if rung.result.speed_up else 0.0


def _label(rung: Rung) -> str:
    batch = f", batch {rung.result.cell.workload.batch}" if rung.tier == "training" else ""
    return short(f"{rung.result.cell.recipe}{batch}", LONGEST_RECIPE)
