"""Laps and facts in, findings about the measurement out: pure functions."""

from torchlap.findings import ALONE, COLD, FEW_ROUNDS, WIDE, Finding, found
from torchlap.records import Run
from torchlap.results import CellResult, figures
from torchlap.stats import MIN_ROUNDS


def judge(run: Run) -> tuple[Finding, ...]:
    """What should be known before the figures of a run are believed, in the catalogue's order."""
    cells = [cell for comparison in figures(run) for cell in comparison.cells]
    target = run.header.plan.precision_target
    rules = (few_rounds, lambda cell: wide(cell, target), cold)
    return (*alone(run), *(finding for rule in rules for cell in cells for finding in rule(cell)))


def alone(run: Run) -> tuple[Finding, ...]:
    """The CPU is the only device here."""
    facts = run.header.facts
    if any(device.kind != "cpu" for device in facts.devices):
        return ()
    return (found(ALONE, "", f"Only the CPU was measured. {facts.looked_for}"),)


def few_rounds(cell: CellResult) -> tuple[Finding, ...]:
    """A figure from so few laps that its interval is wide whatever the machine does."""
    if cell.throughput is None or len(cell.laps) >= MIN_ROUNDS:
        return ()
    return (found(FEW_ROUNDS, str(cell.cell), f"n = {len(cell.laps)}"),)


def wide(cell: CellResult, target: float) -> tuple[Finding, ...]:
    """An interval that stayed wider than was asked for, although there were rounds enough."""
    intervals = [figure for figure in (cell.throughput, cell.speed_up) if figure is not None]
    widest = max((figure.half_width for figure in intervals), default=0.0)
    if len(cell.laps) < MIN_ROUNDS or widest <= target:
        return ()
    return (found(WIDE, str(cell.cell), f"half-width {widest:.1%}, asked for {target:.1%}, {len(cell.laps)} laps"),)


def cold(cell: CellResult) -> tuple[Finding, ...]:
    """The budget ended the warm-up before the laps were level."""
    if cell.prepared is None or cell.prepared.steady or cell.throughput is None:
        return ()
    steps, seconds = cell.prepared.warm_up_steps, cell.prepared.warm_up_seconds
    return (found(COLD, str(cell.cell), f"{steps} step{'s' * (steps != 1)} in {seconds:.1f} s"),)
