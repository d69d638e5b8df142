"""Findings about times to accuracy, from hand-made events."""

from collections.abc import Sequence
from typing import Any

import pytest
from making import cell, header, plan
from msgspec.structs import replace

from torchlap.judge.training import findings, has_failed, is_reached
from torchlap.reports.run.page import as_html
from torchlap.reports.training.formats import as_csv, as_json, as_markdown, as_text
from torchlap.reports.training.words import headline
from torchlap.runs.find import Named
from torchlap.runs.training import trainings
from torchlap.schema.events import Event, Run
from torchlap.schema.recipe import Recipe
from torchlap.schema.training import Evaluated, Outcome, TrainingEnded, TrainingPlan, TrainingStarted
from torchlap.schema.workload import Group

SEEDS = 6


def trained(number: int, seed: int, seconds: float, outcome: Outcome = "reached", **changes: Any) -> list[Event]:
    """A training of ten evaluations."""
    started = TrainingStarted(
        group=0, cell=number, seed=seed, warm_up_seconds=0.1, epoch_steps=10, train_items=100, held_out=50, parameters=5
    )
    one = Evaluated(
        group=0, cell=number, seed=seed, steps=10, seconds=seconds / 10, items=100, loss=0.5, correct=40, of=50,
        evaluation_seconds=0.1,
    )  # fmt: skip
    ended = TrainingEnded(group=0, cell=number, seed=seed, outcome=outcome, reason="It did.")
    return [started, *[replace(one, **changes)] * 10, ended]


def run_of(*cells: Sequence[list[Event]]) -> Run:
    """A run of one cell or two."""
    training = TrainingPlan(target=0.9, seeds=tuple(range(SEEDS)), learning_rate=0.1, epochs=10)
    recipes = Recipe(), Recipe("bf16")
    group = Group(tuple(cell(recipe=recipe) for recipe, _ in zip(recipes, cells, strict=False)))
    events = [event for each in cells for one in each for event in one]
    return Run(header(plan(group, training=training)), tuple(events))


def of_seconds(number: int, *seconds: float, **changes: Any) -> list[list[Event]]:
    return [trained(number, seed, each, **changes) for seed, each in enumerate(seconds)]


def codes(run: Run) -> list[str]:
    return [finding.code for finding in findings(run)]


BASE = of_seconds(0, 4.0, 5.0, 6.0, 4.5, 5.5, 5.0)


def test_trainings_that_all_get_there_have_no_finding() -> None:
    run = run_of(BASE)
    assert codes(run) == []
    assert is_reached(trainings(run), SEEDS)


def test_faster_steps_that_need_longer_are_a_finding() -> None:
    later = of_seconds(1, *(seconds * 1.5 for seconds in (4.0, 5.0, 6.0, 4.5, 5.5, 5.0)), items=300)
    run = run_of(BASE, later)
    (finding,) = findings(run)
    assert finding.code == "TL701"
    assert "2x" in finding.evidence
    assert "certainly later" in finding.evidence
    assert "0.667x (0.667 to 0.667)" in finding.evidence


def test_faster_steps_that_may_not_be_sooner_are_a_finding_as_well() -> None:
    mixed = of_seconds(1, 3.0, 6.0, 5.0, 5.5, 4.0, 6.0, items=300)
    (finding,) = findings(run_of(BASE, mixed))
    assert "not certainly sooner" in finding.evidence


def test_a_recipe_that_is_sooner_or_not_faster_is_none() -> None:
    sooner = of_seconds(1, *(seconds / 2 for seconds in (4.0, 5.0, 6.0, 4.5, 5.5, 5.0)))
    slower = of_seconds(1, *(seconds * 2 for seconds in (4.0, 5.0, 6.0, 4.5, 5.5, 5.0)))
    assert codes(run_of(BASE, sooner)) == []
    assert codes(run_of(BASE, slower)) == []


def test_trainings_that_do_not_get_there_count_as_longer() -> None:
    cut = [*of_seconds(0, 4.0, 5.0, 6.0, 4.5), *[trained(0, seed, 9.0, "epochs") for seed in (4, 5)]]
    run = run_of(cut)
    (known,) = trainings(run)
    assert known.time
    assert known.time.value == pytest.approx((5 * 6) ** 0.5)
    assert known.time.low == pytest.approx(4.0)
    assert known.time.high == float("inf")
    (finding,) = findings(run)
    assert (finding.code, "2 ran out of epochs" in finding.evidence) == ("TL702", True)
    assert not is_reached(trainings(run), SEEDS)


def test_trainings_cut_by_the_budget_leave_the_ratio_open() -> None:
    cut = [trained(1, seed, 2.0, "budget") for seed in range(SEEDS)]
    _, second = trainings(run_of(BASE, cut))
    assert second.sooner
    assert (second.sooner.value, second.sooner.low, second.sooner.high) == (None, 0.0, 3.0)


def test_a_recipe_that_never_gets_there_where_the_baseline_does_is_never_sooner() -> None:
    lost = [trained(1, seed, 2.0, "not_finite") for seed in range(SEEDS)]
    _, second = trainings(run_of(BASE, lost))
    assert second.sooner
    assert (second.sooner.value, second.sooner.high) == (0.0, 0.0)


def test_few_seeds_and_few_evaluations_are_notes() -> None:
    assert codes(run_of(BASE[:5])) == ["TL702", "TL703"]
    coarse = [[*one[:2], one[-1]] for one in BASE]
    assert codes(run_of(coarse)) == ["TL704"]


def test_a_training_that_failed_is_no_measurement() -> None:
    run = run_of([*BASE[:5], [TrainingEnded(group=0, cell=0, seed=5, outcome="failed", reason="It crashed.")]])
    (known,) = trainings(run)
    assert (known.reached, known.counted, len(known.attempts)) == (5, 5, 6)
    assert has_failed(trainings(run))


def test_a_training_that_began_again_counts_once() -> None:
    run = run_of([*BASE, trained(0, 0, 7.0)])
    (known,) = trainings(run)
    assert known.attempts[0].seconds == pytest.approx(7.0)
    assert known.counted == SEEDS


def test_a_file_whose_trainings_end_without_an_evaluation_has_no_times() -> None:
    ends: list[list[Event]] = [
        [TrainingEnded(group=0, cell=place, seed=seed, outcome="reached") for seed in range(SEEDS)] for place in (0, 1)
    ]
    run = run_of([ends[0]], [ends[1]])
    assert [cell.time for cell in trainings(run)] == [None, None]
    assert [cell.sooner for cell in trainings(run)] == [None, None]
    assert "no training has ended yet" in headline(run)


def test_text_of_a_run_file_cannot_control_a_terminal_or_a_page() -> None:
    hostile = "\x1b[31m<script>alert(1)</script>\u202e"
    run = run_of([*BASE[:5], [TrainingEnded(group=0, cell=0, seed=5, outcome="failed", reason=hostile)]])
    for text in (as_text(run, None, 80, color=False), as_markdown(run), as_csv(run), as_json(run, None)):
        assert "\x1b" not in text
        assert "\u202e" not in text
    assert "<script>alert" not in as_html([Named("a", run)], "1")
