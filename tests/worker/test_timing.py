"""The warm-up, with laps that take the time they are given."""

import pytest

from torchlap.worker.cell.timing import warm_up


@pytest.mark.parametrize(("compiles", "step_seconds", "steps"), [(True, 0.01, 2), (False, 25.0, 1)])
def test_a_first_step_that_compiles_says_nothing_about_the_next(
    compiles: bool, step_seconds: float, steps: int
) -> None:
    seconds = iter([25.0, 0.01, 0.01])
    warm = warm_up(lambda count: count * next(seconds), 0.0, lambda _: None, compiles=compiles)
    assert (warm.first_step_seconds, warm.step_seconds, warm.steps) == (25.0, step_seconds, steps)


def test_without_compilation_a_step_that_exceeds_the_limit_is_not_repeated() -> None:
    assert warm_up(lambda count: 2.0 * count, 1.0, lambda _: None).steps == 1
    assert warm_up(lambda count: 2.0 * count, 100.0, lambda _: None).steps > 2


def test_a_step_that_is_captured_says_nothing_about_those_that_follow() -> None:
    """Two steps run as usual and the third is recorded: only replays are laps."""
    seconds = iter([1.0, 0.02, 0.5, *[0.005] * 10])
    warm = warm_up(lambda count: count * next(seconds), 10.0, lambda _: None, compiles=True, cold_steps=3)
    assert warm.step_seconds == 0.005
    assert warm.steady
