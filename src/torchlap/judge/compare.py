"""Compare runs: which cells are faster, slower or the same, and what else differs between the runs."""

from collections.abc import Callable, Iterator, Sequence
from typing import Literal

from msgspec import Struct
from msgspec.structs import replace

from torchlap.judge.machine.differences import differences
from torchlap.judge.measurement import voided
from torchlap.runs.figures import CellResult, figures
from torchlap.runs.find import Named
from torchlap.schema.machine import Facts
from torchlap.schema.workload import Cell
from torchlap.stats import Interval, unpaired_ratio

Verdict = Literal["faster", "slower", "same", "inconclusive"]
Across = Literal["files", "devices", "torch", "machine"]

SAME_BAND = 0.05
"""Two cells are the same if the whole interval of their ratio is within this of 1."""

BETWEEN_RUNS = 0.03
"""The half-width by which two runs of one program differ anyway, because of processes, memory layout, or the day. By
benchmarks/between_runs.py it is up to 6 % on a shared machine; with the band on top, no pair was called different."""


class Change(Struct, frozen=True, kw_only=True):
    """A cell before and after.

    Attributes:
        before: items per second; so is `after`. None for a cell without a result.
        ratio: how many times as fast `after` is; None if a side has no result.
        interval: of the ratio; None if a side has no spread.
        reason: what the verdict is based on, if not on the interval alone.
        differences: how the two cells differ, although they are compared.
    """

    column: str
    model: str
    batch: int
    phase: str
    recipe: str
    before_device: str
    device: str
    before: float | None
    after: float | None
    ratio: float | None
    interval: Interval | None
    verdict: Verdict
    reason: str = ""
    differences: tuple[str, ...] = ()


class Column(Struct, frozen=True, kw_only=True):
    """One side of a comparison; `differences` are those between its machine and the first column's."""

    label: str
    published: str
    differences: tuple[str, ...]


class Compared(Struct, frozen=True, kw_only=True):
    """A comparison. All columns are compared with the first; `unmatched` names the cells without a counterpart."""

    across: Across
    band: float
    columns: tuple[Column, ...]
    changes: tuple[Change, ...]
    unmatched: tuple[str, ...]


Row = tuple[str, int, str, str, str]
"""Model, batch, phase, recipe, and which device of its machine."""


class _Item(Struct, frozen=True):
    """A cell of a run, and the column and row it belongs to."""

    label: str
    row: Row
    named: Named
    cell: CellResult
    void: str


def compare(runs: Sequence[Named], *, across: Across = "files", band: float = SAME_BAND) -> Compared:
    """Compare runs with the first of them, cell by cell.

    Args:
        runs: at least two, or one across its devices. If a column has several results for a cell, the last counts.
        across: what makes a column: a file, a kind of device, a version of torch, or a machine.
        band: a ratio whose whole interval is within this of 1 is the same.
    """
    places: dict[str, dict[Row, _Item]] = {}
    for named in runs:
        for item in _items(named, across):
            places.setdefault(item.label, {})[item.row] = item
    columns = {label: list(items.values()) for label, items in places.items()}
    firsts, *others = columns.values()
    changes: list[Change] = []
    unmatched: list[_Item] = []
    for items in others:
        pairs = list(_pairs(firsts, items))
        changes += [_change(before, after, band) for before, after in pairs]
        matched = {id(item) for pair in pairs for item in pair}
        unmatched += [item for item in (*firsts, *items) if id(item) not in matched]
    return Compared(
        across=across,
        band=band,
        columns=tuple(_column(label, items, firsts[-1]) for label, items in columns.items()),
        changes=tuple(changes),
        unmatched=tuple(dict.fromkeys(f"{item.named.name}: {item.cell.cell}" for item in unmatched)),
    )


def _items(named: Named, across: Across) -> Iterator[_Item]:
    run = named.run
    for group in figures(run):
        for cell in group.cells:
            workload, device = cell.cell.workload, cell.cell.device
            slot = "" if across == "devices" else _slot(run.header.facts, device)
            row = (workload.model, workload.batch, workload.phase, str(cell.cell.recipe), slot)
            yield _Item(LABELS[across](named, device), row, named, cell, voided(cell))


LABELS: dict[Across, Callable[[Named, str], str]] = {
    "files": lambda named, _: named.name,
    "devices": lambda named, device: _device(named.run.header.facts, device),
    "torch": lambda named, _: f"torch {named.run.header.facts.packages.get('torch', 'unknown')}",
    "machine": lambda named, _: _machine(named.run.header.facts),
}


