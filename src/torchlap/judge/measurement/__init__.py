"""Findings about a measurement (TL2xx), and which cells are void because of them."""

from collections.abc import Iterable, Sequence

from torchlap.judge import numerics
from torchlap.judge.findings import Finding, catalogue
from torchlap.judge.machine.devices import no_accelerator
from torchlap.judge.measurement import conditions, laps, training
from torchlap.runs.figures import CellResult, GroupResult, figures
from torchlap.schema.events import Conditions, Run
from torchlap.schema.machine import Facts

CATALOGUE = catalogue(laps, conditions, training)


def findings(run: Run, groups: Sequence[GroupResult] | None = None) -> tuple[Finding, ...]:
    """What to know before relying on a run's results, sorted by code.

    Args:
        run: the run.
        groups: its figures, if they are known already.
    """
    groups = figures(run) if groups is None else groups
    cells = [cell for group in groups for cell in group.cells]
    all_findings = list(no_accelerator(run.header.facts))
    fastest = training.fastest_by_setting(cells)
    for cell in cells:
        all_findings += _of_cell(cell, run)
        all_findings += training.small_batch(cell, fastest)
    for group in groups:
        all_findings += conditions.findings(group)
    return tuple(sorted(all_findings, key=lambda finding: finding.code))


def _of_cell(cell: CellResult, run: Run) -> Iterable[Finding]:
    yield from _of_numerics(cell)
    yield from laps.few_rounds(cell)
    yield from laps.wide(cell, run.header.plan.precision_target)
    yield from laps.cold(cell)
    yield from laps.slow_steps(cell)
    yield from laps.drifts(cell)
    yield from laps.two_speeds(cell)
    yield from laps.correlated(cell)
    yield from laps.speed_up_drifts(cell)
    yield from conditions.fewer_threads(cell, run.header.facts)
    yield from conditions.fell_back(cell)
    yield from conditions.clock_jumped(cell)
    yield from training.not_finite(cell)
    yield from training.does_not_learn(cell)
    yield from training.no_loss(cell)
    yield from training.starved(cell)
    yield from training.launch_bound(cell)
    yield from training.compiled_in_parts(cell)


def _of_numerics(cell: CellResult) -> Iterable[Finding]:
    """Whether an accelerator's results are correct; the CPU's are the reference."""
    if cell.cell.device != "cpu" and (cell.throughput is not None or cell.numerics is not None):
        yield from numerics.cell_findings(cell.numerics, str(cell.cell))


def disturbances(cell: CellResult, group: Conditions | None, facts: Facts) -> Iterable[Finding]:
    """What leaves no ground for a comparison with another run: its speed changed, or something else used the machine.

    Args:
        cell: of the run.
        group: the conditions of its group.
        facts: of the machine.
    """
    yield from laps.drifts(cell)
    yield from laps.two_speeds(cell)
    yield from laps.speed_up_drifts(cell)
    yield from conditions.fewer_threads(cell, facts)
    if group is not None:
        yield from _of_conditions(cell, group)


def _of_conditions(cell: CellResult, group: Conditions) -> Iterable[Finding]:
    where = str(cell.cell)
    yield from conditions.others_on_cpu(group, where)
    for gpu in group.gpus:
        if gpu.device == cell.cell.device:
            yield from conditions.throttled(gpu, where)
    yield from conditions.swapped(group, where)


def pair_disturbances(cell: CellResult, group: Conditions | None) -> Iterable[Finding]:
    """What leaves no ground for the ratio of two cells that took turns.

    Less than for `disturbances`: what changes the speed of both sides alike cancels in the ratio of every round.

    Args:
        cell: the one that is not the baseline.
        group: the conditions of its group.
    """
    yield from laps.speed_up_drifts(cell)
    if group is not None:
        yield from _of_conditions(cell, group)


def void(all_findings: Iterable[Finding]) -> dict[str, str]:
    """The cells whose results are void, by the name that findings use, each with the code of the reason."""
    return {finding.where: finding.code for finding in all_findings if finding.severity == "error" and finding.where}


def voided(cell: CellResult) -> str:
    """The code that makes a cell's result void, as in `void`, without computing all other findings; empty if none."""
    found = [*_of_numerics(cell), *training.not_finite(cell)]
    return void(found).get(str(cell.cell), "") if found else ""
