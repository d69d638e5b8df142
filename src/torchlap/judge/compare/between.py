"""By how much two measurements of one program differ anyway: half-widths on the log scale, added in quadrature."""

from torchlap.runs.figures import CellResult
from torchlap.runs.starts import LEAST_STARTS
from torchlap.schema.machine import Facts

BETWEEN_STARTS = 0.04
"""Two processes of one program, in the same minute: 0.3 to 4 %, by their memory's layout."""

BETWEEN_RUNS = 0.03
"""Two runs, because of processes, memory layout, or the day. By benchmarks/between_runs.py it is up to 6 % on a shared
machine; with the band on top, no pair was called different."""

BETWEEN_RUNS_IN_GUESTS = 0.25
"""Two runs of a CPU in a virtual machine, as hosted runners are: whole runs of identical code differ there by 10 to
30 %, because of other guests of the host (github.com/fork-tongue/observ/issues/187)."""


def between_arms(after: CellResult) -> float:
    """What a ratio of two arms does not contain: without starts enough, how their processes differ."""
    return 0.0 if len(set(after.ratio_starts)) >= LEAST_STARTS else BETWEEN_STARTS


def between_runs(before: tuple[CellResult, Facts], after: tuple[CellResult, Facts]) -> float:
    """What the intervals of two runs do not contain: how the hour, the host and the processes differ."""
    guests = any(facts.virtual and cell.cell.device == "cpu" for cell, facts in (before, after))
    return BETWEEN_RUNS_IN_GUESTS if guests else BETWEEN_RUNS
