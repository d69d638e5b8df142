"""Findings about the laps themselves: too few, too much spread, drift, two speeds, correlation."""

from collections.abc import Iterable, Sequence
from math import log

from torchlap.judge.findings import Finding, Rule
from torchlap.judge.measurement.series import trend, two_levels
from torchlap.runs.figures import CellResult
from torchlap.stats import MIN_ROUNDS, autocorrelation, plain

FEW_ROUNDS = Rule(
    "TL201",
    "note",
    "few laps",
    "An interval from so few laps is valid but wide.",
    "Raise --budget.",
)


def few_rounds(cell: CellResult) -> Iterable[Finding]:
    """Too few laps for a narrow interval, however quiet the machine is."""
    count = len(cell.laps)
    if cell.throughput is not None and count < MIN_ROUNDS:
        yield FEW_ROUNDS.finding(str(cell.cell), f"{count} laps, fewer than {MIN_ROUNDS}")


WIDE = Rule(
    "TL202",
    "note",
    "interval wider than the target",
    "The result is less certain than requested: differences smaller than the interval are not meaningful.",
    "Close other programs, raise --budget, or accept a wider interval with --precision-target.",
)


def wide(cell: CellResult, target: float) -> Iterable[Finding]:
    """The interval is wider than requested, although there were enough rounds."""
    intervals = [interval for interval in (cell.throughput, cell.speed_up) if interval is not None]
    widest = max((interval.half_width for interval in intervals), default=0.0)
    if len(cell.laps) >= MIN_ROUNDS and widest > target:
        yield WIDE.finding(str(cell.cell), f"half-width {widest:.1%}, target {target:.1%}, {len(cell.laps)} laps")


COLD = Rule(
    "TL203",
    "note",
    "warm-up cut short",
    "The first laps may include one-time costs, so the throughput may be too low.",
    "Raise --budget.",
)


def cold(cell: CellResult) -> Iterable[Finding]:
    """The budget ended the warm-up before lap times were steady."""
    if cell.prepared is not None and not cell.prepared.steady and cell.throughput is not None:
        count = cell.prepared.warm_up_steps
        steps = "1 step" if count == 1 else f"{count} steps"
        yield COLD.finding(str(cell.cell), f"{steps} of warm-up in {cell.prepared.warm_up_seconds:.1f} s")


SLOW_STEPS = Rule(
    "TL221",
    "note",
    "rare slow steps",
    "Some steps take much longer than the others. Typical causes are periodic validation, logging or checkpoints, and "
    "other programs. The throughput includes these steps.",
    "Remove such work if it does not belong to the step, or close other programs; raise --budget to include more "
    "slow steps.",
)


def slow_steps(cell: CellResult) -> Iterable[Finding]:
    """All items over all seconds are clearly fewer than the usual lap suggests."""
    if cell.slow_steps > 1:
        evidence = f"{cell.slow_steps:.2f}x as fast without the slowest of {len(cell.laps)} laps"
        yield SLOW_STEPS.finding(str(cell.cell), evidence)


DRIFT = Rule(
    "TL204",
    "warning",
    "speed drifts",
    "The device got faster or slower during the measurement. Typical causes are heat, a throttled clock, and a load "
    "that comes and goes. The result is an average over that period and will differ next time. A speed-up is affected "
    "less, because both sides drift.",
    "Let the machine cool down, close other programs, and measure again; run a laptop on AC power.",
)

TREND_CHANCE = 0.002
"""A trend is reported if so few series without a trend would show it: one run of two dozen cells in twenty."""

TREND_LAPS = 8
"""In fewer laps no trend is significant."""

SPEED_CHANGE = 0.05
"""Any machine that warms up drifts by this much."""


def drifts(cell: CellResult) -> Iterable[Finding]:
    """The laps of a cell get longer or shorter during the run."""
    evidence = _drift(cell.speeds, SPEED_CHANGE, "laps", cell.speed_starts)
    if evidence:
        yield DRIFT.finding(str(cell.cell), evidence)


def _drift(series: Sequence[float], least: float, unit: str, starts: Sequence[int] = ()) -> str:
    """How a series moved from its first to its last value, in words; empty if by less than `least`, or by chance.

    Where the workers were started several times: from the first to the last value of a start.
    """
    if len(series) < TREND_LAPS:
        return ""
    estimate = trend(series, starts)
    if estimate.p >= TREND_CHANCE or abs(log(estimate.change)) < least:
        return ""
    where = f", in {len(set(starts))} starts" if starts else ""
    return f"{estimate.change:.2f}x as fast at the end as at the start, over {len(series)} {unit}{where}"


TWO_SPEEDS = Rule(
    "TL205",
    "warning",
    "two speeds",
    "The laps fall into two separate groups. Typical causes are a clock that switches, two kinds of cores, and "
    "something that runs every other time. The result lies between two speeds and equals neither.",
    "Close other programs, run a laptop on AC power, and measure again with more laps (a larger --budget).",
)

LEVELS_CHANGE = 0.05
"""Two speeds closer than this are steps of a clock."""


def two_speeds(cell: CellResult) -> Iterable[Finding]:
    """The laps fall into two groups."""
    levels = two_levels(cell.speeds)
    if levels is not None and log(levels.high / levels.low) >= LEVELS_CHANGE:
        speeds = f"{plain(levels.low)} and {plain(levels.high)} {cell.cell.workload.unit}/s"
        yield TWO_SPEEDS.finding(str(cell.cell), f"{speeds}, with {levels.share:.0%} of the laps at the higher speed")


CORRELATED = Rule(
    "TL206",
    "note",
    "consecutive laps are correlated",
    "Disturbances on this machine last longer than a lap, so the laps contain less information than their number "
    "suggests. The intervals are widened to account for it, but a measurement this short cannot show how much wider "
    "they need to be.",
    "Raise --budget, and use a smaller --precision-target.",
)

CORRELATED_LAPS, CORRELATED_AT = 12, 0.5


def correlated(cell: CellResult) -> Iterable[Finding]:
    """The speed-ups of consecutive rounds are correlated; for a baseline, its laps."""
    series = cell.ratios or cell.speeds
    if len(series) < CORRELATED_LAPS or cell.speed_starts:  # starts differ, and the interval is theirs
        return
    correlation = autocorrelation([log(value) for value in series])
    if correlation >= CORRELATED_AT and not _drift(series, 0.0, "laps"):
        evidence = f"autocorrelation {correlation:.2f} from lap to lap, over {len(series)} laps"
        yield CORRELATED.finding(str(cell.cell), evidence)


SPEED_UP_DRIFT = Rule(
    "TL207",
    "warning",
    "speed-up drifts",
    "One side got faster or slower while the other did not, so the speed-up depends on how long the measurement lasts. "
    "Typical causes are a throttled device, and a model that slows down as it trains.",
    "Let the machine cool down and measure again; if the drift persists, compare the laps of both sides in the run "
    "file.",
)

RATIO_CHANGE = 0.02
"""A smaller drift of the speed-up is within the precision that the intervals aim for."""


def speed_up_drifts(cell: CellResult) -> Iterable[Finding]:
    """One side of a speed-up got slower or faster, and the other did not."""
    evidence = _drift(cell.ratios, RATIO_CHANGE, "rounds", cell.ratio_starts)
    if evidence:
        yield SPEED_UP_DRIFT.finding(str(cell.cell), evidence)
