"""The compact table of a page: a row for each workload, with its devices, recipes or arms side by side."""

from collections.abc import Callable, Iterator, Mapping, Sequence

from msgspec import Struct

from torchlap.reports.kit.table import Column, Field, Table, build
from torchlap.reports.run.labels import variant
from torchlap.reports.run.rows import Results, Row
from torchlap.stats import Interval

MOST_VARIANTS = 4
"""More columns than this are no longer compact."""

MARKS = {"correct": "✓ correct", "inexact": "≈ inexact", "wrong": "✗ wrong", "not checked": "? not checked"}

Columns = Iterator[tuple[Column, Callable[["Line"], Field | str]]]


class Line(Struct, frozen=True):
    """A workload with its cells, by variant."""

    model: str
    batch: str
    phase: str
    cells: dict[str, Row]


def side_by_side(results: Results, names: Mapping[str, str]) -> Table | None:
    """A row for each model, batch and phase; None if there is nothing to compare, or too much for one row.

    Args:
        results: of a run.
        names: what devices are called in the heads of columns.
    """
    variants: dict[str, Row] = {}
    for row in results.rows:
        variants.setdefault(variant(row), row)
    first = next((row for row in results.rows if row.result.is_baseline), None)
    if first is None or not 1 < len(variants) <= MOST_VARIANTS:
        return None
    lines: dict[tuple[str, str, str], Line] = {}
    for row in results.rows:
        line = lines.setdefault((row.model, row.batch, row.phase), Line(row.model, row.batch, row.phase, {}))
        line.cells[variant(row)] = row
    ordered = sorted(variants.values(), key=lambda row: variant(row) != variant(first))
    return build(lines.values(), list(_columns(results, ordered, names)))


def _columns(results: Results, variants: Sequence[Row], names: Mapping[str, str]) -> Columns:
    yield Column("model"), lambda line: line.model
    yield Column("batch", "right"), lambda line: line.batch
    if len({row.phase for row in results.rows}) > 1:
        yield Column("phase"), lambda line: line.phase
    for place, row in enumerate(variants):
        yield from _of_variant(results, variant(row), _head(row, variants, names), compared=place > 0)
    if len(variants) == 2:  # noqa: PLR2004  the baseline and one other
        yield from _of_the_other(results, variant(variants[1]))


def _head(row: Row, variants: Sequence[Row], names: Mapping[str, str]) -> str:
    """What distinguishes a variant from the others."""
    parts = [
        names.get(row.device, row.device) if name == "device" else getattr(row, name)
        for name in ("device", "recipe", "arm")
        if len({getattr(other, name) for other in variants}) > 1
    ]
    return ", ".join(parts)


def _of_variant(results: Results, key: str, head: str, *, compared: bool) -> Columns:
    def throughput(line: Line) -> Field | str:
        row = line.cells.get(key)
        return _field(row, row.throughput, row.result.throughput) if row else ""

    def speed_up(line: Line) -> Field | str:
        row = line.cells.get(key)
        return _field(row, row.speed_up, row.result.speed_up) if row else ""

    is_spare = not compared and not results.run.header.plan.arms
    mixed = len({row.unit for row in results.rows}) > 1  # then each figure has its unit
    yield Column(head if mixed else f"{head}, {results.rate}", is_spare=is_spare), throughput
    if compared:
        yield Column("speed-up"), speed_up


def _field(row: Row, text: str, interval: Interval | None) -> Field:
    return Field(text, sort_by=repr(interval.value) if interval else "", is_void=bool(row.void))


def _of_the_other(results: Results, key: str) -> Columns:
    def bottleneck(line: Line) -> str:
        return line.cells[key].bottleneck if key in line.cells else ""

    def numerics(line: Line) -> str:
        verdict = line.cells[key].numerics if key in line.cells else ""
        return MARKS.get(verdict, verdict)

    if any(row.bottleneck for row in results.rows):
        yield Column("bottleneck", is_spare=True), bottleneck
    if any(row.numerics for row in results.rows):
        yield Column("numerics", is_spare=True), numerics
