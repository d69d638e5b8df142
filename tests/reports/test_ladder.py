"""The report of `torchlap audit` about the 2022 experiment."""

import json

from judge.traces import trace
from making import plan, rounds, run

from torchlap.measuring.ladder import REPAIRS
from torchlap.reports import ladder
from torchlap.schema.ladder import Figure, Ladder, Rung
from torchlap.schema.recipe import Recipe
from torchlap.schema.trace import ScriptRun
from torchlap.schema.workload import Cell, Group, Workload


def measured(devices: tuple[str, ...] = ("cpu", "cuda:0")) -> Ladder:
    """A ratio of 10 on every rung, and of 20 in torchlap's own measurement."""
    groups = [
        Group(tuple(Cell(Workload("alexnet", batch), Recipe(), device) for device in devices)) for batch in (4, 64)
    ]
    events = [event for place in range(2) for event in rounds([0.1] * 6, [0.005] * 6, group=place)]
    figures = tuple(Figure("alexnet", 4, device, 10.0 if device == "cpu" else 100.0) for device in devices)
    rungs = [Rung("as published", figures), *(Rung(title, figures) for title, _ in REPAIRS)]
    return Ladder(ScriptRun(trace(), 0), devices, ("alexnet",), tuple(rungs), run(events, plan(*groups)))


def test_the_ladder_has_a_line_for_each_repair_and_ends_with_the_answer() -> None:
    text = ladder.as_text(measured(), 80, color=False)
    lines = text[text.index("The ladder") :].splitlines()
    first = next(place for place, line in enumerate(lines) if "as published" in line)
    titles = [
        title for title in (line[:25].strip() for line in lines[first:]) if title.startswith(("as published", "+"))
    ]
    assert titles == ["as published", *(f"+ {title}" for title, _ in REPAIRS), "+ repeats, in turns", "+ batch 64"]
    assert lines[first].split()[-3:] == ["10.0", "100", "10.0x"]
    assert "20.0x (20.0 to" in lines[first + 6]
    assert "cuda:0 is 128 times as fast after all repairs, at batch 64, as the published protocol" in " ".join(lines)


def test_the_ladder_of_a_machine_without_an_accelerator_has_no_ratio() -> None:
    text = ladder.as_markdown(measured(("cpu",)))
    assert "| model | protocol | cpu |" in text
    assert "after all repairs" not in text
    assert json.loads(ladder.as_json(measured(), "1.2.3"))["ladder"]["alexnet"][0]["ratio"] == "10.0x"
