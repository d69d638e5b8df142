"""The page as text; test_browser.py opens it."""

import re

import pytest
from making import failure, prepared, rounds, run
from msgspec.structs import replace
from reports.samples import FAST, SLOW

from torchlap.judge.measurement import findings
from torchlap.reports.run.page import KEPT_WHOLE, MOST_WHOLE, as_html
from torchlap.runs.find import Named, reference
from torchlap.schema.events import NumericsChecked, Run
from torchlap.schema.numerics import Numerics

BRIEF = run([prepared(0), prepared(1), *rounds(SLOW, FAST)])
"""A run with few charts, which take most of the time."""


def page_of(*runs: Run) -> str:
    return as_html([Named(f"night-{number}.jsonl", shown) for number, shown in enumerate(runs, 1)], "1.2.3")


def test_a_page_says_in_its_first_2000_bytes_that_torchlap_made_it() -> None:
    for text in (page_of(run()), page_of(run(), run())):
        start = text.encode()[:2000]
        assert start.startswith(b"<!DOCTYPE html>")
        assert b'<meta name="generator" content="torchlap 1.2.3">' in start
        assert start.index(b'<meta name="generator"') < start.index(b"<style>")


def test_names_of_charts_are_unique_and_the_same_runs_give_the_same_page() -> None:
    text = page_of(BRIEF, BRIEF)
    names = re.findall(r'\bid="([^"]+)"', text)
    assert len(names) == len(set(names))
    assert set(re.findall(r"url\(#([^)]+)\)", text)) <= set(names)
    assert text == page_of(BRIEF, BRIEF)


def test_a_published_run_is_marked_and_has_no_method() -> None:
    text = page_of(reference("experiment-2022"))
    assert "Published, not measured by torchlap:" in text
    assert "one device synchronization" not in text


def test_a_failed_cell_has_its_reason_and_a_finding_its_fix() -> None:
    shown = run([prepared(0), *rounds([0.1, 0.2, 0.1]), failure(1, reason="It ran away.")])
    text = page_of(shown)
    assert "<h3>Cells without a result</h3><ul><li>resnet18, batch 4, cuda:0: crashed. It ran away.</li>" in text
    few = next(finding for finding in findings(shown) if finding.code == "TL201")
    assert f"TL201 {few.severity}: {few.title} (resnet18, batch 4, cpu)" in text
    assert few.evidence in text
    assert f"<b>Fix:</b> {few.remedy}" in text


NOT_CHECKED = Numerics(reason="Out of time.")
CORRECT = Numerics(operators=9, products=1, closest=0.5)


@pytest.mark.parametrize(
    ("numerics", "verify", "words"),
    [
        (NOT_CHECKED, True, "against float64: 1 not checked"),
        (CORRECT, True, "against float64: 1 correct"),
        (CORRECT, False, "not checked"),
    ],
)
def test_the_page_says_of_numerics_what_its_findings_say(numerics: Numerics, verify: bool, words: str) -> None:
    events = (*BRIEF.events, NumericsChecked(group=0, cell=1, numerics=numerics))
    header = replace(BRIEF.header, plan=replace(BRIEF.header.plan, verify=verify))
    text = page_of(replace(BRIEF, header=header, events=events))
    assert re.search(rf">Numerics</\w+>\s*<\w+>{re.escape(words)}<", text)


def test_a_page_of_many_runs_shows_the_newest_in_full_and_lists_all() -> None:
    text = page_of(*[BRIEF] * (MOST_WHOLE + 1))
    assert text.count("<article") == KEPT_WHOLE
    assert text.count('<th scope="row"') == MOST_WHOLE + 1 + KEPT_WHOLE * (1 + 2)  # by model, and by cell
    assert text.count('<a href="#run-') == KEPT_WHOLE
    assert "Changes from run to run" in text
    assert f"the other {MOST_WHOLE + 1 - KEPT_WHOLE} are only in the list." in text


def test_a_large_run_file_is_left_out_of_the_page(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torchlap.reports.run.page.LARGEST_DOWNLOAD", 10)
    text = page_of(BRIEF)
    assert "data:application" not in text
    assert "is too large to include" in text
