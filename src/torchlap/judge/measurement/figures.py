"""Findings about the figures themselves: few rounds, wide intervals, drift, two speeds."""

from collections.abc import Iterable
from math import log

from torchlap.judge.findings import Finding, Rule, found
from torchlap.runs.figures import CellResult, items_per_second
from torchlap.stats import MIN_ROUNDS, autocorrelation, trend, two_levels

FEW_ROUNDS = Rule(
    "TL201",
    "note",
    "few rounds",
    "An interval from two or three laps is honest but wide.",
    "Give it more time with --budget.",
)
WIDE = Rule(
    "TL202",
    "note",
    "interval wider than the target",
    "The figure is less certain than was asked for: differences within the interval mean nothing.",
    "Close other programs, give it more time with --budget, or accept less with --precision-target.",
)
COLD = Rule(
    "TL203",
    "note",
    "warm-up cut short",
    "The first laps may hold what only happens once, so the figure may be too low.",
    "Give it more time with --budget.",
)
DRIFT = Rule(
    "TL204",
    "warning",
    "speed drifts",
    "The device got faster or slower while it was measured: heat, a throttled clock, or a load that comes and goes. "
    "The figure is an average over that, and will be another next time. A speed-up is hit less, for both sides "
    "drifted.",
    "Let the machine rest, close other programs, and measure again; on a laptop, on mains power.",
)
TWO_SPEEDS = Rule(
    "TL205",
    "warning",
    "two speeds",
    "The laps fall into two groups with nothing between: a clock that switches, cores of two kinds, or something that "
    "runs every other time. The figure lies between two speeds, of which the machine has neither.",
    "Close other programs; on a laptop, use mains power; measure again with more laps: a larger --budget.",
)
DEPENDENT = Rule(
    "TL206",
    "note",
    "laps resemble their neighbours",
    "What disturbs the machine lasts longer than a lap, so the laps tell less than their number says. The intervals "
    "are widened for it, but a measurement so short cannot tell how much is needed.",
    "Give it more time with --budget, and a smaller --precision-target.",
)
RATIO_DRIFT = Rule(
    "TL207",
    "warning",
    "speed-up drifts",
    "One side got faster or slower and the other did not, so the speed-up is not one number: it depends on how long "
    "one measures. A throttled device, or a model that slows down as it trains, does this.",
    "Let the machine rest and measure again; if it stays, look at the laps of either side in the run file.",
)


TREND_CHANCE = 0.002
"""A trend that so few of the series without one show is told; with two dozen cells a run, one run in twenty."""

TREND_LAPS = 8
"""Fewer show no trend that is beyond chance."""

RATIO_CHANGE = 0.02
"""A drift of the speed-up by less is within what is asked of the intervals."""

SPEED_CHANGE = 0.05
"""The speed of one device drifts by so much on any machine that warms up."""

LEVELS_CHANGE = 0.05
"""Two speeds nearer than this are a clock's steps."""

DEPENDENT_LAPS, DEPENDENT_AT = 12, 0.5


def few_rounds(cell: CellResult) -> Iterable[Finding]:
    """A figure from so few laps that its interval is wide whatever the machine does."""
    if cell.throughput is not None and len(cell.laps) < MIN_ROUNDS:
        yield found(FEW_ROUNDS, str(cell.cell), f"n = {len(cell.laps)}")


def wide(cell: CellResult, target: float) -> Iterable[Finding]:
    """An interval that stayed wider than was asked for, although there were rounds enough."""
    intervals = [figure for figure in (cell.throughput, cell.speed_up) if figure is not None]
    widest = max((figure.half_width for figure in intervals), default=0.0)
    if len(cell.laps) >= MIN_ROUNDS and widest > target:
        evidence = f"half-width {widest:.1%}, asked for {target:.1%}, {len(cell.laps)} laps"
        yield found(WIDE, str(cell.cell), evidence)


def cold(cell: CellResult) -> Iterable[Finding]:
    """The budget ended the warm-up before the laps were level."""
    if cell.prepared is not None and not cell.prepared.steady and cell.throughput is not None:
        steps, seconds = cell.prepared.warm_up_steps, cell.prepared.warm_up_seconds
        yield found(COLD, str(cell.cell), f"{steps} step{'s' * (steps != 1)} in {seconds:.1f} s")


def _speeds(cell: CellResult) -> list[float]:
    """Images a second of each lap."""
    return [items_per_second(lap, cell.cell.workload.batch) for lap in cell.laps]


def _drift(series: list[float], least: float) -> str:
    """In words, how a series moved from its first to its last value; empty when that is little, or may be chance."""
    if len(series) < TREND_LAPS:
        return ""
    seen = trend(series)
    if seen.p >= TREND_CHANCE or abs(log(seen.change)) < least:
        return ""
    return f"{seen.change:.2f} times as fast at the end as at the start, over {len(series)} laps"


def drifts(cell: CellResult) -> Iterable[Finding]:
    """The laps of a cell get longer or shorter over the run."""
    said = _drift(_speeds(cell), SPEED_CHANGE)
    if said:
        yield found(DRIFT, str(cell.cell), said)


def two_speeds(cell: CellResult) -> Iterable[Finding]:
    """The laps fall into two groups."""
    levels = two_levels(_speeds(cell))
    if levels is not None and log(levels.high / levels.low) >= LEVELS_CHANGE:
        evidence = f"{levels.low:.3g} and {levels.high:.3g} images/s, {levels.share:.0%} of the laps the faster"
        yield found(TWO_SPEEDS, str(cell.cell), evidence)


def dependent(cell: CellResult) -> Iterable[Finding]:
    """The rounds' speed-ups (of a baseline: its laps) resemble the ones before them."""
    series = list(cell.ratios) or _speeds(cell)
    if len(series) < DEPENDENT_LAPS:
        return
    alike = autocorrelation([log(value) for value in series])
    if alike >= DEPENDENT_AT and not _drift(series, 0.0):
        evidence = f"autocorrelation {alike:.2f} from lap to lap, over {len(series)} laps"
        yield found(DEPENDENT, str(cell.cell), evidence)


def ratio_drifts(cell: CellResult) -> Iterable[Finding]:
    """One side of a speed-up got slower or faster, and the other did not."""
    said = _drift(list(cell.ratios), RATIO_CHANGE)
    if said:
        yield found(RATIO_DRIFT, str(cell.cell), said.replace("laps", "rounds"))