def _slot(facts: Facts, device: str) -> str:
    """Which device of its machine it is, whatever its name: the CPU, or the n-th accelerator."""
    accelerators = [known.name for known in facts.devices if known.kind != "cpu"]
    return f"accelerator {accelerators.index(device)}" if device in accelerators else device


def _device(facts: Facts, device: str) -> str:
    models = {known.name: known.model for known in facts.devices}
    return models.get(device) or (facts.cpu if device == "cpu" else device)


def _machine(facts: Facts) -> str:
    accelerators = [device.model or device.name for device in facts.devices if device.kind != "cpu"]
    return " + ".join([facts.cpu, *dict.fromkeys(accelerators)])


def _pairs(firsts: Sequence[_Item], others: Sequence[_Item]) -> Iterator[tuple[_Item, _Item]]:
    """Pair equal cells; a cell without an equal, with the only one that differs just in how its data arrives."""
    equals = {item.row: item for item in others}
    firsts_by_row, others_by_row = _by_loose_row(firsts), _by_loose_row(others)
    for item in firsts:
        row = _loose_row(item)
        if item.row in equals:
            yield item, equals[item.row]
        elif len(firsts_by_row[row]) == 1 and len(others_by_row.get(row, ())) == 1:
            yield item, others_by_row[row][0]


def _loose_row(item: _Item) -> Row:
    """The row without how the data arrives."""
    recipe = str(replace(item.cell.cell.recipe, workers=None))
    return (*item.row[:3], recipe, item.row[4])


def _by_loose_row(items: Sequence[_Item]) -> dict[Row, list[_Item]]:
    rows: dict[Row, list[_Item]] = {}
    for item in items:
        rows.setdefault(_loose_row(item), []).append(item)
    return rows


def _column(label: str, items: Sequence[_Item], first: _Item) -> Column:
    """A side, and how its machine differs from the first; the devices of one run belong to one machine."""
    header, first_header = items[-1].named.run.header, first.named.run.header
    return Column(
        label=label,
        published=header.published,
        differences=() if header is first_header else differences(first_header.facts, header.facts),
    )


def _change(before: _Item, after: _Item, band: float) -> Change:
    ratio, interval, reason = _ratio(before, after)
    workload = before.cell.cell.workload
    return Change(
        column=after.label,
        model=workload.model,
        batch=workload.batch,
        phase=workload.phase,
        recipe=str(replace(before.cell.cell.recipe, workers=None)),
        before_device=before.cell.cell.device,
        device=after.cell.cell.device,
        before=before.cell.estimate,
        after=after.cell.estimate,
        ratio=ratio,
        interval=interval,
        verdict=_verdict(interval, band),
        reason=reason,
        differences=tuple(_differences(before.cell.cell, after.cell.cell)),
    )


def _ratio(before: _Item, after: _Item) -> tuple[float | None, Interval | None, str]:
    """How many times as fast, with its interval if there is one, and the reason if there is not."""
    for item in (before, after):
        if item.void:
            return None, None, f"{item.named.name}: void ({item.void})"
        if item.cell.estimate is None:
            kind = item.cell.failure.kind.replace("_", " ") if item.cell.failure else "not measured"
            return None, None, f"{item.named.name}: {kind}"
    old, new = before.cell, after.cell
    if before.named is after.named and old.is_baseline and new.speed_up:
        return new.speed_up.value, new.speed_up, "paired"
    if not (old.throughput and new.throughput):
        item = after if old.throughput else before
        ratio = new.estimate / old.estimate if new.estimate and old.estimate else None
        return ratio, None, f"{item.named.name}: a single lap, so no spread"
    between = 0.0 if before.named is after.named else BETWEEN_RUNS
    interval = unpaired_ratio(new.throughput, old.throughput, between)
    return interval.value, interval, ""


def _verdict(interval: Interval | None, band: float) -> Verdict:
    """Faster or slower only if the whole interval is beyond the band; the same only if it is within."""
    if interval is None:
        return "inconclusive"
    if interval.low > 1 + band:
        return "faster"
    if interval.high < 1 / (1 + band):
        return "slower"
    return "same" if interval.low >= 1 / (1 + band) and interval.high <= 1 + band else "inconclusive"


def _differences(before: Cell, after: Cell) -> Iterator[str]:
    ways = ["resident" if cell.recipe.workers is None else f"loader({cell.recipe.workers})" for cell in (before, after)]
    if ways[0] != ways[1]:
        yield f"data {ways[0]} vs. {ways[1]}"


def slower_by(compared: Compared, share: float) -> tuple[Change, ...]:
    """The cells that are slower by more than this share with certainty: 0.05 requires a ratio below 0.95."""
    return tuple(
        change for change in compared.changes if change.interval is not None and change.interval.high < 1 - share
    )
