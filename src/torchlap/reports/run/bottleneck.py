"""Where the time of each cell's step goes, in lines: for a terminal, and for a page."""

from collections.abc import Iterator
from math import floor, log10

from torchlap.judge.bottleneck import Bottleneck, Spread
from torchlap.reports.run.rows import Judged, Row, clean, sentence
from torchlap.schema.breakdown import Peaks
from torchlap.schema.recipe import Precision

PREFIXES = ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))
MOST_DECIMALS = 9
BINARY = ((1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB"))


def paragraphs(seen: Judged) -> Iterator[tuple[str, tuple[str, ...]]]:
    """A title and its lines for each cell that has a figure, then for each device; the text is clean."""
    for row in seen.rows:
        if row.result.throughput:
            yield _title(row), tuple(clean(line) for line in _lines(row, seen.peaks.get(row.result.cell.device)))
    for device, reached in seen.peaks.items():
        yield f"{clean(device)} reaches", tuple(clean(line) for line in _reached(reached))


def _title(row: Row) -> str:
    return clean(str(row.result.cell))


def _lines(row: Row, reached: Peaks | None) -> Iterator[str]:
    seen = row.explained
    explained = row.result.breakdown
    if seen is None:
        reason = explained.reason if explained else "no time was left, or --no-why was given"
        yield f"Not looked at: {sentence(reason)}"
        return
    yield _word(seen, reached, row.result.cell.recipe.precision)
    yield _phases(seen)
    yield from _work(seen)
    yield from _memory_and_energy(seen)
    if seen.starved_seconds is not None:
        yield f"Waiting for the loader: {significant(1e3 * seen.starved_seconds)} ms of a step."
    for workers, rate in seen.loader_items_per_second.items():
        yield f"A loader of {workers} worker{'s' * (workers != 1)} alone: {significant(rate)} images/s."
    yield from explained.left_out if explained else ()
    for advice in seen.advice:
        yield f"Try {advice.flag}: {advice.why}." if advice.flag else f"{advice.why}."


def _word(seen: Bottleneck, reached: Peaks | None, precision: Precision) -> str:
    """What bounds the step, and all shares that decided it."""
    shares = ", ".join(f"{word} {share:.2f}" for word, share in sorted(seen.shares.items(), key=lambda one: -one[1]))
    if seen.word is None:
        why = sentence((reached.refused.get(precision) if reached else None) or "no time was left")
        return f"Bound by: not known, for the device's peak was not measured. {why} Parts of the step: {shares}."
    second = f", closely followed by {seen.second}" if seen.second else ""
    return f"Bound by {seen.word}{second}. Parts of the step: {shares}."


def _phases(seen: Bottleneck) -> str:
    told = ", ".join(f"{phase} {_milliseconds(spread)}" for phase, spread in seen.phases.items())
    how = "by the device's events" if seen.by_events else "waiting after each"
    return f"Step {significant(1e3 * seen.step_seconds)} ms. Phases, {how}: {told} ms."


def _milliseconds(spread: Spread) -> str:
    return _with_range(spread, 1e3)


def _with_range(spread: Spread, factor: float = 1.0) -> str:
    value, low, high = (significant(factor * each) for each in (spread.value, spread.low, spread.high))
    return value if low == high else f"{value} ({low} to {high})"


def _work(seen: Bottleneck) -> Iterator[str]:
    host = f", which the host enqueues in {significant(1e3 * seen.host_seconds)} ms" if seen.host_seconds else ""
    yield f"{seen.operators} operators{host}."
    reached = f", {seen.utilisation:.0%} of the peak" if seen.utilisation is not None else ""
    moved = f", {seen.traffic:.0%} of a copy's" if seen.traffic is not None else ""
    rate, traffic = seen.flops / seen.step_seconds, seen.bytes / seen.step_seconds
    yield (
        f"{scaled(seen.flops, 'FLOP')} a step: {scaled(rate, 'FLOP/s')}{reached}. "
        f"At least {scaled(seen.bytes, 'B')} a step: {scaled(traffic, 'B/s')}{moved}."
    )


def _memory_and_energy(seen: Bottleneck) -> Iterator[str]:
    if seen.peak_memory_bytes is not None:
        yield f"Peak memory {binary(seen.peak_memory_bytes)}."
    if seen.joules and seen.items_per_joule:
        yield f"{_with_range(seen.joules)} J a step, {_with_range(seen.items_per_joule)} images/J ({seen.meter})."
    elif seen.no_energy:
        yield seen.no_energy


def _reached(seen: Peaks) -> Iterator[str]:
    """A device's peaks."""
    products = ", ".join(f"{precision} {scaled(rate, 'FLOP/s')}" for precision, rate in seen.flops.items())
    yield f"Matrix products: {products or 'not measured'}."
    for precision, why in seen.refused.items():
        yield f"Not in {precision}: {sentence(why)}"
    if seen.copy_bytes:
        yield f"Copies within its memory: {scaled(seen.copy_bytes, 'B/s')}, read and written."
    if seen.operator_seconds:
        yield f"The smallest of operators: {significant(1e6 * seen.operator_seconds)} µs of the host."


def significant(value: float, digits: int = 3) -> str:
    """A figure with so many digits that count."""
    if value == 0:
        return "0"
    decimals = min(MOST_DECIMALS, digits - 1 - floor(log10(abs(value))))
    return f"{round(value, decimals):.{max(0, decimals)}f}"


def scaled(value: float, unit: str) -> str:
    """A figure with the prefix that keeps it short, like 2.41 TFLOP/s."""
    factor, prefix = next(((factor, prefix) for factor, prefix in PREFIXES if value >= factor), (1.0, ""))
    return f"{significant(value / factor)} {prefix}{unit}"


def binary(value: int) -> str:
    """Bytes of memory, like 2.41 GiB."""
    factor, unit = next(((factor, unit) for factor, unit in BINARY if value >= factor), (1, "B"))
    return f"{significant(value / factor)} {unit}"
