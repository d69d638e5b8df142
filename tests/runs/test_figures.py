import pytest
from making import cell, failure, header, pair, plan, prepared, rounds, run

from torchlap.runs.figures import GroupResult, Tally, figures, tally
from torchlap.schema.events import Event, Failure, GroupFinished, GroupStarted, RunFinished
from torchlap.schema.workload import Group

SLOW, FAST = [0.1, 0.1, 0.2], [0.02, 0.02, 0.04]


def only(*events: Event) -> GroupResult:
    """The figures of a run with one comparison, of the CPU and the CUDA device, at batch 4."""
    return figures(run(events))[0]


def flat(turns: list[list[float]]) -> list[float]:
    return [value for turn in turns for value in turn]


def tallied(*events: Event, of: Group | None = None) -> Tally:
    """A tally of these events, of the CPU and the CUDA device unless another comparison is given."""
    laps = Tally(of or pair())
    for event in events:
        laps.add(event)
    return laps


def test_throughput_is_the_items_of_a_lap_over_its_seconds() -> None:
    laps = tallied(*rounds([0.5, 0.8], [0.1, 0.2], steps=10), of=pair(batch=64))
    assert flat(laps.throughputs(0)) == pytest.approx([1280, 800])
    assert flat(laps.throughputs(1)) == pytest.approx([6400, 3200])


def test_a_speed_up_is_over_the_first_cell_and_has_an_interval() -> None:
    baseline, fast = only(prepared(0), prepared(1), *rounds(SLOW, FAST)).cells
    assert baseline.is_baseline
    assert not fast.is_baseline
    assert baseline.speed_up is None
    assert fast.speed_up is not None
    assert fast.speed_up.value == pytest.approx(5)
    assert fast.speed_up.half_width == pytest.approx(0, abs=1e-9)
    assert fast.speed_up.count == 3


def test_a_round_without_a_lap_of_either_cell_is_left_out_of_the_speed_up_only() -> None:
    slow: list[float | None] = [0.1, None, 0.2, 0.3, 0.4]
    fast: list[float | None] = [0.02, 0.9, 0.04, None, 0.08]
    baseline, other = only(*rounds(slow, fast)).cells
    assert baseline.throughput is not None
    assert other.throughput is not None
    assert other.speed_up is not None
    assert (baseline.throughput.count, other.throughput.count, other.speed_up.count) == (4, 4, 3)
    assert other.speed_up.value == pytest.approx(5)
    assert other.speed_up.half_width == pytest.approx(0, abs=1e-9)


def test_the_laps_pair_up_by_round_and_not_by_position() -> None:
    laps = tallied(*rounds([None, 0.1, 0.2], [0.1, 0.02, 0.04]))
    assert laps.ratios(1) == pytest.approx([5, 5])


def test_too_few_common_rounds_give_no_speed_up() -> None:
    _, other = only(*rounds([0.1, 0.1, None], [0.02, None, 0.02])).cells
    assert other.throughput is not None
    assert other.speed_up is None


def test_one_lap_gives_no_result() -> None:
    result = only(prepared(0), prepared(1), *rounds([0.1], [0.02]))
    assert [result_of_cell.throughput for result_of_cell in result.cells] == [None, None]
    assert [len(result_of_cell.laps) for result_of_cell in result.cells] == [1, 1]
    assert result.rounds == 1


def test_a_failed_cell_has_no_result_though_it_had_laps() -> None:
    crash = failure(1, "crash", "It stopped.")
    baseline, failed = only(prepared(0), prepared(1), *rounds(SLOW, FAST), crash).cells
    assert failed.failure == crash
    assert failed.throughput is None
    assert failed.speed_up is None
    assert len(failed.laps) == 3
    assert baseline.throughput is not None


def test_without_the_baseline_there_is_no_speed_up() -> None:
    failed, other = only(prepared(0), prepared(1), *rounds(SLOW, FAST), failure(0)).cells
    assert failed.throughput is None
    assert other.throughput is not None
    assert other.speed_up is None


