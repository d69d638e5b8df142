"""What the recipes of a ladder need beside time: energy and memory."""

from collections.abc import Callable, Iterator

from torchlap.reports.kit.table import Column
from torchlap.reports.kit.text import clean
from torchlap.reports.kit.units import binary, with_interval
from torchlap.runs.figures import CellResult
from torchlap.runs.tuning import Rung, TunedRun
from torchlap.schema.events import Run

MARGIN = 0.1
"""Of a device's memory: other programs, and batches of other sizes, take some."""


def energy_column(found: TunedRun) -> Iterator[tuple[Column, Callable[[Rung | None], str]]]:
    """Joules an item, where a meter was read."""
    if found.least_energy() is not None:
        head = f"J/{clean(found.plain.cell.workload.unit.removesuffix('s'))}"
        yield Column(head, is_spare=True), lambda rung: joules(rung.result if rung else found.plain)


def joules(result: CellResult) -> str:
    """Joules an item with their interval; empty where they are not known."""
    known = result.energy.joules_per_item if result.energy else None
    return with_interval(known) if known else ""


def least_energy(found: TunedRun) -> str:
    """The recipe of least energy, beside the fastest; empty where no meter was read."""
    result = found.least_energy()
    if result is None:
        return ""
    unit, plain = found.plain.cell.workload.unit.removesuffix("s"), found.plain
    beside = f"; the plain step uses {joules(plain)}" if result is not plain and joules(plain) else ""
    return clean(f"Least energy: {result.cell.recipe}, {joules(result)} J/{unit}{beside}. ")


def largest_batch(run: Run, found: TunedRun) -> str:
    """The largest batch that leaves a margin of the device's memory, and the first that did not fit; may be empty."""
    memory = next(
        (each.memory_bytes for each in run.header.facts.devices if each.name == found.plain.cell.device), None
    )
    fitting_ones = [(found.plain, _peak(found.plain)), *((rung.result, _peak(rung.result)) for rung in found.batches())]
    known = [(result.cell.workload.batch, peak) for result, peak in fitting_ones if peak and not result.failure]
    if len(known) < 2 or memory is None:  # noqa: PLR2004  no batch was tried beside the plain one
        return ""
    too_large = [
        rung.result.cell.workload.batch
        for rung in found.batches()
        if rung.result.failure and rung.result.failure.kind == "out_of_memory"
    ]
    safe = [(batch, peak) for batch, peak in known if peak <= (1 - MARGIN) * memory]
    largest = max(safe, default=None)
    first = f"; {min(too_large)} does not fit" if too_large else ""
    if largest is None:
        return ""
    batch, peak = largest
    return f"Largest batch that leaves a tenth of the memory free: {batch} ({binary(peak)} of {binary(memory)}){first}."


def _peak(result: CellResult) -> int | None:
    return result.breakdown.peak_memory_bytes if result.breakdown else None
