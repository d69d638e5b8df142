import pytest
from hypothesis import given, settings
from hypothesis import strategies as some
from making import cell, pair

from torchlap.measuring.schedule import (
    LAP_SECONDS,
    LEAST_STEPS,
    LONGEST_STEP_SECONDS,
    MOST_EXTRA_STEPS,
    Estimates,
    Pending,
    StepTime,
    is_hopeless,
    lap_steps,
    lead_in_steps,
    next_up,
    pending,
    share,
    turn_laps,
    turn_order,
    warm_up_seconds,
)
from torchlap.schema.recipe import Recipe

waiting_lists = some.lists(
    some.tuples(some.integers(1, 1024), some.none() | some.floats(1e-4, 100)), min_size=1, max_size=12
).map(lambda many: [Pending(number, batch, seconds) for number, (batch, seconds) in enumerate(many)])


def order(waiting: list[Pending]) -> list[int]:
    left, numbers = list(waiting), []
    while left:
        chosen = next_up(left)
        left.remove(chosen)
        numbers.append(chosen.number)
    return numbers


def test_a_step_grows_with_the_batch_except_for_its_fixed_part() -> None:
    assert StepTime(0.5, 0.1).at(16) == pytest.approx(0.1 + 0.4 * 16)


def test_a_smaller_batch_is_not_expected_to_be_faster() -> None:
    assert StepTime(0.5, 0.1).at(0.1) == pytest.approx(0.5)


def test_a_fixed_part_longer_than_the_step_is_the_whole_step() -> None:
    assert StepTime(0.5, 0.7).at(8) == pytest.approx(0.5)


def test_a_step_is_estimated_from_the_nearest_batch_of_the_same_cell() -> None:
    known = {cell(batch=4): StepTime(0.1), cell(batch=64): StepTime(1.6)}
    assert Estimates(known).of(cell(batch=8)) == pytest.approx(0.2)
    assert Estimates(known).of(cell(batch=128)) == pytest.approx(3.2)


@pytest.mark.parametrize(
    "other",
    [
        cell("cuda:0", batch=64),
        cell(model="vgg16", batch=64),
        cell(phase="eval", batch=64),
        cell(recipe=Recipe("bf16"), batch=64),
    ],
)
def test_another_device_model_phase_or_recipe_gives_no_estimate(other: object) -> None:
    known = {cell(batch=64): StepTime(1.0)}
    assert Estimates(known).of(cell(batch=64)) == 1.0
    assert Estimates(known).of(other) is None  # type: ignore[arg-type]


def test_a_pending_group_has_the_sum_of_the_steps_of_its_cells_and_its_largest_batch() -> None:
    known = {cell("cpu", batch=4): StepTime(0.5), cell("cuda:0", batch=4): StepTime(0.25)}
    assert pending(3, pair(batch=8).cells, Estimates(known)) == Pending(3, 8, 1.5, expected_seconds=1.5)


def test_an_unknown_cell_of_a_pending_group_is_estimated_from_other_models() -> None:
    known = {cell(batch=4): StepTime(0.5), cell(model="alexnet", batch=4): StepTime(0.1)}
    mixed = (cell(batch=4), cell(batch=8, model="vgg16"))
    assert pending(0, mixed, Estimates(known)) == Pending(0, 8, 0.5, expected_seconds=0.5 + (1.0 + 0.2) / 2)


def test_a_larger_batch_is_estimated_from_other_models_on_the_same_device() -> None:
    known = {
        cell(batch=4): StepTime(0.1),
        cell(batch=64): StepTime(0.8),
        cell(model="vgg16", batch=4): StepTime(1.0),
        cell("cuda:0", model="vgg16", batch=4): StepTime(0.01),
    }
    estimates = Estimates(known)
    assert estimates.of(cell(model="vgg16", batch=64)) == pytest.approx(8.0)
    assert estimates.of(cell("cuda:0", model="vgg16", batch=64)) == pytest.approx(0.16)


def test_a_larger_batch_is_never_expected_to_be_faster() -> None:
    known = {cell(batch=4): StepTime(0.1), cell(batch=64): StepTime(0.01), cell(model="vgg16"): StepTime(1.0)}
    assert Estimates(known).of(cell(model="vgg16", batch=8)) == 1.0


def test_a_group_without_known_steps_has_no_estimate() -> None:
    unknown = pending(0, pair().cells, Estimates({}))
    assert unknown == Pending(0, 4, None)
    assert unknown.least_seconds == 0


def test_a_result_takes_at_least_three_steps() -> None:
    assert Pending(0, 4, 2.0).least_seconds == LEAST_STEPS * 2.0 == 6.0


def test_the_time_to_start_counts_as_well() -> None:
    known = {cell(batch=4): StepTime(1.0)}
    waiting_group = pending(0, (cell(batch=4),), Estimates(known), [1.0, 2.0, 30.0])
    assert (waiting_group.start_seconds, waiting_group.least_seconds) == (2.0, 5.0)


def test_small_batches_go_first_then_the_cheapest_then_the_plans_order() -> None:
    waiting = [
        Pending(0, 64, 0.1),
        Pending(1, 4, 3.0),
        Pending(2, 4, 0.5),
        Pending(3, 4, None),
        Pending(4, 64, 0.1),
        Pending(5, 4, None),
    ]
    assert order(waiting) == [3, 5, 2, 1, 0, 4]


@settings(database=None, derandomize=True, deadline=None)
@given(waiting=waiting_lists, left_seconds=some.floats(0, 1e4))
def test_no_share_is_more_than_the_time_left(waiting: list[Pending], left_seconds: float) -> None:
    for chosen in waiting:
        assert 0 <= share(chosen, waiting, left_seconds) <= left_seconds


