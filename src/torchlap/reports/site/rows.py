"""The entries of a collection for programs: columns for the search of the index, and lines of CSV.

Text from run files is not trusted: it is cleaned here, and escaped where it is written.
"""

import csv
import io
import json
from collections.abc import Callable, Iterable, Iterator, Sequence

from torchlap.judge.collection import Collection, Entry, Machine
from torchlap.reports.kit.text import clean

FLAGS: tuple[tuple[str, str, Callable[[Entry], bool]], ...] = (
    ("maintained", "it comes with torchlap: the maintainers measured it", lambda entry: entry.maintained),
    ("reproduced", "another owner's figure agrees", lambda entry: entry.reproduced),
    ("submitted", "somebody sent it", lambda entry: not entry.maintained),
    ("outlier", "far from other machines of the same chip", lambda entry: bool(entry.outlier)),
    ("virtual", "a virtual machine, or a processor whose model is hidden", lambda entry: entry.virtual),
    ("published", "copied from a publication, without a spread", lambda entry: entry.published),
    ("disturbed", "something else used the machine, or it was throttled", lambda entry: bool(entry.findings)),
)
"""Badges, then marks: the name, what it means, and whether an entry has it. Their places are bits of a number."""

BADGES = 3
"""The first flags are badges; the others are marks."""

COLUMNS: dict[str, Callable[[Entry, Machine], object]] = {
    "model": lambda entry, _: entry.key[0],
    "batch": lambda entry, _: entry.key[1],
    "phase": lambda entry, _: entry.key[2],
    "recipe": lambda entry, _: entry.key[3],
    "seq": lambda entry, _: entry.key[4] or None,
    "unit": lambda entry, _: entry.key[5],
    "chip": lambda entry, _: entry.chip,
    "device_kind": lambda entry, _: entry.kind,
    "torch": lambda entry, _: entry.torch,
    "items_per_second": lambda entry, _: entry.value,
    "items_per_second_low": lambda entry, _: None if entry.published else entry.low,
    "items_per_second_high": lambda entry, _: None if entry.published else entry.high,
    "laps": lambda entry, _: entry.laps,
    "utilization": lambda entry, _: entry.utilization,
    "numerics": lambda entry, _: entry.numerics,
    "badges_and_marks": lambda entry, _: " ".join(flags_of(entry)),
    "outlier_factor": lambda entry, _: entry.outlier or None,
    "findings": lambda entry, _: " ".join(entry.findings),
    "owner": lambda entry, _: entry.owner,
    "machine": lambda entry, _: entry.machine,
    "cpu": lambda _, machine: machine.cpu,
    "cores": lambda _, machine: machine.cores,
    "memory_gib": lambda _, machine: machine.memory_gib,
    "system": lambda _, machine: machine.system,
    "started": lambda entry, _: entry.started,
    "file": lambda entry, _: entry.file,
}
"""The columns of CSV and Parquet."""


def flags_of(entry: Entry) -> tuple[str, ...]:
    """The names of an entry's badges and marks."""
    return tuple(name for name, _, has in FLAGS if has(entry))


def table(collection: Collection) -> dict[str, list[object]]:
    """All entries as columns, for a data frame; texts are clean."""
    return dict(zip(COLUMNS, (_changed(values, clean) for values in _columns(collection)), strict=True))


def as_csv(collection: Collection) -> str:
    """All entries as lines of CSV; texts are as in `as_lines`."""
    columns = [_changed(values, _harmless) for values in _columns(collection)]
    return _written([tuple(COLUMNS), *zip(*columns, strict=True)])


def as_lines(rows: Iterable[Sequence[object]]) -> str:
    """Rows as CSV; text that a spreadsheet would take for a formula starts with an apostrophe."""
    return _written(_changed(row, _harmless) for row in rows)


def _columns(collection: Collection) -> Iterator[list[object]]:
    pairs = [(entry, collection.machines[entry.machine]) for entry in collection.entries]
    return ([value(entry, machine) for entry, machine in pairs] for value in COLUMNS.values())


def _changed(values: Sequence[object], change: Callable[[str], str]) -> list[object]:
    """The values with each text changed; the same few texts come often."""
    texts: dict[object, str] = {value: change(value) for value in set(values) if isinstance(value, str)}
    return [texts.get(value, value) for value in values] if texts else list(values)


def _written(rows: Iterable[Sequence[object]]) -> str:
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows(rows)
    return out.getvalue()


def _harmless(value: str) -> str:
    text = clean(value)
    return f"'{text}" if text.startswith(("=", "+", "-", "@")) else text


class _Names:
    """Texts by number, so that each is written once."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self._places: dict[str, int] = {}

    def place(self, text: str) -> int:
        found = self._places.get(text)
        if found is None:
            found = self._places[text] = len(self.texts)
            self.texts.append(clean(text))
        return found

    def keys(self) -> tuple[str, ...]:
        """The texts as they were given, in the order of their numbers."""
        return tuple(self._places)


def as_search_data(collection: Collection, links: dict[str, str]) -> str:
    """What the index searches, as JSON in which no tag can begin.

    Args:
        collection: its entries become columns of numbers.
        links: the addresses of chips, by their names.
    """
    names = {column: _Names() for column in ("model", "recipe", "chip", "torch", "unit", "phase", "machine", "file")}
    rows: dict[str, list[object]] = {column: [] for column in (*names, "batch", "seq", "value", "low", "high", "flags")}
    for entry in collection.entries:
        model, batch, phase, recipe, seq, unit = entry.key
        texts = {"model": model, "recipe": recipe, "chip": entry.chip, "torch": entry.torch or "unknown", "unit": unit}
        texts |= {"phase": phase, "machine": entry.machine, "file": entry.file}
        for column, text in texts.items():
            rows[column].append(names[column].place(text))
        values: Sequence[object] = (
            batch,
            seq,
            *(float(f"{value:.5g}") for value in (entry.value, entry.low, entry.high)),
        )
        for column, value in zip(("batch", "seq", "value", "low", "high"), values, strict=True):
            rows[column].append(value)
        rows["flags"].append(sum(1 << place for place, (_, _, has) in enumerate(FLAGS) if has(entry)))
    machines = [collection.machines[name] for name in names["machine"].keys()]  # noqa: SIM118  not a dictionary
    data = {
        "names": {column: each.texts for column, each in names.items()},
        "rows": rows,
        "machines": [_machine(machine) for machine in machines],
        "owners": [clean(machine.owner) for machine in machines],
        "links": [links[chip] for chip in names["chip"].keys()],  # noqa: SIM118
        "flags": [name for name, _, _ in FLAGS],
    }
    return json.dumps(data, separators=(",", ":")).replace("<", "\\u003c")


def _machine(machine: Machine) -> str:
    """What the search finds a machine by."""
    return clean(" · ".join(filter(None, [machine.owner, machine.cpu, machine.system])))
