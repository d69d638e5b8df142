"""Reports of many cells and of many laps: the work grows with their number, and what is shown is bounded."""

import sys
from collections.abc import Callable

import pytest
from making import cell, header, plan, prepared
from msgspec.structs import replace

from torchlap.judge.compare import compare
from torchlap.reports.run import exports, page, plain, terminal
from torchlap.reports.run.rows import MOST_CELLS
from torchlap.runs.find import Named
from torchlap.schema.events import Lap, Round, Run
from torchlap.schema.workload import Group

Report = Callable[[Run], object]
REPORTS: dict[str, Report] = {
    "terminal": lambda run: terminal.report(run, None, 100, color=False, why=True),
    "page": lambda run: page.as_html([Named("a", run)], "0"),
    "markdown": plain.as_markdown,
    "csv": plain.as_csv,
    "json": lambda run: plain.as_json(run, None),
    "pytorch": exports.as_pytorch_oss,
    "compare": lambda run: compare([Named("a", run), Named("b", run)]),
}


def many(count: int, *, same: bool) -> Run:
    """A run of so many cells with two laps each, of one model in many batches or of many models."""
    cells = [cell("cuda:0", model="m" if same else f"m{place}", batch=place + 1) for place in range(count)]
    events = [
        event
        for place in range(count)
        for event in (
            replace(prepared(0), group=place),
            Round(place, 1.0, (Lap(0, 1, 0.1, 1.0),)),
            Round(place, 2.0, (Lap(0, 1, 0.11, 1.0),)),
        )
    ]
    planned = replace(plan(), groups=tuple(Group((one,)) for one in cells))
    return Run(replace(header(), plan=planned), tuple(events))


def calls(report: Report, run: Run) -> int:
    """How many lines of torchlap's own code a report executes, comprehensions included."""
    count = 0

    def trace(frame: object, event: str, _: object) -> Callable[..., object] | None:
        nonlocal count
        count += event == "line"
        code = frame.f_code  # type: ignore[attr-defined]  # of a frame
        return trace if "torchlap" in code.co_filename and "site-packages" not in code.co_filename else None

    before = sys.gettrace()
    sys.settrace(trace)  # type: ignore[arg-type]  # its type has no public name
    try:
        report(run)
    finally:
        sys.settrace(before)
    return count


@pytest.mark.parametrize("same", [True, pytest.param(False, marks=pytest.mark.long)], ids=["batches", "models"])
@pytest.mark.parametrize("name", REPORTS)
def test_the_work_of_a_report_grows_no_faster_than_its_cells(name: str, same: bool) -> None:
    report = REPORTS[name]
    small, large = many(100, same=same), many(400, same=same)
    report(small)  # imports
    assert calls(report, large) < 5 * calls(report, small)


def test_a_terminal_and_a_page_say_how_many_cells_they_leave_out() -> None:
    run = many(MOST_CELLS + 1, same=True)
    sentence = f"The first {MOST_CELLS} of {MOST_CELLS + 1} cells are shown"
    assert sentence in " ".join(terminal.report(run, None, 100, color=False).split())
    assert plain.as_csv(run).count("\n") == MOST_CELLS + 2
    assert "are shown" not in terminal.report(many(3, same=True), None, 100, color=False)


def test_a_round_of_some_cells_costs_nothing_for_the_others() -> None:
    cells = tuple(cell("cuda:0", batch=place + 1) for place in range(200))
    planned = replace(plan(), groups=(Group(cells),))

    def run(rounds: int) -> Run:
        events = [replace(prepared(place), cell=place) for place in range(200)]
        turns = [Round(0, 1.0 + place, (Lap(place % 200, 1, 0.1, 1.0),)) for place in range(rounds)]
        return Run(replace(header(), plan=planned), (*events, *turns))

    assert calls(plain.as_csv, run(1600)) < 5 * calls(plain.as_csv, run(400))
