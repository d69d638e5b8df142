"""Where the time of each cell's step goes, in lines for every format."""

from collections.abc import Iterator

from torchlap.judge.bottleneck import LEAST, Bottleneck, Spread
from torchlap.reports.kit.text import clean, counted, sentence
from torchlap.reports.kit.units import binary, scaled, significant
from torchlap.reports.run.rows import Results, Row
from torchlap.reports.run.table import NOT_ANALYZED
from torchlap.schema.breakdown import Peaks
from torchlap.schema.recipe import Precision

ADD_UP = 1.05
"""Parts that add up to more than this share of the whole need a word; less is rounding and noise."""


def paragraphs(results: Results) -> Iterator[tuple[str, tuple[str, ...]]]:
    """A title and its lines for each cell with a figure, then for each device; the text is clean."""
    for row in results.rows:
        if row.result.throughput:
            reached = results.peaks.get(row.result.cell.device)
            yield clean(str(row.result.cell)), tuple(clean(line) for line in _lines(row, reached))
    for device, reached in results.peaks.items():
        yield f"Measured peaks of {clean(device)}", tuple(clean(line) for line in _peaks(reached))


def _lines(row: Row, reached: Peaks | None) -> Iterator[str]:
    analysis, breakdown = row.analysis, row.result.breakdown
    if analysis is None:
        reason = breakdown.reason if breakdown else NOT_ANALYZED
        yield f"Not analyzed: {sentence(reason)}"
        return
    yield _bottleneck(analysis, reached, row.result.cell.recipe.precision)
    yield _phases(analysis)
    yield from _work(analysis)
    yield from _memory_and_energy(analysis, row.unit)
    if analysis.starved_seconds is not None:
        yield f"Waiting for the loader: {significant(1e3 * analysis.starved_seconds)} ms per step."
    for workers, rate in analysis.loader_items_per_second.items():
        yield f"The loader alone, with {counted(workers, 'worker')}: {significant(rate)} {row.unit}/s."
    yield from breakdown.left_out if breakdown else ()
    for advice in analysis.advice:
        yield f"Try {advice.flag}: {advice.reason}." if advice.flag else f"{advice.reason}."


def _bottleneck(analysis: Bottleneck, reached: Peaks | None, precision: Precision) -> str:
    """The bottleneck, and all shares that decided it."""
    ordered = sorted(analysis.shares.items(), key=lambda pair: -pair[1])
    shares = f"Shares of the step: {', '.join(f'{word} {share:.2f}' for word, share in ordered)}."
    if sum(share for _, share in ordered) > ADD_UP:
        shares += (
            " They add up to more than 1, because the parts overlap, and the peaks were measured apart from the step."
        )
    if analysis.kind is None:
        reason = sentence((reached.refused.get(precision) if reached else None) or "out of time")
        return f"Bottleneck: unknown, because the device's peak was not measured. Reason: {reason} {shares}"
    if analysis.kind == "host":
        rest = "the rest is Python, waiting, or operators far below the device's peaks"
        return f"Bottleneck: host. No part has a share of {LEAST:g} of the step; {rest}. {shares}"
    second = f", closely followed by {analysis.second}" if analysis.second else ""
    return f"Bottleneck: {analysis.kind}{second}. {shares}"


def _phases(analysis: Bottleneck) -> str:
    phases = ", ".join(f"{phase} {_with_range(spread, 1e3)}" for phase, spread in analysis.phases.items())
    method = "timed by device events" if analysis.by_events else "synchronized after each"
    text = f"Step: {significant(1e3 * analysis.step_seconds)} ms. Phases in ms, {method}: {phases}."
    if sum(spread.value for spread in analysis.phases.values()) > ADD_UP * analysis.step_seconds:
        why = "they overlap in an undisturbed step" if analysis.by_events else "each waits for the one before"
        text += f" They add up to more than the step, because {why}."
    return text


def _with_range(spread: Spread, factor: float = 1.0) -> str:
    value, low, high = (significant(factor * bound) for bound in (spread.value, spread.low, spread.high))
    return value if low == high else f"{value} ({low} to {high})"


def _work(analysis: Bottleneck) -> Iterator[str]:
    host = f", enqueued by the host in {significant(1e3 * analysis.host_seconds)} ms" if analysis.host_seconds else ""
    yield f"{analysis.operators} operators{host}."
    if analysis.attention:
        kernels = ", ".join(f"{kernel} ({counted(calls, 'call')})" for kernel, calls in analysis.attention.items())
        yield f"Attention kernels: {kernels} per step."
    of_peak = (
        f", {significant(analysis.utilization, 2)} of the measured peak" if analysis.utilization is not None else ""
    )
    of_copy = (
        f", {significant(analysis.bandwidth_utilization, 2)} of the copy bandwidth"
        if analysis.bandwidth_utilization is not None
        else ""
    )
    rate, traffic = analysis.flops / analysis.step_seconds, analysis.bytes / analysis.step_seconds
    yield (
        f"{scaled(analysis.flops, 'FLOP')} per step: {scaled(rate, 'FLOP/s')}{of_peak}. "
        f"At least {scaled(analysis.bytes, 'B')} per step: {scaled(traffic, 'B/s')}{of_copy}."
    )


def _memory_and_energy(analysis: Bottleneck, unit: str) -> Iterator[str]:
    if analysis.peak_memory_bytes is not None:
        yield f"Peak memory: {binary(analysis.peak_memory_bytes)}."
    if analysis.joules and analysis.items_per_joule:
        per_joule = _with_range(analysis.items_per_joule)
        yield f"Energy: {_with_range(analysis.joules)} J per step, {per_joule} {unit}/J ({analysis.meter})."
    elif analysis.no_energy:
        yield analysis.no_energy


def _peaks(reached: Peaks) -> Iterator[str]:
    products = ", ".join(f"{precision} {scaled(rate, 'FLOP/s')}" for precision, rate in reached.flops.items())
    yield f"Matrix products: {products or 'not measured'}."
    for precision, reason in reached.refused.items():
        yield f"{precision} not measured: {sentence(reason)}"
    if reached.copy_bytes:
        yield f"Memory copies: {scaled(reached.copy_bytes, 'B/s')}, counting reads and writes."
    if reached.operator_seconds:
        yield f"Smallest operator: {significant(1e6 * reached.operator_seconds)} µs of host time."
