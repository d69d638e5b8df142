"""The report of `torchlap scale`."""

import json

import pytest
from known_ranks import Known, measured, ranks_of

from torchlap.processes.failures import CellFailedError
from torchlap.reports import scale
from torchlap.runs.scaling import sizes
from torchlap.schema.requests import Request, RunLaps
from torchlap.schema.workload import Cell


def test_the_answer_comes_first_and_fits_into_80_columns() -> None:
    text = scale.as_text(measured(ranks=(2, 4)), None, 80, color=False)
    lines = text.splitlines()
    assert all(len(line) <= 80 for line in lines)
    answers = [line for line in lines if " as fast as one, efficiency" in line]
    assert answers[0].startswith("2 GPUs are 1.6")
    assert answers[1].startswith("4 GPUs are 3.3")
    assert lines.index(answers[0]) < lines.index(next(line for line in lines if "devices" in line))
    assert "50.0 GB/s (50.0 to 50.0) 2.00 GiB ok" in " ".join(text.split())
    assert "parameters are equal, bit by bit, on all ranks after 20 steps" in " ".join(text.split())


@pytest.mark.parametrize("width", [40, 60, 80, 120])
def test_every_width_is_respected(width: int) -> None:
    text = scale.as_text(measured(), None, width, color=False)
    assert all(len(line) <= width for line in text.splitlines())


def test_a_failure_is_the_answer_where_there_is_no_figure() -> None:
    known = Known()

    def break_all(cell: Cell, request: Request) -> None:
        if ranks_of(cell) > 1 and isinstance(request, RunLaps):
            raise CellFailedError("hang", "Ranks 0, 1 gave no answer for 60 s (running laps).")

    known.breaks = break_all
    run = measured(known)
    (size,) = sizes(run)
    assert scale.headline(size) == "2 GPUs: hung. Ranks 0, 1 gave no answer for 60 s (running laps)."
    assert "hung" in scale.as_text(run, None, 80, color=False)


def test_json_has_every_size_with_its_figures_and_ranks() -> None:
    report = json.loads(scale.as_json(measured(ranks=(2, 4)), None))
    assert report["schema"] == 1
    assert report["scaling"]["ranks"] == [2, 4]
    two = report["sizes"][0]
    assert two["ranks"] == 2
    assert two["efficiency"]["value"] == pytest.approx(0.83, abs=0.02)
    assert [rank["rank"] for rank in two["rank_facts"]] == [0, 1]
    assert {rank["host"] for rank in two["rank_facts"]} == {"host 0"}
    assert two["communication"]["bytes"] == 10**8
    assert two["alone"]["device"] == "cuda:0"
    assert two["together"]["items_per_second_each"] == pytest.approx(32 / 0.036, rel=0.02)


def test_markdown_has_both_tables() -> None:
    text = scale.as_markdown(measured())
    assert text.count("| --- |") >= 1
    assert "**2 GPUs are " in text