@settings(database=None, derandomize=True, deadline=None)
@given(waiting=waiting_lists, spare_seconds=some.floats(0, 1e4))
def test_if_all_fit_the_shares_add_up_to_the_time_left_and_each_is_enough(
    waiting: list[Pending], spare_seconds: float
) -> None:
    left_seconds = (sum(waiting_group.least_seconds for waiting_group in waiting) + spare_seconds) * (1 + 1e-9)
    shares = [share(chosen, waiting, left_seconds) for chosen in waiting]
    assert sum(shares) == pytest.approx(left_seconds)
    assert all(
        got >= waiting_group.least_seconds * (1 - 1e-9) for got, waiting_group in zip(shares, waiting, strict=True)
    )


@settings(database=None, derandomize=True, deadline=None)
@given(waiting=waiting_lists, budget_seconds=some.floats(0, 1e4))
def test_shares_that_are_used_up_one_after_the_other_never_overrun_the_budget(
    waiting: list[Pending], budget_seconds: float
) -> None:
    left, used = list(waiting), 0.0
    while left:
        chosen = next_up(left)
        used += share(chosen, left, budget_seconds - used)
        left.remove(chosen)
    assert used == pytest.approx(budget_seconds)


def test_a_larger_batch_gets_more_of_the_spare_time_but_not_in_proportion() -> None:
    small, large = Pending(0, 4, None), Pending(1, 64, None)
    assert share(small, [small, large], 90.0) == pytest.approx(30)
    assert share(large, [small, large], 90.0) == pytest.approx(60)


def test_the_minimum_time_of_the_other_groups_is_reserved() -> None:
    chosen, other = Pending(0, 4, 1.0), Pending(1, 4, 30.0)
    assert share(chosen, [chosen, other], 100.0) == pytest.approx(3 + 7 / 2)


def test_nothing_is_reserved_for_a_group_that_would_not_fit() -> None:
    chosen, other = Pending(0, 4, 1.0), Pending(1, 64, 50.0)
    assert share(chosen, [chosen, other], 100.0) == pytest.approx(100)


def test_a_group_that_does_not_fit_may_try_with_all_the_time_left() -> None:
    chosen, other = Pending(0, 64, 50.0), Pending(1, 4, 1.0)
    assert share(chosen, [chosen, other], 100.0) == 100.0


def test_the_cells_of_a_group_share_its_warm_up() -> None:
    assert warm_up_seconds(10.0, 20.0, 1) == pytest.approx(4.0)
    assert warm_up_seconds(10.0, 20.0, 2) == pytest.approx(2.0)


def test_a_small_share_of_much_time_still_warms_up() -> None:
    assert warm_up_seconds(1.0, 100.0, 2) == pytest.approx(2.5)


def test_a_step_longer_than_the_time_left_is_hopeless() -> None:
    assert is_hopeless(10.1, 10.0)
    assert not is_hopeless(9.9, 10.0)


def test_a_step_of_unknown_length_is_worth_a_try_while_there_is_time() -> None:
    assert not is_hopeless(None, 0.1)
    assert is_hopeless(None, 0.0)
    assert is_hopeless(0.001, -1.0)


@pytest.mark.parametrize(
    ("step", "synchronize", "steps"),
    [
        (0.01, 0.0, 5),  # the shortest lap
        (0.011, 0.0, 5),  # rounded up
        (0.06, 0.0, 1),
        (100.0, 0.0, 1),
        (0.01, 0.001, 10),  # the synchronization takes one hundredth of the lap
        (0.01, 0.02, 200),
    ],
)
def test_a_lap_is_long_enough_for_the_clock(step: float, synchronize: float, steps: int) -> None:
    assert lap_steps(step, synchronize) == steps


@settings(database=None, derandomize=True, deadline=None)
@given(step=some.floats(1e-5, 100))
def test_a_lap_takes_its_shortest_time_or_is_one_step(step: float) -> None:
    steps = lap_steps(step, 0.0)
    assert steps * step >= LAP_SECONDS * (1 - 1e-9)
    assert steps == 1 or (steps - 1) * step < LAP_SECONDS


def test_a_turn_lasts_until_the_interval_is_checked_or_its_time_is_up() -> None:
    assert turn_laps(0, 0.05, 2.0) == 8
    assert turn_laps(8, 0.05, 2.0) == 4
    assert turn_laps(0, 0.5, 2.0) == 4
    assert turn_laps(0, 10.0, 2.0) == turn_laps(0, 10.0, -1.0) == 1


def test_a_fast_cell_laps_as_long_as_the_slowest_of_its_group() -> None:
    assert turn_laps(0, 0.05, 0.05) == 1
    assert turn_laps(0, 0.05, 0.21) == 4
    assert turn_laps(8, 0.05, 60.0) == 4
    assert turn_laps(0, 60.0, 0.05) == 1


def test_a_lap_of_one_step_has_one_or_two_lead_in_steps_unless_the_step_is_long() -> None:
    assert [lead_in_steps(0.1, 1, chance) for chance in (0.0, 0.49, 0.51, 0.99)] == [1, 1, 2, 2]
    assert lead_in_steps(LONGEST_STEP_SECONDS, 1, 0.99) == 0


def test_the_lead_in_is_a_twentieth_of_a_second_and_some_steps_by_chance() -> None:
    assert lead_in_steps(0.01, 20, 0.0) == 5
    assert lead_in_steps(0.01, 20, 0.99) == 5 + MOST_EXTRA_STEPS
    assert lead_in_steps(0.01, 3, 0.0) == 3
    assert lead_in_steps(0.01, 3, 0.99) == 6


def test_every_other_round_is_reversed() -> None:
    assert [turn_order([0, 2, 3], number) for number in range(3)] == [[0, 2, 3], [3, 2, 0], [0, 2, 3]]
