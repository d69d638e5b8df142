"""What differs between the arms of a run: what they were given, what they have, and what their cells became."""

from collections.abc import Iterator, Mapping, Sequence
from math import isclose

from msgspec.structs import replace

from torchlap.runs.figures import CellResult, figures
from torchlap.schema.arm import Arm
from torchlap.schema.events import Run
from torchlap.schema.workload import Identity, changed

LOSS_TOLERANCE = 0.01
"""First losses that differ by more than rounding: the models start from other weights, or compute something else."""


def differences(run: Run) -> dict[str, tuple[str, ...]]:
    """What differs from the first arm, by the name of every other: words such as `torch 2.13.0 vs. 2.14.0`."""
    arms = run.header.plan.arms
    if not arms:
        return {}
    pairs = _pairs(run)
    return {
        arm.name: tuple(
            dict.fromkeys(
                [
                    *_of_arms(arms[0], arm, run.header.facts.environment),
                    *_of_identities(run.header.plan.identities, arms[0], arm),
                    *_of_cells(pairs.get(arm.name, ())),
                ]
            )
        )
        for arm in arms[1:]
    }


def _pairs(run: Run) -> dict[str, list[tuple[CellResult, CellResult]]]:
    """The baseline and the cell of every arm, in every group."""
    found: dict[str, list[tuple[CellResult, CellResult]]] = {}
    for group in figures(run):
        for cell in group.cells[1:]:
            found.setdefault(cell.cell.arm, []).append((group.cells[0], cell))
    return found


def _of_arms(first: Arm, second: Arm, usual: Mapping[str, str]) -> Iterator[str]:
    yield from _named("Python", first.python, second.python)
    for name in sorted({*first.packages, *second.packages}, key=lambda name: (not name.startswith("torch"), name)):
        yield from _named(name, first.packages.get(name, "none"), second.packages.get(name, "none"))
    if first.interpreter != second.interpreter and first.python == second.python and first.packages == second.packages:
        yield "environment of Python"
    if first.revision:
        yield f"files of {first.revision} ({first.commit[:8]}) vs. files as they are"
    for name in sorted({*first.environment, *second.environment}):
        yield from _named(name, *(arm.environment.get(name, usual.get(name, "unchanged")) for arm in (first, second)))


def _of_identities(identities: Sequence[Identity], first: Arm, second: Arm) -> Iterator[str]:
    """Own files that are not the same in both arms; and those that are, although the arms have their own folders."""
    before = {(identity.model, identity.inputs): identity for identity in identities if identity.arm == first.name}
    for identity in identities:
        same = before.get((identity.model, identity.inputs))
        if identity.arm == second.name and same:
            yield from changed(same, replace(identity, parameters=same.parameters))  # cells have those
            if first.folder != second.folder and same.sha256 == identity.sha256:
                yield f"but the contents of {identity.model} are the same"


def _of_cells(pairs: Sequence[tuple[CellResult, CellResult]]) -> Iterator[str]:
    for before, after in pairs:
        yield from _named("recipe", str(before.cell.recipe), str(after.cell.recipe))
        old, new = before.prepared, after.prepared
        if old is None or new is None:
            continue
        if before.cell.device == "cpu":
            yield from _named("threads", str(old.threads), str(new.threads))
        yield from _named("memory format", old.memory_format, new.memory_format)
        yield from _named("input", *("x".join(map(str, one.input_shape)) for one in (old, new)))
        yield from _named("parameters", f"{old.parameters:,}", f"{new.parameters:,}")
        if not isclose(old.first_loss, new.first_loss, rel_tol=LOSS_TOLERANCE):
            yield from _named("first loss", f"{old.first_loss:.4g}", f"{new.first_loss:.4g}")


def _named(what: str, old: str, new: str) -> Iterator[str]:
    if old != new:
        yield f"{what} {old} vs. {new}"