def test_laps_from_before_a_group_started_again_are_void() -> None:
    result = only(
        GroupStarted(0),
        prepared(0, first_loss=9.0),
        prepared(1),
        *rounds([0.9] * 3, [0.9] * 3),
        failure(0),
        GroupFinished(0, "failed"),
        GroupStarted(0),
        prepared(0, first_loss=2.0),
        *rounds(SLOW[:2], FAST[:2]),
    )
    baseline, other = result.cells
    assert result.rounds == 2
    assert result.stopped is None
    assert baseline.failure is None
    assert baseline.prepared == prepared(0, first_loss=2.0).preparation
    assert other.prepared is None
    assert baseline.throughput is not None
    assert baseline.throughput.value == pytest.approx(40)


def test_a_start_voids_only_its_own_group() -> None:
    both = plan(pair(), pair(batch=64))
    events: list[Event] = [*rounds(SLOW, FAST), *rounds(SLOW, FAST, group=1), GroupStarted(0)]
    assert [result_of_cell.rounds for result_of_cell in figures(run(events, both))] == [0, 3]


def test_events_are_sorted_by_group_and_the_others_are_ignored() -> None:
    both = plan(pair(), pair(batch=64))
    ended = RunFinished(reason="complete", wall_seconds=1, start_up_seconds=0)
    events: list[Event] = [*rounds(SLOW, FAST, group=1), GroupFinished(1, "budget"), ended]
    first, second = tally(run(events, both))
    assert (first.rounds, first.stopped) == (0, None)
    assert (second.rounds, second.stopped) == (3, "budget")


def test_a_living_cell_is_prepared_and_has_not_failed() -> None:
    three = tallied(
        prepared(3),
        prepared(1),
        prepared(0),
        failure(1),
        of=Group((cell("cpu"), cell("cuda:0"), cell("cuda:1"), cell("mps"))),
    )
    assert three.living() == [0, 3]


def test_the_series_are_the_throughput_of_each_cell_and_the_speed_ups() -> None:
    laps = tallied(prepared(0), prepared(1), *rounds(SLOW, FAST))
    slow, fast, ratio = laps.series()
    assert flat(slow) == pytest.approx([40, 40, 20])
    assert flat(fast) == pytest.approx([200, 200, 100])
    assert flat(ratio) == pytest.approx([5, 5, 5])


@pytest.mark.parametrize("dead", [0, 1])
def test_with_one_cell_left_there_is_no_speed_up(dead: int) -> None:
    laps = tallied(prepared(0), prepared(1), *rounds(SLOW, FAST), failure(dead))
    assert laps.series() == [laps.throughputs(1 - dead)]


def test_the_intervals_have_the_confidence_of_the_plan() -> None:
    laps = rounds([0.1, 0.11, 0.12, 0.1], [0.02] * 4)
    (narrow,), (wide,) = (figures(run(laps, plan(confidence=confidence))) for confidence in (0.8, 0.99))
    assert narrow.cells[0].throughput is not None
    assert wide.cells[0].throughput is not None
    assert narrow.cells[0].throughput.half_width < wide.cells[0].throughput.half_width / 2


def test_a_run_without_events_has_every_planned_cell_and_no_result() -> None:
    (result,) = figures(run())
    assert [str(result_of_cell.cell) for result_of_cell in result.cells] == [
        "resnet18, batch 4, cpu",
        "resnet18, batch 4, cuda:0",
    ]
    assert [result_of_cell.throughput for result_of_cell in result.cells] == [None, None]
    assert result.stopped is None


def test_a_header_among_the_events_changes_nothing() -> None:
    assert tallied(*rounds(SLOW, FAST), header()).rounds == 3


def test_the_last_failure_of_a_cell_counts() -> None:
    laps = Tally(pair())
    events: list[Failure] = [failure(0, "hang", "First."), failure(0, "crash", "Second.")]
    for event in events:
        laps.add(event)
    assert laps.failures == {0: events[1]}
