"""Numbers in words: digits that their spread justifies, intervals, and prefixes that keep them short."""

from math import floor, log10

from torchlap.stats import Interval

MOST_DECIMALS = 4
MOST_SIGNIFICANT_DECIMALS = 9
WIDE = 1.0
"""A half-width on the log scale. Wider limits, a factor of 7 apart, say nothing and are left out."""

PREFIXES = ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))
BINARY = ((1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB"))


def number(value: float, spread: float) -> str:
    """A positive value with the digits that its spread justifies, at least two."""
    decimals = _decimals(value, spread)
    return f"{round(value, decimals):.{max(0, decimals)}f}"


def _decimals(value: float, spread: float) -> int:
    """How many decimals to write; a negative number of them rounds to tens or hundreds."""
    digits = 1 - floor(log10(value))
    justified = -floor(log10(spread)) if spread > 0 else digits + 1
    if justified < 0:
        return max(digits, min(0, justified + 1))
    return min(MOST_DECIMALS, max(0, digits, justified))


def is_vague(interval: Interval) -> bool:
    """Whether the limits are too wide to say anything."""
    return interval.half_width > WIDE


def with_interval(interval: Interval, unit: str = "") -> str:
    """A value with its limits, `6.1x (5.9 to 6.3)`; `~6.1x (n = 2, wide)` if they are too wide to say anything."""
    if is_vague(interval):
        return f"~{number(interval.value, interval.value)}{unit} (n = {interval.count}, wide)"
    return with_limits(interval, unit)


def with_limits(interval: Interval, unit: str = "") -> str:
    """A value with its limits, however wide they are."""
    spread = min(interval.value - interval.low, interval.high - interval.value)
    decimals = _decimals(interval.value, spread)
    value, low, high = (
        f"{round(bound, decimals):.{max(0, decimals)}f}" for bound in (interval.value, interval.low, interval.high)
    )
    return f"{value}{unit} ({low} to {high})"


def significant(value: float, digits: int = 3) -> str:
    """A value with this many significant digits."""
    if value == 0:
        return "0"
    decimals = min(MOST_SIGNIFICANT_DECIMALS, digits - 1 - floor(log10(abs(value))))
    return f"{round(value, decimals):.{max(0, decimals)}f}"


def scaled(value: float, unit: str) -> str:
    """A value with a decimal prefix, such as 2.41 TFLOP/s."""
    factor, prefix = next(((factor, prefix) for factor, prefix in PREFIXES if value >= factor), (1.0, ""))
    return f"{significant(value / factor)} {prefix}{unit}"


def binary(value: int) -> str:
    """Bytes of memory with a binary prefix, such as 2.41 GiB."""
    factor, unit = next(((factor, unit) for factor, unit in BINARY if value >= factor), (1, "B"))
    return f"{significant(value / factor)} {unit}"
