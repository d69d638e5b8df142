import json

from judge.traces import trace
from making import plan, rounds, run
from reports.samples import script_run

from torchlap.reports.ladder import as_json, as_markdown, as_text
from torchlap.schema.ladder import Figure, Ladder, Rung
from torchlap.schema.recipe import Recipe
from torchlap.schema.workload import Cell, Group, Workload

RUNGS = ("as published", "loss on all outputs", "waits for the device")


def ladder(*devices: str) -> Ladder:
    """Rungs whose ratio is 10, then torchlap's own, whose ratio is 20."""
    groups = [
        Group(tuple(Cell(Workload("alexnet", batch), Recipe(), device) for device in devices)) for batch in (4, 64)
    ]
    laps = [event for place in range(2) for event in rounds(*[[0.1] * 6, [0.005] * 6][: len(devices)], group=place)]
    figures = tuple(Figure("alexnet", 4, device, 10.0 if device == "cpu" else 100.0) for device in devices)
    rungs = tuple(Rung(title, figures) for title in RUNGS)
    return Ladder(script_run(trace()), devices, ("alexnet",), rungs, run(laps, plan(*groups)))


def test_the_ladder_has_a_line_per_repair_and_ends_with_the_answer() -> None:
    text = as_text(ladder("cpu", "cuda:0"), 100, color=False)
    assert text.startswith("train.py: no timing problems found.")
    lines = text[text.index("The ladder") :].splitlines()
    titles = [line[1:24].strip() for line in lines if line.startswith("  ")]
    assert titles == [RUNGS[0], *(f"+ {title}" for title in RUNGS[1:]), "+ repeats, in turns", "+ batch 64"]
    first, last = (next(line for line in lines if title in line) for title in ("as published", "+ batch 64"))
    assert first.split()[2:] == ["10.0", "100", "10.0x"]
    assert "20.0x (20.0 to 20.0)" in last
    assert "cuda:0 is 128 times as fast after all repairs, at batch 64, as the published protocol" in " ".join(
        " ".join(lines).split()
    )


def test_a_narrow_terminal_wraps_the_figures() -> None:
    assert max(map(len, as_text(ladder("cpu", "cuda:0"), 60, color=False).splitlines())) <= 60


def test_a_machine_without_an_accelerator_has_no_ratio() -> None:
    text = as_markdown(ladder("cpu"))
    assert "| model | protocol | cpu |" in text
    assert "| alexnet | as published | 10.0 |" in text
    assert "after all repairs" not in text


def test_json_has_the_audit_the_ladder_and_the_answer() -> None:
    report = json.loads(as_json(ladder("cpu", "cuda:0"), "1.2.3"))
    assert list(report) == [
        "schema",
        "torchlap",
        "exit_code",
        "not_audited",
        "findings",
        "diffs",
        "run",
        "devices",
        "ladder",
        "answer",
    ]
    assert report["devices"] == ["cpu", "cuda:0"]
    assert report["ladder"]["alexnet"][0] == {"title": "as published", "figures": ["10.0", "100"], "ratio": "10.0x"}


def test_a_figure_that_is_missing_is_shown_as_none() -> None:
    shown = ladder("cpu", "cuda:0")
    missing = Ladder(shown.audited, shown.devices, ("alexnet", "vgg16"), shown.rungs, shown.measured)
    assert "| vgg16 | + batch 64 | none | none |  |" in as_markdown(missing)
