"""Which cells of several runs belong together: columns, rows, and pairs of a row."""

from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Literal

from msgspec import Struct
from msgspec.structs import replace

from torchlap.judge.measurement import voided
from torchlap.runs.figures import CellResult, figures
from torchlap.runs.find import Named
from torchlap.schema.base import OUT_OF_TIME
from torchlap.schema.events import Conditions
from torchlap.schema.machine import Facts

Across = Literal["files", "devices", "torch", "machine", "recipe", "arm"]

Row = tuple[str, int, str, str, str, str, int]
"""Model, batch, phase, recipe, which device of its machine, arm, and the tokens of a sequence if they were chosen."""

CONFIDENCE = 0.95
"""Of all intervals, whatever those of a run file were meant to have: intervals of two files must be comparable."""


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
            if earlier is None or _measured(earlier) <= _measured(item):
                rows[item.row] = item
    return {label: list(rows.values()) for label, rows in places.items()}


def _measured(item: Item) -> tuple[bool, datetime]:
    """When a cell was measured; a cell that its run had no time for was not."""
    failure = item.cell.failure
    had_time = item.cell.estimate is not None or (failure is not None and failure.kind not in OUT_OF_TIME)
    try:
        started = datetime.fromisoformat(item.named.run.header.started)
    except ValueError:
        started = datetime.min.replace(tzinfo=UTC)
    return had_time, started if started.tzinfo else started.replace(tzinfo=UTC)


def _items(named: Named, across: Across) -> Iterator[Item]:
    run = named.run
    plan = replace(run.header.plan, confidence=CONFIDENCE)
    own_recipes = any(arm.recipe for arm in run.header.plan.arms)
    free_of_recipe = ("recipe", "arm") if own_recipes else ("recipe",)
    for group in figures(replace(run, header=replace(run.header, plan=plan))):
        for cell in group.cells:
            workload, device = cell.cell.workload, cell.cell.device
            slot = "" if across == "devices" else _slot(run.header.facts, device)
            recipe = "" if across in free_of_recipe else str(cell.cell.recipe)
            arm = "" if across == "arm" or (across == "torch" and _torch_of_arm(named, cell)) else cell.cell.arm
            row = (workload.model, workload.batch, workload.phase, recipe, slot, arm, workload.seq or 0)
            yield Item(_LABELS[across](named, cell), row, named, cell, voided(cell), group.conditions)


_LABELS: dict[Across, Callable[[Named, CellResult], str]] = {
    "files": lambda named, _: named.name,
    "devices": lambda named, cell: _device(named.run.header.facts, cell.cell.device),
    "torch": lambda named, cell: f"torch {_torch_of_arm(named, cell) or _torch(named)}",
    "machine": lambda named, _: _machine(named.run.header.facts),
    "recipe": lambda _, cell: str(cell.cell.recipe),
    "arm": lambda _, cell: cell.cell.arm,
}


def _torch(named: Named) -> str:
    return named.run.header.facts.packages.get("torch", "unknown")


def _torch_of_arm(named: Named, cell: CellResult) -> str:
    """The torch of a cell's arm, in a run whose arms have different ones."""
    versions = {arm.name: arm.packages.get("torch", "") for arm in named.run.header.plan.arms}
    return versions.get(cell.cell.arm, "") if len(set(versions.values())) > 1 else ""


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
    """Pair equal cells; a cell without an equal, with the only one that differs just in what is named then."""
    equals = {item.row: item for item in others}
    firsts_by_row, others_by_row = _by_loose_row(firsts), _by_loose_row(others)
    for item in firsts:
        row = _loose_row(item)
        if item.row in equals:
            yield item, equals[item.row]
        elif len(firsts_by_row[row]) == 1 and len(others_by_row.get(row, ())) == 1:
            yield item, others_by_row[row][0]


def _loose_row(item: Item) -> Row:
    """The row without what is named where it differs: how the data arrives, a sequence's length, which accelerator."""
    recipe = str(replace(item.cell.cell.recipe, workers=None)) if item.row[3] else ""
    return (*item.row[:3], recipe, item.row[4].partition(" ")[0], item.row[5], 0)


def _by_loose_row(items: Sequence[Item]) -> dict[Row, list[Item]]:
    rows: dict[Row, list[Item]] = {}
    for item in items:
        rows.setdefault(_loose_row(item), []).append(item)
    return rows
