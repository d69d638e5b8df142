"""A training report for a terminal, as Markdown, CSV and JSON."""

import csv
import io
from collections.abc import Iterator
from math import isinf
from pathlib import Path

import msgspec
from rich.console import RenderableType
from rich.text import Text

from torchlap.judge.training import findings
from torchlap.reports.kit.findings import brief_in_markdown, by_severity, entries
from torchlap.reports.kit.json_format import as_ascii, cell_keys
from torchlap.reports.kit.machine import machine_line
from torchlap.reports.kit.table import Table, fitting
from torchlap.reports.kit.table import as_markdown as markdown_table
from torchlap.reports.kit.terminal import brief_in_terminal, heading, indented, labeled, note_in_terminal, rendered
from torchlap.reports.kit.text import clean, escape, markdown
from torchlap.reports.training import words
from torchlap.runs.training import Attempt, CellTraining, trainings
from torchlap.schema.events import Run, RunFinished

FAILED = "Trainings that failed"


def as_text(run: Run, path: Path | None, width: int, *, color: bool) -> str:
    """For a terminal: what follows the machine's line."""
    return rendered(_parts(run, path, width), width, color=color)


def _parts(run: Run, path: Path | None, width: int) -> Iterator[RenderableType]:
    yield Text(f"{words.workload(run)}, until {words.target(run)} of held-out examples are right", style="bold")
    for table in (words.table(run), words.each_training(run)):
        in_columns = fitting(table, width)
        yield from [in_columns] if in_columns else map(Text, _list(table))
    yield Text(words.legend(run))
    failed = words.failures(run)
    if failed:
        yield heading(FAILED)
        yield from map(indented, failed)
    shown = entries(findings(run))
    if shown:
        yield heading("Findings")
        yield from (brief_in_terminal(entry) for entry in by_severity(shown) if entry.severity != "note")
        yield from (note_in_terminal(entry) for entry in shown if entry.severity == "note")
    for remark in run.remarks:
        yield Text(clean(remark))
    if path is not None:
        yield Text("")
        yield labeled("Run file", clean(str(path)))
    yield Text(f"\n{words.headline(run)}", style="bold")


def _list(table: Table) -> Iterator[str]:
    """The table for a narrow terminal: a line per row."""
    for row in table.rows:
        fields = zip(table.columns, row, strict=True)
        yield ", ".join(f"{column.head} {field.text}" for column, field in fields if field.text)


def as_markdown(run: Run) -> str:
    """To paste into a page."""
    lines = [markdown(machine_line(run.header.facts)), "", f"**{escape(words.headline(run))}**", ""]
    lines += [*markdown_table(words.table(run)), "", *markdown_table(words.each_training(run)), ""]
    lines.append(escape(words.legend(run)))
    failed = words.failures(run)
    if failed:
        lines += ["", f"{FAILED}:", "", *(f"- {escape(line)}" for line in failed)]
    shown = entries(findings(run))
    if shown:
        lines += ["", *map(brief_in_markdown, shown)]
    return "\n".join(lines) + "\n"


CSV_COLUMNS = (
    "model",
    "batch",
    "recipe",
    "device",
    "seed",
    "outcome",
    "seconds",
    "evaluation_seconds",
    "warm_up_seconds",
    "steps",
    "epochs",
    "accuracy",
    "items_per_second",
)


def as_csv(run: Run) -> str:
    """One line per training."""
    text = io.StringIO()
    writer = csv.DictWriter(text, CSV_COLUMNS, lineterminator="\n")
    writer.writeheader()
    for cell in trainings(run):
        keys = {name: _no_formula(clean(str(value))) for name, value in cell_keys(cell.cell).items()}
        for attempt in cell.attempts:
            line = keys | _attempt(attempt)
            writer.writerow({name: "" if line[name] is None else line[name] for name in CSV_COLUMNS})
    return text.getvalue()


def _no_formula(text: str) -> str:
    return f"'{text}" if text.startswith(("=", "+", "-", "@")) else text


def _attempt(attempt: Attempt) -> dict[str, object]:
    return {
        "seed": attempt.seed,
        "outcome": attempt.outcome,
        "seconds": attempt.seconds,
        "evaluation_seconds": attempt.evaluation_seconds,
        "warm_up_seconds": attempt.warm_up_seconds,
        "steps": attempt.steps,
        "epochs": attempt.epochs,
        "accuracy": attempt.accuracy,
        "items_per_second": attempt.items_per_second,
    }


def as_json(run: Run, path: Path | None) -> str:
    """One JSON object; docs/time-to-accuracy.md has its schema."""
    end = run.events[-1] if run.events and isinstance(run.events[-1], RunFinished) else None
    report = {
        "schema": run.header.schema,
        "torchlap": run.header.torchlap,
        "started": run.header.started,
        "headline": words.headline(run),
        "finished": end.reason if end else None,
        "run_file": str(path) if path else None,
        "machine": run.header.facts,
        "plan": run.header.plan,
        "cells": [_cell(cell) for cell in trainings(run)],
        "findings": findings(run),
        "remarks": run.remarks,
    }
    return as_ascii(_finite(msgspec.to_builtins(report)))


def _cell(cell: CellTraining) -> dict[str, object]:
    return {
        **cell_keys(cell.cell),
        "reached": cell.reached,
        "counted": cell.counted,
        "seconds": cell.time,
        "sooner": cell.sooner,
        "items_per_second": cell.throughput,
        "speed_up": cell.speed_up,
        "trainings": [
            _attempt(attempt)
            | {
                "reason": attempt.ended.reason if attempt.ended else "",
                "evaluations": [
                    {"steps": event.steps, "seconds": event.seconds, "accuracy": event.accuracy, "loss": event.loss}
                    for event in attempt.evaluations
                ],
            }
            for attempt in cell.attempts
        ],
    }


def _finite(value: object) -> object:
    """The same, with null for infinity, which JSON does not have."""
    match value:
        case dict():
            return {name: _finite(part) for name, part in value.items()}
        case list() | tuple():
            return [_finite(part) for part in value]
        case float() if isinf(value):
            return None
        case _:
            return value
