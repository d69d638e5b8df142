"""Runs with arms start their workers several times: how often, and for how long each start laps."""

from functools import partial
from itertools import pairwise
from math import exp
from random import Random

import pytest
from measuring.test_session import World, measured
from msgspec.structs import replace

from torchlap.measuring.starts import MOST_STARTS, lap_share, planned_starts
from torchlap.runs.figures import Tally
from torchlap.schema.arm import Arm
from torchlap.schema.events import CellPrepared, GroupFinished, Round, RunFinished
from torchlap.schema.recipe import Recipe
from torchlap.schema.workload import Cell, Group, Plan, Workload
from torchlap.stats import lap_interval


def of_arms(budget: float, *models: str, arms: tuple[str, ...] = ("a", "b")) -> Plan:
    groups = tuple(
        Group(tuple(Cell(Workload(model, 4), Recipe(), "cpu", arm) for arm in arms)) for model in models or ("net",)
    )
    sides = tuple(Arm(arm) for arm in arms)
    return Plan(suite="own", groups=groups, budget_seconds=budget, arms=sides, explain=False, verify=False)


def starts(events: object) -> list[int]:
    """The start of each round, in order, without repetitions."""
    numbers = [event.start for event in events if isinstance(event, Round)]  # type: ignore[attr-defined]
    return [numbers[0], *(after for before, after in pairwise(numbers) if after != before)]


@pytest.mark.parametrize(
    ("left", "start", "of_round", "expected"),
    [
        (100.0, 5.0, 0.1, MOST_STARTS),
        (20.0, 5.0, 0.1, 4),
        (12.0, 5.0, 0.1, 3),
        (11.0, 5.0, 0.1, 1),  # two starts would show nothing
        (-1.0, 5.0, 0.1, 1),
        (100.0, 5.0, 5.0, 3),
        (100.0, 5.0, 10.0, 1),
        (1.0, 0.0, 0.0, MOST_STARTS),
    ],
)
def test_there_are_as_many_starts_as_the_time_allows(left: float, start: float, of_round: float, expected: int) -> None:
    assert planned_starts(left, start, of_round) == expected


def test_every_start_has_as_much_time_for_laps() -> None:
    more = lap_share(2.0, 50.0, 5.0, 5)
    assert 2.0 + more == pytest.approx((50.0 - more - 4 * 5.0) / 4)
    assert lap_share(30.0, 20.0, 5.0, 3) == 0.0


def test_a_run_with_arms_starts_its_workers_anew_and_the_rounds_say_so() -> None:
    world = World(lambda cell: 0.01 if cell.arm == "a" else 0.02)
    world.renew_seconds = 2.0
    session, events = measured(world, of_arms(60.0))
    assert starts(events) == [0, 1, 2, 3, 4]
    assert world.renewed == MOST_STARTS - 1
    assert len([event for event in events if isinstance(event, CellPrepared)]) == 2 * MOST_STARTS
    (group,) = (tally.result(0.95) for tally in session.tallies)
    assert group.cells[1].speed_up is not None
    assert group.cells[1].speed_up.value == pytest.approx(0.5, rel=0.01)
    assert sorted(set(group.cells[1].ratio_starts)) == [0, 1, 2, 3, 4]
    assert len(group.cells[1].speed_starts) == len(group.cells[1].laps)
    assert world.now <= 60.0


def test_each_start_measures_until_its_own_interval_is_narrow() -> None:
    world = World(lambda cell: 0.01 * (1.0 + 0.1 * world.renewed))
    _, events = measured(world, of_arms(60.0))
    counts = [sum(event.start == number for event in events if isinstance(event, Round)) for number in range(5)]
    assert min(counts) >= 8


def test_all_groups_are_measured_in_every_start() -> None:
    world = World(lambda _: 0.01)
    session, events = measured(world, of_arms(60.0, "one", "two"))
    assert starts(events) == [0, 1, 2, 3, 4]
    for tally in session.tallies:
        assert sorted(set(tally.starts)) == [0, 1, 2, 3, 4]
        assert tally.stopped == "precise"


