"""Compare runs: which cells are faster, slower or the same, and what else differs between the runs."""

from collections.abc import Sequence
from typing import Literal

from msgspec import Struct

from torchlap.judge.compare.change import Change, Verdict, change_of
from torchlap.judge.compare.pairs import Across, Item, columns, pairs
from torchlap.judge.machine.differences import differences
from torchlap.runs.find import Named

__all__ = [
    "SAME_BAND",
    "Across",
    "Change",
    "Column",
    "Compared",
    "Gate",
    "Verdict",
    "compare",
    "gate",
    "repeated",
    "slower_by",
]

Gate = Literal["pass", "slower", "inconclusive"]

SAME_BAND = 0.05
"""Two cells are the same if the whole interval of their ratio is within this much of 1."""


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


def compare(runs: Sequence[Named], *, across: Across = "files", band: float = SAME_BAND) -> Compared:
    """Compare runs with the first of them, cell by cell.

    Args:
        runs: at least two, or one across its devices, recipes or arms. If a column has several results for a cell,
            the one that was measured last counts.
        across: what each column stands for: a file, a device, a version of torch, a machine, a recipe, or an arm.
        band: a ratio counts as the same if its whole interval is within this much of 1.
    """
    sides = columns(runs, across)
    firsts, *others = sides.values()
    changes: list[Change] = []
    unmatched: list[Item] = []
    for items in others:
        found = list(pairs(firsts, items))
        changes += [change_of(before, after, band) for before, after in found]
        matched = {id(item) for pair in found for item in pair}
        unmatched += [item for item in (*firsts, *items) if id(item) not in matched]
    return Compared(
        across=across,
        band=band,
        columns=tuple(_column(label, items, firsts[-1]) for label, items in sides.items()),
        changes=tuple(changes),
        unmatched=tuple(dict.fromkeys(f"{item.named.name}: {item.cell.cell}" for item in unmatched)),
    )


def _column(label: str, items: Sequence[Item], first: Item) -> Column:
    """A side, and how its machine differs from the first; the devices of one run belong to one machine."""
    header, first_header = items[-1].named.run.header, first.named.run.header
    known = differences(first_header.facts, header.facts)
    versions = first_header.torchlap, header.torchlap
    if all(versions) and versions[0] != versions[1] and not (header.published or first_header.published):
        known = (*known, f"torchlap {versions[0]} vs. {versions[1]}")
    return Column(label=label, published=header.published, differences=() if header is first_header else known)


def slower_by(compared: Compared, share: float) -> tuple[Change, ...]:
    """The cells that are certainly slower by more than this share: with 0.05, their whole interval is below 0.95."""
    return tuple(change for change in compared.changes if change.ground and change.ground.high < 1 - share)


def gate(compared: Compared, share: float) -> Gate:
    """`slower` if any cell is certainly slower by more than this share; `pass` only if every cell certainly is not."""
    if slower_by(compared, share):
        return "slower"
    certain = all(change.ground is not None and change.ground.low >= 1 - share for change in compared.changes)
    return "pass" if certain else "inconclusive"


def repeated(first: Compared, second: Compared, share: float) -> Gate:
    """The gate after a run was repeated: `slower` only if a cell is certainly slower in both.

    If the first is inconclusive, the second decides whether the gate passes.
    """
    slower = [{_place(change) for change in slower_by(compared, share)} for compared in (first, second)]
    if slower[0] & slower[1]:
        return "slower"
    return "pass" if not slower[0] and gate(second, share) == "pass" else "inconclusive"


def _place(change: Change) -> tuple[str, ...]:
    """What makes it the same cell in another run."""
    return change.column, change.model, str(change.batch), change.phase, change.recipe, change.device
