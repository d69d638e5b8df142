"""Runs made from speeds, and their comparison."""

from making import FACTS, cell, plan, prepared, rounds, run

from torchlap.judge.compare import Compared, compare
from torchlap.runs.find import Named
from torchlap.schema.events import Run
from torchlap.schema.machine import Facts
from torchlap.schema.recipe import Recipe
from torchlap.schema.workload import Group


def at(*speeds: float, machine: Facts = FACTS, recipe: Recipe | None = None) -> Run:
    """A run of one group whose cells have these speeds in images per second, within 1 %."""
    devices = [device.name for device in machine.devices][: len(speeds)]
    cells = tuple(cell(device, recipe=recipe or Recipe()) for device in devices)
    laps = [[4 / speed * factor for factor in (1.0, 1.01, 0.99, 1.0, 1.005, 0.995, 1.0, 1.0)] for speed in speeds]
    return run([*map(prepared, range(len(speeds))), *rounds(*laps)], plan(Group(cells)), machine)


def compared_with(before: Run, after: Run, **options: float) -> Compared:
    """The comparison of two runs by file."""
    return compare([Named("before", before), Named("after", after)], **options)  # type: ignore[arg-type]
