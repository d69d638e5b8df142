"""Which cells of several runs belong together: columns, rows, and pairs of a row."""

from collections.abc import Callable, Iterator, Sequence
from typing import Literal

from msgspec import Struct
from msgspec.structs import replace

from torchlap.judge.measurement import voided
from torchlap.runs.figures import CellResult, figures
from torchlap.runs.find import Named
from torchlap.schema.events import Conditions
from torchlap.schema.machine import Facts

Across = Literal["files", "devices", "torch", "machine", "recipe", "arm"]

Row = tuple[str, int, str, str, str, str]
"""Model, batch, phase, recipe, which device of its machine, and arm."""


class Item(Struct, frozen=True):
    """A cell of a run, and the column and row it belongs to; `conditions` are those of its group."""

    label: str
    row: Row
    named: Named
    cell: CellResult
    void: str
    conditions: Conditions | None


def columns(runs: Sequence[Named], across: Across) -> dict[str, list[Item]]:
    """The cells of each column; of several results for a cell, the one that was measured last."""
    places: dict[str, dict[Row, Item]] = {}
    for named in runs:
        for item in _items(named, across):
            rows = places.setdefault(item.label, {})
            earlier = rows.get(item.row)
            if earlier is None or _started(earlier) <= _started(item):
                rows[item.row] = item
    return {label: list(rows.values()) for label, rows in places.items()}


def _started(item: Item) -> str:
    return item.named.run.header.started


def _items(named: Named, across: Across) -> Iterator[Item]:
    run = named.run
    own_recipes = any(arm.recipe for arm in run.header.plan.arms)
    free_of_recipe = ("recipe", "arm") if own_recipes else ("recipe",)
    for group in figures(run):
        for cell in group.cells:
            workload, device = cell.cell.workload, cell.cell.device
            slot = "" if across == "devices" else _slot(run.header.facts, device)
            recipe = "" if across in free_of_recipe else str(cell.cell.recipe)
            arm = "" if across == "arm" else cell.cell.arm
            row = (workload.model, workload.batch, workload.phase, recipe, slot, arm)
            yield Item(_LABELS[across](named, cell), row, named, cell, voided(cell), group.conditions)


_LABELS: dict[Across, Callable[[Named, CellResult], str]] = {
    "files": lambda named, _: named.name,
    "devices": lambda named, cell: _device(named.run.header.facts, cell.cell.device),
    "torch": lambda named, _: f"torch {named.run.header.facts.packages.get('torch', 'unknown')}",
    "machine": lambda named, _: _machine(named.run.header.facts),
    "recipe": lambda _, cell: str(cell.cell.recipe),
    "arm": lambda _, cell: cell.cell.arm,
}


def _slot(facts: Facts, device: str) -> str:
    """Which device of its machine it is, whatever its name: the CPU, or the n-th accelerator."""
    accelerators = [known.name for known in facts.devices if known.kind != "cpu"]
    return f"accelerator {accelerators.index(device)}" if device in accelerators else device


def _device(facts: Facts, device: str) -> str:
    """The device's model; with its name where the machine has several of that model."""
    models = {known.name: known.model for known in facts.devices}
    model = models.get(device) or (facts.cpu if device == "cpu" else device)
    return f"{model} ({device})" if list(models.values()).count(model) > 1 else model


def _machine(facts: Facts) -> str:
    accelerators = [device.model or device.name for device in facts.devices if device.kind != "cpu"]
    return " + ".join([facts.cpu, *dict.fromkeys(accelerators)])


def pairs(firsts: Sequence[Item], others: Sequence[Item]) -> Iterator[tuple[Item, Item]]:
    """Pair equal cells; a cell without an equal, with the only one that differs just in how its data arrives."""
    equals = {item.row: item for item in others}
    firsts_by_row, others_by_row = _by_loose_row(firsts), _by_loose_row(others)
    for item in firsts:
        row = _loose_row(item)
        if item.row in equals:
            yield item, equals[item.row]
        elif len(firsts_by_row[row]) == 1 and len(others_by_row.get(row, ())) == 1:
            yield item, others_by_row[row][0]


def _loose_row(item: Item) -> Row:
    """The row without how the data arrives."""
    recipe = str(replace(item.cell.cell.recipe, workers=None)) if item.row[3] else ""
    return (*item.row[:3], recipe, *item.row[4:])


def _by_loose_row(items: Sequence[Item]) -> dict[Row, list[Item]]:
    rows: dict[Row, list[Item]] = {}
    for item in items:
        rows.setdefault(_loose_row(item), []).append(item)
    return rows