def test_without_arms_or_without_time_there_is_one_start() -> None:
    plain = replace(of_arms(60.0), arms=())
    for plan, seconds in ((plain, 2.0), (of_arms(20.0), 5.0)):
        world = World(lambda _: 0.01)
        world.build_seconds = seconds
        session, events = measured(world, plan)
        assert (starts(events), world.renewed) == ([0], 0)
        assert session.tallies[0].result(0.95).cells[1].ratio_starts == ()


def test_starts_that_take_longer_than_the_first_end_with_the_budget() -> None:
    world = World(lambda _: 0.01)
    world.renew_seconds = 30.0
    _, events = measured(world, of_arms(60.0))
    assert (starts(events), world.renewed) == ([0, 1], 1)
    assert world.now < 61.0


def test_a_slow_model_gets_its_figure_before_there_are_more_starts() -> None:
    world = World(lambda _: 4.0)
    session, events = measured(world, of_arms(100.0))
    assert starts(events) == [0]
    assert all(cell.throughput for cell in session.tallies[0].result(0.95).cells)


def test_a_cell_that_crashes_in_a_later_start_is_a_failure_and_the_run_goes_on() -> None:
    world = World(lambda _: 0.01)
    plan = of_arms(60.0, arms=("a", "b", "c"))
    measured(world, plan)
    total = world.laps["cpu"]
    world = World(lambda _: 0.01)
    world.break_at["cpu"] = total - 5
    session, events = measured(world, plan)
    assert len(session.tallies[0].failures) == 1
    assert isinstance(events[-1], RunFinished)


def test_an_interrupted_run_is_continued_by_more_starts() -> None:
    _, events = measured(World(lambda _: 0.01), of_arms(60.0))
    of_second = next(place for place, event in enumerate(events) if isinstance(event, Round) and event.start == 2)
    session, more = measured(World(lambda _: 0.01), of_arms(60.0), tuple(events[:of_second]))
    assert starts(events[:of_second]) == [0, 1]
    assert starts(more) == [3, 4, 5]  # 2 was the resumed session's own, of groups that had none
    assert sorted(set(session.tallies[0].starts)) == [0, 1, 3, 4, 5]
    _, nothing = measured(World(lambda _: 0.01), of_arms(60.0), tuple(events))
    assert nothing == []


def test_sessions_of_equal_arms_whose_processes_differ_contain_the_truth() -> None:
    held = by_one_start = 0
    for seed in range(40):
        chance = Random(seed)
        processes = {(start, arm): exp(chance.gauss(0.0, 0.02)) for start in range(MOST_STARTS) for arm in "ab"}

        def seconds(cell: Cell, world: World, processes: dict[tuple[int, str], float] = processes) -> float:
            return 0.01 * processes[world.renewed, cell.arm]

        world = World(lambda _: 0.01)
        world.seconds = partial(seconds, world=world)
        session, _ = measured(world, of_arms(60.0))
        cell = session.tallies[0].result(0.95).cells[1]
        assert cell.speed_up is not None
        held += cell.speed_up.low <= 1.0 <= cell.speed_up.high
        first = [ratio for ratio, start in zip(cell.ratios, cell.ratio_starts, strict=True) if start == 0]
        by_one_start += lap_interval(first).low <= 1.0 <= lap_interval(first).high
    assert held >= 35  # 38 of 40 are expected
    assert by_one_start <= 10  # what one process a side would have said


def test_a_reader_of_the_events_has_the_same_figures() -> None:
    world = World(lambda cell: 0.01 if cell.arm == "a" else 0.011)
    session, events = measured(world, of_arms(60.0))
    tally = Tally(session.tallies[0].group)
    for event in events:
        tally.add(event)
    assert tally.result(0.95).cells == session.tallies[0].result(0.95).cells
    assert any(isinstance(event, GroupFinished) for event in events)
