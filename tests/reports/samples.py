"""Runs for the tests of the reports, with their findings and verdicts in words."""

import textwrap
import unicodedata
from pathlib import Path
from typing import Any

from making import CPU, cell, explained, facts, failure, pair, plan, prepared, reached, rounds, run
from msgspec.structs import replace

from torchlap.judge.measurement import findings
from torchlap.judge.numerics import verdict
from torchlap.reports.run import terminal
from torchlap.schema.events import Event, GroupFinished, GroupStarted, Run, RunFinished
from torchlap.schema.machine import DeviceFacts
from torchlap.schema.numerics import Numerics
from torchlap.schema.recipe import Recipe
from torchlap.schema.trace import ScriptRun, Trace
from torchlap.schema.workload import Cell, Group, Workload

SLOW = [0.1, 0.101, 0.099, 0.1, 0.102, 0.098, 0.1, 0.1]
FAST = [0.02, 0.0202, 0.0198, 0.02, 0.0201, 0.0199, 0.02, 0.02]
"""With ties, so that the snapshots do not depend on how many pairwise means an interval leaves out."""

CORRECT = verdict(Numerics(operators=100, products=10, closest=0.5))
"""What the tables call the numerics of `making.run`."""

ENDED = RunFinished(reason="complete", wall_seconds=98.5, start_up_seconds=7.25)
TYPICAL = run(
    [
        GroupStarted(0),
        prepared(0),
        prepared(1),
        *rounds(SLOW, FAST),
        GroupFinished(0, "precise"),
        GroupStarted(1),
        failure(0, "too_slow", "A step would take longer than what is left.", group=1, estimate_seconds=160.0),
        prepared(1, group=1, steady=False, warm_up_steps=1),
        *rounds([None] * 3, [0.2, 0.21, 0.2], group=1),
        GroupFinished(1, "budget"),
        ENDED,
    ],
    plan(pair(), pair(batch=64)),
)
"""Two devices at two batch sizes; the CPU is too slow for the larger one."""

CPU_ONLY = facts(devices=(CPU,), looked_for="Looked for CUDA (no driver).")
OWN = run(
    [prepared(0), *rounds(SLOW)],
    plan(
        Group(
            (
                cell(
                    model="/home/me/net.py:build",
                    phase="eval",
                    recipe=Recipe("bf16", "channels_last", fused=True, workers=2),
                ),
            )
        )
    ),
    CPU_ONLY,
)
"""A user's own model in eval, with a recipe and a loader."""


def of_units(*units: str) -> Run:
    """A run on one device with a model for each unit."""
    groups = [
        Group((Cell(Workload(f"model{place}", 4, unit=unit), Recipe(), "cpu"),)) for place, unit in enumerate(units)
    ]
    laps = [event for place in range(len(units)) for event in rounds(SLOW, group=place)]
    return run(laps, plan(*groups, suite="own"), CPU_ONLY)


def measured() -> Run:
    """Two devices at two batch sizes, with breakdowns and peaks."""
    groups = plan(pair(), pair(batch=64))
    events: list[Event] = []
    for place in range(2):
        events += [prepared(0, group=place), prepared(1, group=place), *rounds(SLOW, FAST, group=place)]
        events += [explained(0, group=place), explained(1, group=place)]
    return run([*events, reached("cpu"), reached("cuda:0")], groups)


def everywhere(text: str) -> Run:
    """A run that has the text wherever a run file can have any, and a figure, failures and findings to show it in."""
    devices = DeviceFacts(text, "cpu", text), DeviceFacts("other", text, text)
    cells = tuple(cell(device, model=text) for device in (text, "other", f"x{text}"))
    last = Cell(Workload(f"folder/{text}.py:{text}", 64, unit=text), Recipe(), text)
    machine = facts(
        cpu=text, system=text, python=text, packages={"torch": text, text: text}, devices=devices, looked_for=text
    )
    laps = rounds([0.1, 0.1], [0.02, 0.02], [None, None])
    events: list[Event] = [*laps, failure(2, "error", text, detail=text), *rounds([0.1, 0.1], group=1), ENDED]
    events += [explained(0, no_energy=text, left_out=(text,)), reached(text, refused={"fp16": text})]
    hostile = run(events, plan(Group(cells), Group((last,)), suite=text), machine, [text])
    return replace(hostile, header=replace(hostile.header, published=text))


def script_run(recorded: Trace, **changes: Any) -> ScriptRun:
    """A script that ended by itself."""
    return replace(ScriptRun(recorded, recorded.exit_code), **changes)


def steering(text: str) -> set[str]:
    """Characters that control a terminal or change the reading direction, apart from line ends."""
    return {char for char in text if unicodedata.category(char)[0] in "CZ"} - {"\n", " "}


def table(shown: Run, width: int, path: Path | None = None) -> str:
    """The report in a terminal, without colors."""
    return "\n" + terminal.report(shown, path, width, color=False)


def wrapped(text: str, width: int, indent: int = 0) -> str:
    """A paragraph as a terminal wraps it."""
    margin = " " * indent
    return textwrap.fill(text, width, initial_indent=margin, subsequent_indent=margin, break_on_hyphens=False)


def in_brief(shown: Run, width: int) -> str:
    """The findings of a run as a terminal shows them, for runs with one finding of each code."""
    texts: dict[str, list[str]] = {"error": [], "warning": [], "note": []}
    for finding in findings(shown):
        place = f"{finding.where}: " if finding.where else ""
        evidence = finding.evidence.rstrip(".")
        texts[finding.severity].append(
            f"{finding.code} {finding.title} ({finding.where or evidence})"
            if finding.severity == "note"
            else f"{finding.code} {finding.title}: {place}{evidence}. {finding.remedy}"
        )
    return "\n".join(wrapped(text, width, 2) for severity in texts.values() for text in severity)
