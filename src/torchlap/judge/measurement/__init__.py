"""Findings about a measurement (TL2xx), in the order of the catalogue."""

from collections.abc import Callable, Iterable

from torchlap.judge import numerics as checks
from torchlap.judge.findings import Finding
from torchlap.judge.machine.devices import alone
from torchlap.judge.measurement.conditions import (
    BUSY_BEFORE,
    FELL_BACK,
    FEWER_CORES,
    ON_BATTERY,
    OTHERS_ON_CPU,
    OTHERS_ON_GPU,
    SWAPPED,
    THROTTLED,
    disturbed,
    fell_back,
    held_back,
)
from torchlap.judge.measurement.figures import (
    COLD,
    DEPENDENT,
    DRIFT,
    FEW_ROUNDS,
    RATIO_DRIFT,
    TWO_SPEEDS,
    WIDE,
    cold,
    dependent,
    drifts,
    few_rounds,
    ratio_drifts,
    two_speeds,
    wide,
)
from torchlap.judge.measurement.training import (
    DOES_NOT_LEARN,
    LAUNCH_BOUND,
    NOT_FINITE,
    SMALL_BATCH,
    STARVED,
    does_not_learn,
    launch_bound,
    not_finite,
    small_batch,
    starved,
)
from torchlap.runs.figures import CellResult, figures
from torchlap.schema.events import Run

CATALOGUE = (
    FEW_ROUNDS,
    WIDE,
    COLD,
    DRIFT,
    TWO_SPEEDS,
    DEPENDENT,
    RATIO_DRIFT,
    OTHERS_ON_CPU,
    OTHERS_ON_GPU,
    THROTTLED,
    ON_BATTERY,
    SWAPPED,
    FEWER_CORES,
    FELL_BACK,
    NOT_FINITE,
    DOES_NOT_LEARN,
    STARVED,
    LAUNCH_BOUND,
    SMALL_BATCH,
    BUSY_BEFORE,
)


CellRule = Callable[[CellResult], Iterable[Finding]]


def findings(run: Run) -> tuple[Finding, ...]:
    """What should be known before the figures of a run are believed, in the catalogue's order."""
    groups = figures(run)
    cells = [cell for group in groups for cell in group.cells]
    target = run.header.plan.precision_target
    of_cells: list[CellRule] = [
        numbers,
        few_rounds,
        lambda cell: wide(cell, target),
        cold,
        drifts,
        two_speeds,
        dependent,
        ratio_drifts,
        lambda cell: held_back(cell, run),
        fell_back,
        not_finite,
        does_not_learn,
        starved,
        launch_bound,
        lambda cell: small_batch(cell, cells),
    ]
    told = [*alone(run.header.facts), *(finding for rule in of_cells for cell in cells for finding in rule(cell))]
    told += [finding for group in groups for finding in disturbed(group)]
    return tuple(sorted(told, key=lambda finding: finding.code))


def void(all_findings: Iterable[Finding]) -> dict[str, str]:
    """The cells whose figures mean nothing, by the name that findings give them, with the code that says why."""
    return {finding.where: finding.code for finding in all_findings if finding.severity == "error" and finding.where}


def voided(cell: CellResult) -> str:
    """The code of the finding by which a cell's figure means nothing, as `void` has it, without judging all else."""
    return void([*numbers(cell), *not_finite(cell)]).get(str(cell.cell), "")


def numbers(cell: CellResult) -> Iterable[Finding]:
    """Whether an accelerator's numbers are right; the CPU's own are the reference."""
    if cell.cell.device != "cpu" and (cell.throughput is not None or cell.numerics is not None):
        yield from checks.findings(cell.numerics, str(cell.cell))
