"""Run files of schema 1: they are read as if they had been written in the current schema."""

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from making import FACTS, WHOLE_RUN, header, plan, prepared, rounds
from msgspec.structs import replace

from torchlap import figures, peaks
from torchlap.errors import RunFileError
from torchlap.runs.file import RunFile, content, load
from torchlap.schema.events import SCHEMA, Event, GroupFinished, GroupStarted, Run
from torchlap.schema.machine import ImportFailure, TorchFacts

HEADER, EVENTS = WHOLE_RUN.header, WHOLE_RUN.events
Line = dict[str, Any]
NAMES_IN_1 = {
    "group_started": "comparison_started",
    "group_finished": "comparison_finished",
    "prepared": "cell_prepared",
    "numerics": "numbers_checked",
    "breakdown": "explained",
}
RECORDS = ("preparation", "numerics", "breakdown", "peaks")
"""Fields of schema 2 whose own fields an event of schema 1 had itself."""

WHOLE = replace(
    HEADER,
    facts=replace(
        FACTS,
        torch=TorchFacts(warnings="A warning."),
        import_failure=ImportFailure("crash", "It crashed.", "What it printed."),
    ),
)


def in_schema_1(line: Line) -> Line:
    """A line as torchlap wrote it in schema 1."""
    old: Line = {}
    for name, value in line.items():
        if name in RECORDS and isinstance(value, dict):
            old |= value
        else:
            old["comparison" if name == "group" else name] = value
    old["event"] = NAMES_IN_1.get(line["event"], line["event"])
    if old["event"] == "run":
        old["schema"] = 1
        old["plan"] = {"comparisons" if name == "groups" else name: value for name, value in line["plan"].items()}
        for record, new in (("torch", "warnings"), ("import_failure", "output")):
            facts = old["facts"]
            facts[record] = {"said" if name == new else name: value for name, value in facts[record].items()}
    for lap in old.get("laps", ()):
        if "items" in lap:
            lap["images"] = lap.pop("items")
    return old


def written_in_1(path: Path, run: Run) -> Path:
    lines = [json.loads(line) for line in content(run).splitlines()]
    path.write_text("".join(json.dumps(in_schema_1(line)) + "\n" for line in lines))
    return path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run.jsonl"


def test_every_event_of_schema_1_is_read(path: Path) -> None:
    assert load(written_in_1(path, Run(WHOLE, EVENTS))) == Run(WHOLE, EVENTS)


def test_the_figures_and_peaks_are_the_same(path: Path) -> None:
    run = Run(WHOLE, EVENTS)
    old = load(written_in_1(path, run))
    assert figures(old) == figures(run)
    assert peaks(old) == peaks(run)
    assert figures(old)[0].cells[0].throughput is not None


def test_a_file_that_was_written_in_schema_1_is_read(path: Path) -> None:
    path.write_text(
        '{"event":"run","schema":1,"torchlap":"0.1.0","started":"2026-01-02T03:04:05Z","facts":'
        + msgspec.json.encode(FACTS).decode()
        + ',"plan":{"suite":"own","comparisons":[{"cells":[{"workload":{"model":"resnet18","batch":4,"phase":"train"},'
        '"recipe":{},"device":"cpu"}]}]}}\n'
        '{"event":"comparison_started","comparison":0}\n'
        '{"event":"round","comparison":0,"at_seconds":1.5,"laps":[{"cell":0,"steps":5,"seconds":0.5,"loss":2.5}]}\n'
        '{"event":"round","comparison":0,"at_seconds":2.5,"laps":[{"cell":0,"steps":5,"seconds":0.5,"loss":2.4}]}\n'
        '{"event":"comparison_finished","comparison":0,"reason":"precise"}\n'
    )
    run = load(path)
    assert [type(event) for event in run.events][::3] == [GroupStarted, GroupFinished]
    throughput = figures(run)[0].cells[0].throughput
    assert throughput is not None
    assert throughput.value == pytest.approx(40.0)  # 4 images a step of 0.1 s


def test_a_damaged_line_of_schema_1_is_damage(path: Path) -> None:
    written_in_1(path, Run(WHOLE, EVENTS))
    lines = path.read_text().splitlines()
    lines[5] = lines[5].replace('"seconds": 0.1', '"seconds": -0.1')
    path.write_text("\n".join(lines) + "\n")
    with pytest.raises(RunFileError, match="line 6 cannot be read"):
        load(path)


def test_a_file_of_schema_1_is_upgraded_when_it_is_continued(path: Path) -> None:
    run = Run(WHOLE, EVENTS[:-1])
    file = RunFile.reopen(written_in_1(path, run))
    file.append(EVENTS[-1])
    file.close()
    assert json.loads(path.read_text().partition("\n")[0])["schema"] == SCHEMA
    assert load(path) == Run(WHOLE, EVENTS)


NEWER: list[tuple[str, int]] = [
    ('{"event":"from_the_future","what":"is new"}', 1),
    ('{"event":"from_the_future"}\n{"event":"another","group":99}', 2),
]


@pytest.mark.parametrize(("lines", "count"), NEWER)
def test_an_event_of_an_unknown_kind_is_skipped_with_a_remark(lines: str, count: int, path: Path) -> None:
    first, second = rounds([0.1, 0.2], [0.1, 0.2])
    events: tuple[Event, ...] = (GroupStarted(0), prepared(0), first)
    before = content(Run(header(plan()), events))
    path.write_bytes(before + lines.encode() + b"\n" + msgspec.json.encode(second) + b"\n")
    run = load(path)
    assert run.events == (*events, second)
    (remark,) = run.remarks
    assert remark.startswith(f"Skipped {count} line")


def test_an_event_of_an_unknown_kind_in_schema_1_is_damage(path: Path) -> None:
    written_in_1(path, Run(WHOLE, EVENTS))
    with path.open("a") as file:
        file.write('{"event":"from_the_future"}\n')
    with pytest.raises(RunFileError, match="is damaged"):
        load(path)


def test_an_event_that_could_not_be_read_again_is_not_written(path: Path) -> None:
    file = RunFile.create(path)
    file.append(HEADER)
    (lap,) = rounds([0.1], [0.1])
    before = path.read_bytes()
    with pytest.raises(RunFileError, match="--resume"):
        file.append(replace(lap, laps=(replace(lap.laps[0], seconds=-1.0),)))
    assert path.read_bytes() == before
    file.append(lap)
    file.close()
    assert load(path).events == (lap,)
