"""Runs beside each other: which cells are faster, slower or the same, and what else differs between the runs."""

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

Verdict = Literal["faster", "slower", "same", "cannot tell"]
Across = Literal["files", "devices", "torch", "machine"]

SAME_BAND = 0.05
"""Cells whose ratio is within this of 1, with its whole interval, are the same."""

BETWEEN_RUNS = 0.03
"""What two runs of one program differ by anyway, as a half-width: processes, memory layout, the day. By
benchmarks/between_runs.py it is up to 6 % on a shared machine; with the band on top, no pair was called different."""


class Change(Struct, frozen=True, kw_only=True):
    """One cell beside its partner.

    `before` and `after` are images a second. `ratio` is how many times as fast `after` is, with its `interval`; that is
    None where a side has no spread, and both are None where a side has no figure. `why` says what a verdict rests on
    where that is not the interval alone, and `unlike` how the two cells differ that were compared all the same.
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
    why: str = ""
    unlike: tuple[str, ...] = ()


class Column(Struct, frozen=True, kw_only=True):
    """One side: what differs between its machine and the first side's is named before any figure."""

    label: str
    published: str
    unlike: tuple[str, ...]


class Compared(Struct, frozen=True, kw_only=True):
    """The first column is what the others are compared with. `alone` are cells without a partner."""

    across: Across
    band: float
    columns: tuple[Column, ...]
    changes: tuple[Change, ...]
    alone: tuple[str, ...]


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
        runs: two at least, or one across its devices; of several in one column the last counts.
        across: what makes a column: each file, or each kind of device, version of torch, or machine.
        band: a ratio whose whole interval is within this of 1 is the same.
    """
    places: dict[str, dict[Row, _Item]] = {}
    for named in runs:
        for item in _items(named, across):
            places.setdefault(item.label, {})[item.row] = item
    columns = {label: list(items.values()) for label, items in places.items()}
    firsts, *others = columns.values()
    changes: list[Change] = []
    alone: list[_Item] = []
    for mine in others:
        pairs = list(_pairs(firsts, mine))
        changes += [_change(before, after, band) for before, after in pairs]
        matched = {id(each) for pair in pairs for each in pair}
        alone += [item for item in (*firsts, *mine) if id(item) not in matched]
    return Compared(
        across=across,
        band=band,
        columns=tuple(_column(label, items, firsts[-1]) for label, items in columns.items()),
        changes=tuple(changes),
        alone=tuple(dict.fromkeys(f"{item.named.name}: {item.cell.cell}" for item in alone)),
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
    """Which device of a machine it is, whatever it is called there: the CPU, or the n-th accelerator."""
    accelerators = [each.name for each in facts.devices if each.kind != "cpu"]
    return f"accelerator {accelerators.index(device)}" if device in accelerators else device


def _device(facts: Facts, device: str) -> str:
    models = {each.name: each.model for each in facts.devices}
    return models.get(device) or (facts.cpu if device == "cpu" else device)


def _machine(facts: Facts) -> str:
    accelerators = [each.model or each.name for each in facts.devices if each.kind != "cpu"]
    return " + ".join([facts.cpu, *dict.fromkeys(accelerators)])


def _pairs(firsts: Sequence[_Item], others: Sequence[_Item]) -> Iterator[tuple[_Item, _Item]]:
    """Each cell with its like; where there is none, with the one that differs in how data arrive alone."""
    exact = {item.row: item for item in others}
    loose = _by_loose_row(others)
    mine = _by_loose_row(firsts)
    for item in firsts:
        if item.row in exact:
            yield item, exact[item.row]
        elif len(mine[_loose(item)]) == 1 and len(loose.get(_loose(item), ())) == 1:
            yield item, loose[_loose(item)][0]


def _loose(item: _Item) -> Row:
    recipe = str(replace(item.cell.cell.recipe, workers=None))
    return (*item.row[:3], recipe, item.row[4])


def _by_loose_row(items: Sequence[_Item]) -> dict[Row, list[_Item]]:
    rows: dict[Row, list[_Item]] = {}
    for item in items:
        rows.setdefault(_loose(item), []).append(item)
    return rows


def _column(label: str, items: Sequence[_Item], first: _Item) -> Column:
    """A side, beside the machine of the first; the devices of one run are of one machine."""
    mine, its = items[-1].named.run.header, first.named.run.header
    unlike = () if mine is its else differences(its.facts, mine.facts)
    return Column(label=label, published=mine.published, unlike=unlike)


def _change(before: _Item, after: _Item, band: float) -> Change:
    ratio, interval, why = _ratio(before, after)
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
        why=why,
        unlike=tuple(_unlike(before.cell.cell, after.cell.cell)),
    )


def _ratio(before: _Item, after: _Item) -> tuple[float | None, Interval | None, str]:
    """How many times as fast, with its interval where there is one, and why there is not."""
    for item in (before, after):
        if item.void:
            return None, None, f"{item.named.name}: void ({item.void})"
        if item.cell.estimate is None:
            kind = item.cell.failure.kind.replace("_", " ") if item.cell.failure else "not measured"
            return None, None, f"{item.named.name}: {kind}"
    mine, its = after.cell.estimate, before.cell.estimate
    ratio = mine / its if mine and its else None
    if before.named is after.named and before.cell.is_baseline and after.cell.speed_up:
        return after.cell.speed_up.value, after.cell.speed_up, "paired"
    if not (before.cell.throughput and after.cell.throughput):
        item = after if before.cell.throughput else before
        return ratio, None, f"{item.named.name}: one lap, so no spread"
    between = 0.0 if before.named is after.named else BETWEEN_RUNS
    interval = unpaired_ratio(after.cell.throughput, before.cell.throughput, between)
    return interval.value, interval, ""


def _verdict(interval: Interval | None, band: float) -> Verdict:
    """Faster or slower only when the whole interval is beyond the band, the same only when it is within."""
    if interval is None:
        return "cannot tell"
    if interval.low > 1 + band:
        return "faster"
    if interval.high < 1 / (1 + band):
        return "slower"
    return "same" if interval.low >= 1 / (1 + band) and interval.high <= 1 + band else "cannot tell"


def _unlike(before: Cell, after: Cell) -> Iterator[str]:
    ways = ["resident" if cell.recipe.workers is None else f"loader({cell.recipe.workers})" for cell in (before, after)]
    if ways[0] != ways[1]:
        yield f"data {ways[0]} against {ways[1]}"


def slower_by(compared: Compared, share: float) -> tuple[Change, ...]:
    """The cells that are slower by more than this share with certainty: 0.05 asks for a ratio under 0.95."""
    return tuple(each for each in compared.changes if each.interval is not None and each.interval.high < 1 - share)
