"""Small versions of the benchmarks' tables, and the pages that are made from the code."""

import json
import random
from pathlib import Path

import pytest
from fuzz_run_files import EVENTS, hostile, outcome
from injected import CAUSES, quiet, told
from make_findings import CATALOGUE, FOLDER, pages
from noise import MODELS, compare

COMPARISONS = 60
LEAST = 0.85
"""Of 60 intervals that hold the truth in 93 of 100, fewer than 51 do in one study of 100."""

MOSTLY = {"TL206": 0.2}
"""Laps that resemble their neighbours do not always show it in so few."""


@pytest.mark.parametrize("place", range(len(MODELS)), ids=[noise.name for noise in MODELS])
def test_the_interval_holds_the_truth_or_the_finding_is_told(place: int) -> None:
    outcomes = [compare(place, seed) for seed in range(COMPARISONS)]
    if MODELS[place].finding:
        assert all(MODELS[place].finding in one.findings for one in outcomes)
    else:
        assert sum(one.interval.low <= one.truth <= one.interval.high for one in outcomes) >= LEAST * COMPARISONS


@pytest.mark.parametrize("cause", CAUSES)
def test_an_injected_cause_is_told(cause: str) -> None:
    code, inject = CAUSES[cause]
    seen = [code in told(inject(quiet(seed), seed)) for seed in range(20)]
    assert sum(seen) >= MOSTLY.get(code, 1.0) * len(seen)


def test_a_quiet_run_is_silent() -> None:
    alarms = [told(quiet(seed)) for seed in range(20)]
    assert set().union(*alarms) <= {"TL206"}
    assert sum(map(bool, alarms)) <= 1


def test_each_finding_has_its_page_as_the_catalogue_has_it() -> None:
    assert {path.name: path.read_text() for path in FOLDER.iterdir()} == pages()
    assert len(pages()) == len(CATALOGUE) + 1


def test_hostile_run_files_are_refused_or_shown_with_nothing_raw_in_them(tmp_path: Path) -> None:
    seen = [outcome(hostile(random.Random(seed)), tmp_path / "run.jsonl", draws=seed % 100 == 0) for seed in range(300)]
    assert set(seen) == {"refused", "shown"}


def test_the_fuzzed_run_is_one_that_is_shown(tmp_path: Path) -> None:
    content = b"".join(json.dumps(event).encode() + b"\n" for event in EVENTS)
    assert outcome(content, tmp_path / "run.jsonl") == "shown"
