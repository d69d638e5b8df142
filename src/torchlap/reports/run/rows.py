"""What every format shows: one row a cell, and how its figures are written. Text from a run file is not trusted."""

import unicodedata
from math import floor, log10
from pathlib import PurePath

from msgspec import Struct

from torchlap.judge.bottleneck import Bottleneck, bottleneck
from torchlap.judge.findings import Finding
from torchlap.judge.measurement import findings, voided
from torchlap.judge.numerics import word
from torchlap.runs.figures import CellResult, figures, peaks
from torchlap.schema.breakdown import Peaks
from torchlap.schema.events import Failure, Run
from torchlap.schema.workload import Cell
from torchlap.stats import Interval

MOST_DECIMALS = 4
WIDE = 1.0
"""A half-width on the log scale: limits that are a factor of 7 apart tell nothing, and are not written out."""

LONGEST_TEXT = 2000
FAILURE_WORDS = {
    "crash": "crashed",
    "hang": "hung",
    "out_of_memory": "out of memory",
    "refused": "refused",
    "not_finite": "loss not finite",
    "error": "failed",
    "too_slow": "too slow",
    "no_time": "no time left",
}


class Row(Struct, frozen=True):
    """A cell in words. `speed_up` is empty for the baseline and where there is none.

    `void` is the code of the finding by which the figure means nothing; empty where it means what it says.
    """

    result: CellResult
    model: str
    batch: str
    phase: str
    recipe: str
    device: str
    throughput: str
    speed_up: str
    laps: str
    void: str
    numerics: str
    bottleneck: str
    explained: Bottleneck | None


def clean(text: str) -> str:
    """Text without what steers a terminal or turns the reading direction, and not longer than is useful."""
    kept = (char if char == " " or unicodedata.category(char)[0] not in "CZ" else " " for char in text[:LONGEST_TEXT])
    return "".join(kept)


def model_names(run: Run) -> dict[str, str]:
    """What each model of a run is called: a user's own file without its folders, unless they tell two files apart."""
    models = dict.fromkeys(group.cells[0].workload.model for group in run.header.plan.groups)
    short = {model: _without_folders(model) for model in models}
    names = list(short.values())
    return {model: clean(name if names.count(name) == 1 else model) for model, name in short.items()}


def _without_folders(model: str) -> str:
    path, colon, function = model.rpartition(":")
    return f"{PurePath(path).name}{colon}{function}"


def sentence(text: str) -> str:
    """Text that ends with one full stop."""
    return f"{text.rstrip('. ')}." if text.strip(". ") else ""


def number(value: float, spread: float) -> str:
    """A figure with the digits that its spread justifies, at least two."""
    digits = 1 - floor(log10(value))
    justified = -floor(log10(spread)) if spread > 0 else digits + 1
    return f"{value:.{min(MOST_DECIMALS, max(0, digits, justified))}f}"


def with_interval(interval: Interval, unit: str = "") -> str:
    """A figure as `6.1x (5.9 to 6.3)`; as `~6.1x (n = 2, wide)` where its limits are beyond sense."""
    if interval.half_width > WIDE:
        return f"~{number(interval.value, interval.value)}{unit} (n = {interval.count}, wide)"
    spread = min(interval.value - interval.low, interval.high - interval.value)
    decimals = len(number(interval.value, spread).partition(".")[2])
    return f"{interval.value:.{decimals}f}{unit} ({interval.low:.{decimals}f} to {interval.high:.{decimals}f})"


def short_failure(failure: Failure) -> str:
    """A failure in two or three words, with the step's time where it was too slow; what had no time may be fast."""
    words = FAILURE_WORDS[failure.kind]
    if failure.kind == "too_slow" and failure.estimate_seconds:
        return f"{words}: ~{number(failure.estimate_seconds, 0.1 * failure.estimate_seconds)} s a step"
    return words


class Judged(Struct, frozen=True):
    """A run with what is told of it: a row a cell in the plan's order, computed once, and what its devices reach."""

    run: Run
    rows: tuple[Row, ...]
    peaks: dict[str, Peaks]

    @property
    def findings(self) -> tuple[Finding, ...]:
        """What stands against the figures; computed when asked for, as a line of many does not."""
        return findings(self.run)


def judged(run: Run) -> Judged:
    """Compute what every format shows of a run."""
    names, reached = model_names(run), peaks(run)
    all_rows = tuple(
        _row(
            result,
            names[group.cells[0].cell.workload.model],
            voided(result),
            bottleneck(result, reached.get(result.cell.device)),
        )
        for group in figures(run)
        for result in group.cells
    )
    return Judged(run, all_rows, reached)


def _row(result: CellResult, model: str, void: str, explained: Bottleneck | None) -> Row:
    workload = result.cell.workload
    if result.throughput:
        throughput = _unless_void(with_interval(result.throughput), void)
    else:
        throughput = short_failure(result.failure) if result.failure else _single(result.estimate)
    return Row(
        result=result,
        model=model,
        batch=str(workload.batch),
        phase=workload.phase,
        recipe=str(result.cell.recipe),
        device=clean(result.cell.device),
        throughput=throughput,
        speed_up=_unless_void(with_interval(result.speed_up, "x"), void) if result.speed_up else "",
        laps=str(len(result.laps)) if result.throughput else "",
        void=void if result.throughput else "",
        numerics="" if result.cell.device == "cpu" else word(result.numerics),
        bottleneck=(explained.word if explained else None) or "",
        explained=explained,
    )


def _single(estimate: float | None) -> str:
    """A figure from one lap has no spread."""
    return f"~{number(estimate, estimate)} (n = 1)" if estimate else "not measured"


def _unless_void(figure: str, code: str) -> str:
    return f"void ({code}): {figure}" if code else figure


def varying(all_rows: tuple[Row, ...]) -> tuple[str, ...]:
    """Which of phase and recipe differ between rows, or are not the usual, and so need a column."""
    usual = {"phase": "train", "recipe": "fp32"}
    return tuple(name for name, value in usual.items() if {getattr(row, name) for row in all_rows} != {value})


def baseline(run: Run) -> Cell:
    """The cell that speed-ups refer to: the first of its comparison, on the same device and recipe in each."""
    return run.header.plan.groups[0].cells[0]


def tells_of_numbers(all_rows: tuple[Row, ...]) -> bool:
    """Tell whether numbers need a column: where all are alike a sentence says it."""
    return len({row.numerics for row in all_rows} - {""}) > 1


def tells_of_bounds(all_rows: tuple[Row, ...]) -> bool:
    """Tell whether any cell's bound is known."""
    return any(row.bottleneck for row in all_rows)


def compares(run: Run) -> bool:
    """Tell whether there is anything to compare."""
    return any(len(group.cells) > 1 for group in run.header.plan.groups)


def grouped(all_findings: tuple[Finding, ...]) -> dict[str, tuple[Finding, ...]]:
    """The findings by code, in order."""
    codes = dict.fromkeys(finding.code for finding in all_findings)
    return {code: tuple(finding for finding in all_findings if finding.code == code) for code in codes}
