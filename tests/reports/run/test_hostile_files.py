"""Files that are as bad as their bounds allow: each is shown in every format, and the work grows with its size."""

from collections.abc import Callable
from pathlib import Path

import pytest
from hostile_runs import CASES, FORMULAS, write
from reports.run.test_large import REPORTS, calls
from reports.samples import steering

from torchlap import load
from torchlap.errors import RunFileError
from torchlap.reports.run import plain
from torchlap.schema.events import Run

WIDE = ("wide_groups", "a_wide_group", "lonely_rounds", "ranks", "trainings")
"""Kinds with a thousand cells, seeds or ranks, whatever their count is."""

BRIEF = ("evil_text", "formulas", "extreme_numbers")
"""Kinds that the usual tests show; the others take a minute."""

LONG = [name if name in BRIEF else pytest.param(name, marks=pytest.mark.long) for name in CASES]
MARKUP_IN_TEXT = ("<img", "<script>alert")


def of_kind(name: str, count: int, folder: Path) -> Run:
    """A file of that kind, as it is read."""
    make, _ = CASES[name]
    write(folder / "run.jsonl", make(count))
    return load(folder / "run.jsonl")


@pytest.mark.parametrize("name", LONG)
def test_every_kind_of_file_is_shown_in_every_format(name: str, tmp_path: Path) -> None:
    run = of_kind(name, 6, tmp_path)
    for kind, report in REPORTS.items():
        text = report(run)
        if isinstance(text, str):
            assert text
            assert not steering(text) - {"\t"}, kind
        if kind == "page":
            assert not any(markup in str(text) for markup in MARKUP_IN_TEXT)


@pytest.mark.parametrize("name", [name for name in CASES if name not in (*WIDE, "evil_text", "formulas", "faults")])
def test_the_work_of_a_report_grows_no_faster_than_the_file(name: str, tmp_path: Path) -> None:
    text: Callable[[Run], object] = REPORTS["terminal"]
    small, large = of_kind(name, 20, tmp_path), of_kind(name, 80, tmp_path)
    text(small)  # imports
    assert calls(text, large) < 5 * calls(text, small)


def test_no_name_is_a_formula_for_a_spreadsheet(tmp_path: Path) -> None:
    lines = plain.as_csv(of_kind("formulas", 3, tmp_path)).splitlines()[1:]
    assert len(lines) == len(FORMULAS)
    assert not any(field.lstrip('"').startswith(("=", "+", "@", "\t")) for line in lines for field in line.split(","))


@pytest.mark.parametrize("count", [999, 1001])
def test_a_search_has_no_more_candidates_than_a_group_may_have_cells(count: int, tmp_path: Path) -> None:
    if count < 1000:
        assert of_kind("candidates", count, tmp_path).events
        return
    with pytest.raises(RunFileError, match="adds a cell to a group of 1000"):
        of_kind("candidates", count, tmp_path)
