"""What every format of a run's report shows: one row per cell, computed once. Text from a run file is not trusted."""

from collections import Counter
from typing import Literal

from msgspec import Struct
from msgspec.structs import replace

from torchlap.judge.bottleneck import Bottleneck, bottleneck
from torchlap.judge.findings import Finding
from torchlap.judge.measurement import findings, voided
from torchlap.judge.numerics import verdict
from torchlap.reports.kit.figures import speed_up_text, throughput_text
from torchlap.reports.kit.text import clean, without_folders
from torchlap.runs.energy import Prices
from torchlap.runs.figures import CellResult, GroupResult, figures, peaks
from torchlap.schema.breakdown import Peaks
from torchlap.schema.events import Run
from torchlap.schema.workload import Cell

ExtraColumn = Literal["utilization"]
"""Columns that the table has only on request."""

NO_PRICES = Prices()
MOST_CELLS = 1000
"""More rows take a terminal or a page many seconds, and nobody reads them."""

USUAL = {"phase": "train", "recipe": "fp32", "arm": ""}


class Row(Struct, frozen=True):
    """A cell in words.

    Attributes:
        throughput: with its unit only if the run mixes units; or why there is no figure.
        speed_up: empty for the baseline and where there is none.
        void: code of the finding that makes the figure void; empty if it is valid.
        numerics: verdict of an accelerator's cell; empty on the CPU, which is the reference.
        bottleneck: empty if unknown.
        analysis: what the bottleneck was decided by; None if nothing was analyzed.
    """

    result: CellResult
    model: str
    batch: str
    phase: str
    recipe: str
    device: str
    arm: str
    unit: str
    throughput: str
    speed_up: str
    laps: str
    void: str
    numerics: str
    bottleneck: str
    analysis: Bottleneck | None


class Results(Struct, frozen=True):
    """A run as its reports show it: a row per cell in the plan's order, and the measured peaks of each device.

    Attributes:
        columns: of the table, that were requested beside the usual ones.
        prices: of energy and time, for the cost of a million items.
    """

    run: Run
    groups: tuple[GroupResult, ...]
    rows: tuple[Row, ...]
    peaks: dict[str, Peaks]
    columns: tuple[ExtraColumn, ...] = ()
    prices: Prices = NO_PRICES

    @property
    def first(self) -> "Results":
        """The cells that a terminal and a page show one by one; a file may have any number."""
        return replace(self, rows=self.rows[:MOST_CELLS])

    @property
    def findings(self) -> tuple[Finding, ...]:
        """What to know before believing the figures; computed on demand, because a list of many runs needs none."""
        return findings(self.run, self.groups)

    @property
    def rate(self) -> str:
        """The unit of the throughputs, such as `images/s`; `items/s` if the run mixes units."""
        units = {row.unit for row in self.rows}
        return f"{units.pop()}/s" if len(units) == 1 else "items/s"


def judged(run: Run, columns: tuple[ExtraColumn, ...] = (), prices: Prices = NO_PRICES) -> Results:
    """Compute what every format shows of a run, with these columns beside the usual ones, and costs at these prices."""
    names, reached = model_names(run), peaks(run)
    groups = figures(run)
    results = [result for group in groups for result in group.cells]
    mixed = len({result.cell.workload.unit for result in results}) > 1
    rows = tuple(
        _row(
            result,
            names[result.cell.workload.model],
            voided(result),
            bottleneck(result, reached.get(result.cell.device)),
            mixed=mixed,
        )
        for result in results
    )
    return Results(run, groups, rows, reached, columns, prices)


def _row(result: CellResult, model: str, void: str, analysis: Bottleneck | None, *, mixed: bool) -> Row:
    workload = result.cell.workload
    unit = clean(workload.unit)
    return Row(
        result=result,
        model=model,
        batch=str(workload.batch),
        phase=workload.phase,
        recipe=str(result.cell.recipe),
        device=clean(result.cell.device),
        arm=clean(result.cell.arm),
        unit=unit,
        throughput=throughput_text(result, void, f" {unit}/s" if mixed else ""),
        speed_up=speed_up_text(result, void),
        laps=str(len(result.laps)) if result.throughput else "",
        void=void if result.throughput else "",
        numerics="" if result.cell.device == "cpu" else verdict(result.numerics),
        bottleneck=(analysis.kind if analysis else None) or "",
        analysis=analysis,
    )


def model_names(run: Run) -> dict[str, str]:
    """A name for each model of a run; a user's file without its folders, unless two files have the same name."""
    models = dict.fromkeys(cell.workload.model for group in run.header.plan.groups for cell in group.cells)
    short = {model: without_folders(model) for model in models}
    names = Counter(short.values())
    return {model: clean(name if names[name] == 1 else model) for model, name in short.items()}


def varying(rows: tuple[Row, ...]) -> tuple[str, ...]:
    """Which of phase, recipe and arm differ between rows or are not the usual, and so must be shown."""
    return tuple(name for name, value in USUAL.items() if {getattr(row, name) for row in rows} != {value})


def baseline(run: Run) -> Cell:
    """The cell that speed-ups refer to: the first of its group; every group has it on the same device and recipe."""
    return run.header.plan.groups[0].cells[0]
