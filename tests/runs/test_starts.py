"""Intervals over several starts of a program."""

import msgspec
import numpy as np
import pytest
from making import cell, plan, prepared, run
from msgspec.structs import replace

from torchlap.judge.measurement.series import trend
from torchlap.runs.figures import CellResult, figures
from torchlap.runs.starts import by_start, ratio_interval, start_interval
from torchlap.schema.arm import Arm
from torchlap.schema.events import Lap, Round
from torchlap.schema.workload import Group
from torchlap.stats import lap_interval

ROUNDS = 10


def test_the_interval_is_students_over_the_starts() -> None:
    found = start_interval(list(np.exp([0.01, 0.02, 0.03])), 30, 0.95)
    assert np.log([found.value, found.low, found.high]) == pytest.approx([0.02, -0.00484, 0.04484], abs=1e-4)
    assert found.count == 30  # of the values, not of the starts
    with pytest.raises(ValueError, match="at least two"):
        start_interval([1.0], 8, 0.95)


def test_values_are_sorted_by_their_start() -> None:
    assert by_start([0, 0, 2, 1], "abcd") == [["a", "b"], ["c"], ["d"]]


def test_too_few_starts_have_the_interval_of_their_rounds() -> None:
    ratios = [1.0, 1.01, 0.99, 1.02, 1.0, 1.01, 0.98, 1.0]
    for starts in ((), (0,) * 8, (0,) * 4 + (1,) * 4):
        assert ratio_interval(ratios, starts, 0.95) == lap_interval(ratios)


def of_starts(effects: "list[float] | np.ndarray", noise: float, generator: np.random.Generator) -> CellResult:
    """The second of two equal arms, whose process of each start is slower by `effects` on the log scale."""
    cells = tuple(replace(cell(), arm=arm) for arm in ("a", "b"))
    events = [
        Round(
            0,
            0.0,
            tuple(
                Lap(place, 1, 0.1 * float(np.exp(shift + noise * generator.standard_normal())), 1.0)
                for place, shift in ((0, 0.0), (1, effect))
            ),
            start=start,
        )
        for start, effect in enumerate(effects)
        for _ in range(ROUNDS)
    ]
    measured = run([prepared(0), prepared(1), *events], plan(Group(cells), arms=(Arm("a"), Arm("b"))))
    return figures(measured)[0].cells[1]


def test_the_interval_contains_the_truth_where_processes_differ() -> None:
    generator = np.random.default_rng(5)
    over_starts = over_rounds = 0
    for _ in range(200):
        found = of_starts(0.02 * generator.standard_normal(5), 0.01, generator)
        assert found.speed_up is not None
        over_starts += found.speed_up.low <= 1.0 <= found.speed_up.high
        rounds = lap_interval(found.ratios)
        over_rounds += rounds.low <= 1.0 <= rounds.high
    assert over_starts >= 0.92 * 200
    assert over_rounds < 0.9 * 200  # the rounds of one process are not independent


def test_the_throughput_is_over_starts_too() -> None:
    generator = np.random.default_rng(6)
    found = of_starts([0.0, 0.05, -0.05, 0.02, -0.02], 0.001, generator)
    assert found.throughput is not None
    assert found.throughput.value == pytest.approx(40.0, rel=0.01)
    assert 0.04 < found.throughput.half_width < 0.06


def test_starts_that_differ_are_no_trend_but_one_within_them_is() -> None:
    steps = [1.0 + 0.02 * start + 0.001 * (number % 3) for start in range(5) for number in range(ROUNDS)]
    starts = [start for start in range(5) for _ in range(ROUNDS)]
    assert trend(steps).p < 0.001
    assert trend(steps, starts).p > 0.1
    falling = [1.0 - 0.01 * number for _ in range(5) for number in range(ROUNDS)]
    found = trend(falling, starts)
    assert found.p < 0.001
    assert found.change == pytest.approx(0.91, abs=0.01)
    assert trend([1.0, 2.0, 3.0], [0, 1, 2]).p == 1.0


def test_a_round_of_an_older_file_is_of_the_first_start() -> None:
    old = b'{"event":"round","group":0,"at_seconds":1.0,"laps":[{"cell":0,"steps":1,"seconds":0.1,"loss":1.0}]}'
    assert msgspec.json.decode(old, type=Round).start == 0
    with pytest.raises(msgspec.ValidationError, match="start"):
        msgspec.json.decode(old[:-1] + b',"start":-1}', type=Round)
