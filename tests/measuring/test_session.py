"""The whole session on a fake clock, with workers that take exactly the time they are given."""

from collections.abc import Callable, Sequence
from itertools import count
from math import inf
from typing import cast, get_args

import pytest
from msgspec.structs import replace

from torchlap.machine import clocks
from torchlap.machine.conditions import GpuUsers, Watch
from torchlap.measuring.schedule import WATCHED_STEPS, cores_apart
from torchlap.measuring.session import COMPILER_THREADS, Session, Status
from torchlap.processes.ahead import Ahead, Compiled
from torchlap.processes.failures import CellFailedError
from torchlap.processes.start import Launcher
from torchlap.schema.base import FailureKind
from torchlap.schema.breakdown import Breakdown, Peaks
from torchlap.schema.events import (
    BreakdownMeasured,
    ClockJumped,
    Conditions,
    Event,
    Failure,
    GroupFinished,
    GroupStarted,
    NumericsChecked,
    PeaksMeasured,
    Preparation,
    Round,
    RunFinished,
)
from torchlap.schema.machine import DeviceFacts
from torchlap.schema.numerics import Numerics
from torchlap.schema.recipe import Precision, Recipe
from torchlap.schema.replies import (
    Built,
    Explained,
    LapsDone,
    LapTime,
    PeaksReached,
    Prepared,
    Released,
    Reply,
    Verified,
)
from torchlap.schema.requests import Build, Explain, MeasurePeaks, Release, Request, RunLaps, Verify, WarmUp
from torchlap.schema.workload import Cell, Group, Plan, Workload

Speed = Callable[[Cell], float]
Clock = Callable[[], float]


class World:
    """A clock that only work moves on, and workers whose steps take `seconds(cell)`."""

    def __init__(self, seconds: Speed, first: float = 1.0) -> None:
        self.now = 0.0
        self.seconds = seconds
        self.first = first
        self.build_seconds = 0.0
        self.order: list[tuple[str, str]] = []
        self.alive: set[int] = set()
        self.started = 0
        self.start_up_seconds = 0.0
        self.renewed, self.renew_seconds = 0, 0.0
        self.break_at: dict[str, int] = {}
        self.laps: dict[str, int] = {}
        self.lead_ins: list[int] = []
        self.released: list[bool] = []
        self.verified: list[str] = []
        self.verify_seconds = 0.0
        self.breaks_verified = False
        self.explain_seconds, self.peaks_seconds = 0.1, 0.5
        self.breaks_compilation = False
        self.breaks_explained = self.breaks_peaks = False

    def start(self) -> "FakeWorker":
        self.started += 1
        worker = FakeWorker(self, self.started)
        self.alive.add(worker.pid)
        return worker

    def renew(self) -> None:
        self.renewed += 1
        self.now += self.renew_seconds

    def close(self) -> None:
        self.alive.clear()


class FakeWorker:
    """Holds cells by their slots, as a real worker does."""

    def __init__(self, world: World, number: int) -> None:
        self.world, self.pid = world, number
        self.cells: dict[int, Cell] = {}

    def kill(self) -> None:
        self.world.alive.discard(self.pid)

    def tell(self, request: Request) -> None:
        self.told = request
        if not isinstance(request, Build):
            return
        self.cells[request.slot] = request.cell

    def hear(self, answer: object, limit_seconds: float) -> Built | Prepared | Released:
        if answer is Prepared:
            if self.world.breaks_compilation:
                raise self.failure("crash", "The compiler crashed.")
            return self.prepare(self.cells[cast("WarmUp", self.told).slot], inf)
        if answer is Released:
            return cast("Released", self.ask(self.told, answer, limit_seconds))
        self.world.now += self.world.build_seconds
        return Built()

    def ask(self, request: Request, answer: object, limit_seconds: float, _: object = None) -> Reply:
        match request:
            case WarmUp(slot=slot):
                return self.prepare(self.cells[slot], limit_seconds)
            case Verify(slot=slot):
                return self.verify(self.cells[slot])
            case Explain():
                return self.explain()
            case MeasurePeaks() if self.world.breaks_peaks:
                self.world.now += 0.5
                raise self.failure("out_of_memory", "There is no memory for it.")
            case MeasurePeaks(slot=slot):
                self.world.now += self.world.peaks_seconds
                flops = dict.fromkeys(get_args(Precision), 1e12)
                device = self.cells[slot].device
                return PeaksReached(Peaks(device=device, flops=flops, seconds=self.world.peaks_seconds))
            case Release(trim=trim):
                self.world.released.append(trim)
                self.cells.clear()
                return Released()
            case _:
                return self.turn(cast("RunLaps", request))

    def failure(self, kind: FailureKind, reason: str) -> CellFailedError:
        self.kill()
        return CellFailedError(kind, reason)

    def verify(self, cell: Cell) -> Verified:
        self.world.verified.append(str(cell))
        if self.world.breaks_verified:
            raise self.failure("crash", "The worker was killed by SIGABRT (checking results).")
        seconds = self.world.verify_seconds * cell.workload.batch
        self.world.now += seconds
        return Verified(Numerics(operators=9, closest=0.5, seconds=seconds))

    def explain(self) -> Explained:
        if self.world.breaks_explained:
            raise self.failure("crash", "The worker was killed by SIGABRT (analyzing the step).")
        self.world.now += self.world.explain_seconds
        seconds = self.world.explain_seconds
        return Explained(Breakdown(phases={"forward": (0.1,)}, steps=(0.1,), seconds=seconds))

    def prepare(self, cell: Cell, limit_seconds: float) -> Prepared:
        step = self.world.seconds(cell)
        self.world.order.append(("prepare", str(cell)))
        if step * self.world.first > limit_seconds:
            self.world.now += limit_seconds
            raise self.failure("hang", "no answer")
        self.world.now += step * self.world.first
        return Prepared(
            Preparation(
                first_step_seconds=step,
                warm_up_steps=3,
                warm_up_seconds=3 * step,
                steady=True,
                step_seconds=step,
                optimizer_seconds=0.0,
                synchronize_seconds=0.0,
                first_loss=2.3,
                memory_format="contiguous",
                threads=1,
                input_shape=(4, 3, 8, 8),
                parameters=10,
            )
        )

    def turn(self, request: RunLaps) -> LapsDone:
        cell = self.cells[request.slot]
        self.world.order.append(("turn", cell.device))
        self.world.lead_ins.append(request.lead_in)
        self.world.now += request.lead_in * self.world.seconds(cell)
        laps = [self.lap(cell, request.steps)]
        while len(laps) < request.laps and sum(lap.seconds for lap in laps) < request.seconds:
            laps.append(self.lap(cell, request.steps))
        return LapsDone(tuple(laps))

    def lap(self, cell: Cell, steps: int) -> LapTime:
        number = self.world.laps[cell.device] = self.world.laps.get(cell.device, 0) + 1
        if self.world.break_at.get(cell.device) == number:
            raise self.failure("crash", "The worker was killed by SIGSEGV (running laps).")
        seconds = steps * self.world.seconds(cell) * (1 + 0.001 * (number % 3))
        self.world.now += seconds
        return LapTime(seconds, 2.0)


def group(model: str, batch: int, devices: tuple[str, ...]) -> Group:
    return Group(tuple(Cell(Workload(model, batch), Recipe(), device) for device in devices))


def measured(
    world: World, plan: Plan, earlier: tuple[Event, ...] = (), *, isolate: bool = False
) -> tuple[Session, list[Event]]:
    events: list[Event] = []
    statuses: list[Status] = []
    session = Session(
        plan,
        cast("Launcher", world),
        emit=events.append,
        watch=statuses.append,
        clock=lambda: world.now,
        started=0.0,
        isolate=isolate,
    )
    session.replay(earlier)
    session.measure()
    return session, events


def plan_of(*groups: Group, budget: float = 100.0) -> Plan:
    return Plan(suite="own", groups=groups, budget_seconds=budget)


def fast(_: Cell) -> float:
    return 0.01


def failures(events: list[Event]) -> list[Failure]:
    return [event for event in events if isinstance(event, Failure)]


def test_cells_take_turns_in_an_order_that_reverses_every_round() -> None:
    world = World(fast)
    measured(world, plan_of(group("a", 4, ("cpu", "sim:0"))))
    turns = [device for what, device in world.order if what == "turn"]
    assert turns[:7] == ["sim:0", "cpu", "sim:0", "sim:0", "cpu", "cpu", "sim:0"]  # the accelerator has laps before


def test_an_accelerator_has_its_figure_before_a_slow_cpu_takes_its_turn() -> None:
    world = World(lambda cell: 30.0 if cell.device == "cpu" else 0.01)
    session, _ = measured(world, plan_of(group("a", 4, ("cpu", "sim:0")), group("b", 4, ("cpu", "sim:0"))))
    assert [tally.result(0.95).cells[1].throughput is not None for tally in session.tallies] == [True, True]
    first_cpu = next(number for number, item in enumerate(world.order) if item[1].endswith("cpu"))
    assert world.order[:first_cpu].count(("turn", "sim:0")) == 2


class Recorder(Watch):
    """A watch whose visits are counted."""

    made = 0
    open = 0

    def __init__(self, devices: Sequence[DeviceFacts], users: GpuUsers, *, first: bool, clock: Clock) -> None:
        super().__init__(devices, users, first=first, clock=clock)
        Recorder.made += 1

    def begin(self) -> None:
        super().begin()
        Recorder.open += 1

    def end(self, group: int) -> Conditions:
        Recorder.open -= 1
        return super().end(group)


def test_each_group_has_one_watch_that_covers_all_of_its_visits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise our own worker from the first visit would count as another program in the second."""
    monkeypatch.setattr("torchlap.measuring.session.Watch", Recorder)
    groups = [group("a", 4, ("cpu", "sim:0")), group("b", 4, ("cpu", "sim:0"))]
    _, events = measured(World(fast), plan_of(*groups))
    assert (Recorder.made, Recorder.open) == (2, 0)
    visits = [event.group for event in events if isinstance(event, GroupStarted)]
    assert len(visits) > len(set(visits))


def test_a_fast_cell_laps_several_times_while_a_slow_one_laps_once() -> None:
    world = World(lambda cell: 0.5 if cell.device == "cpu" else 0.01)
    _, events = measured(world, plan_of(group("a", 4, ("cpu", "sim:0"))))
    of_round = next(
        event for event in events if isinstance(event, Round) and len({lap.cell for lap in event.laps}) == 2
    )
    assert [lap.cell for lap in of_round.laps].count(0) == 1
    assert [lap.cell for lap in of_round.laps].count(1) > 1


def test_a_cell_that_laps_alone_needs_a_lead_in_before_its_first_turn_only() -> None:
    world = World(lambda cell: 0.1 + 0.05 * (sum(world.laps.values()) % 2))
    measured(world, plan_of(group("a", 4, ("cpu",)), budget=10.0))
    visits = [what for what, _ in world.order].count("prepare")
    assert 0 < sum(lead_in > 0 for lead_in in world.lead_ins) <= visits < len(world.lead_ins)


def test_a_turn_of_a_cell_that_laps_alone_ends_with_the_budget() -> None:
    world = World(lambda cell: 0.4 + 0.2 * (len(world.order) % 2))
    measured(world, plan_of(group("a", 4, ("cpu",)), budget=10.0))
    assert world.now < 10.0 + 2 * 0.6


def test_memory_goes_back_to_the_system_when_the_figures_are_done_and_after_each_breakdown() -> None:
    world = World(fast)
    measured(world, plan_of(group("a", 4, ("cpu",)), group("b", 4, ("cpu",))))
    assert world.released == [False, True, True, True]


def test_a_users_model_is_watched_until_rare_slow_steps_would_show() -> None:
    world = World(fast)
    session, _ = measured(world, replace(plan_of(group("net.py:make", 4, ("cpu",))), explain=False))
    tally = session.tallies[0]
    assert tally.stopped == "precise"
    assert sum(lap.steps for lap in tally.laps(0)) >= WATCHED_STEPS
    assert [what for what, _ in world.order].count("prepare") == 1


def test_rare_slow_steps_are_watched_for_in_time_that_is_left() -> None:
    world = World(fast)
    session, _ = measured(world, plan_of(group("net.py:make", 4, ("cpu",)), group("a", 4, ("cpu",)), budget=7.0))
    assert [len(tally.laps(0)) >= 8 for tally in session.tallies] == [True, True]
    assert world.now < 7.1


def test_what_must_be_compiled_waits_until_the_others_have_figures() -> None:
    numbers = count()
    world = World(lambda _: 0.01 * (1 + next(numbers) ** 2 % 11))
    recipes = (Recipe(), Recipe(compile=True))
    groups = [Group(tuple(Cell(Workload(name, 4), recipe, "cuda:0") for recipe in recipes)) for name in "ab"]
    _, events = measured(world, replace(plan_of(*groups), precision_target=1e-9))
    prepared = [cell for what, cell in world.order if what == "prepare"]
    assert [name.endswith("compile") for name in prepared[:3]] == [False, False, True]
    first = {event.group: event.at_seconds for event in reversed(events) if isinstance(event, Round)}
    assert max(first.values()) < 5


COMPILED = [Group((Cell(Workload(name, 4), Recipe(compile=True), "cuda:0"),)) for name in "abc"]
MIXED = [
    Group((Cell(Workload(name, 4), Recipe(), "cuda:0"), Cell(Workload(name, 4), Recipe(compile=True), "cuda:0")))
    for name in "abc"
]


@pytest.mark.parametrize("breaks", [False, True])
@pytest.mark.parametrize("cores", [[], list(range(16))])
def test_cells_are_compiled_ahead_in_processes_that_end_then(
    monkeypatch: pytest.MonkeyPatch, breaks: bool, cores: list[int]
) -> None:
    monkeypatch.setattr("torchlap.measuring.context.cpu_threads", lambda: (2 * COMPILER_THREADS, "a test"))
    monkeypatch.setattr("torchlap.measuring.session.usable_core_numbers", lambda: cores)
    confined: list[list[int]] = []
    monkeypatch.setattr("torchlap.processes.ahead.confine", lambda _, own: confined.append(list(own)))
    world = World(fast)
    world.breaks_compilation = breaks
    session, events = measured(world, replace(plan_of(*COMPILED), explain=False))
    assert world.started == 4
    assert failures(events) == []
    ahead = [tally.prepared[0].compiled_ahead_seconds for tally in session.tallies]
    assert ahead == [0.0 if breaks else 0.01] * 3
    assert confined == ([[4, 5, 6, 7], [8, 9, 10, 11], [12, 13, 14, 15]] if cores else [])


def test_others_lap_while_cells_are_compiled_on_cores_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torchlap.measuring.session.usable_core_numbers", lambda: list(range(16)))
    monkeypatch.setattr("torchlap.processes.ahead.confine", lambda *_: None)
    world = World(fast)
    laps_before: list[int] = []
    finish = Ahead.finish

    def noted(ahead: Ahead, limit_seconds: float) -> list[Compiled]:
        laps_before.append(sum(world.laps.values()))
        return finish(ahead, limit_seconds)

    monkeypatch.setattr(Ahead, "finish", noted)
    session, _ = measured(world, replace(plan_of(*MIXED), explain=False))
    assert laps_before[0] > 0
    assert all(len(tally.laps(1)) > 1 for tally in session.tallies)


def test_energy_is_not_measured_while_cells_are_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torchlap.measuring.session.usable_core_numbers", lambda: list(range(16)))
    confined: list[int] = []
    monkeypatch.setattr("torchlap.processes.ahead.confine", lambda process, _: confined.append(process))
    monkeypatch.setattr("torchlap.measuring.session.measure_idle", lambda _: None)
    measured(World(fast), replace(plan_of(*MIXED), explain=False, energy=True))
    assert confined == []


def test_what_is_not_compiled_in_time_is_left_out_and_the_others_are_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torchlap.measuring.session.usable_core_numbers", lambda: list(range(16)))
    monkeypatch.setattr("torchlap.processes.ahead.confine", lambda *_: None)
    late = [Compiled(3.0), Compiled(late=True), Compiled()]
    monkeypatch.setattr(Ahead, "finish", lambda *_: late)
    session, events = measured(World(fast), replace(plan_of(*MIXED), explain=False))
    assert [(failure.group, failure.cell, failure.kind) for failure in events if isinstance(failure, Failure)] == [
        (1, 1, "too_slow")
    ]
    assert [tally.prepared[1].compiled_ahead_seconds for tally in session.tallies if 1 in tally.prepared] == [3.0, 0.0]
    assert all(len(tally.laps(0)) > 1 for tally in session.tallies)


@pytest.mark.parametrize(
    ("cores", "processes", "expected"),
    [
        (2, 5, 0),
        (7, 2, 0),
        (8, 2, 2),
        (16, 5, 2),
        (16, 9, 2),
        (64, 3, 16),
        (16, 0, 0),
    ],
)
def test_compilers_have_cores_of_their_own(cores: int, processes: int, expected: int) -> None:
    apart = cores_apart(range(cores), processes)
    assert [len(own) for own in apart] == ([expected] * processes if expected else [])
    assert all(min(own) >= max(4, cores // 4) for own in apart)


def test_where_there_are_few_cores_nothing_is_compiled_ahead(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torchlap.measuring.context.cpu_threads", lambda: (COMPILER_THREADS, "a test"))
    world = World(fast)
    monkeypatch.setattr("torchlap.measuring.session.usable_core_numbers", lambda: [0, 1, 2])
    measured(world, replace(plan_of(*COMPILED), explain=False))
    assert world.started == 1


def test_one_worker_a_device_serves_the_whole_run() -> None:
    world = World(fast)
    measured(world, plan_of(*(group(name, 4, ("cpu", "sim:0")) for name in "abc")))
    assert world.started == 2


def test_isolated_cells_have_workers_of_their_own() -> None:
    world = World(fast)
    of = plan_of(group("a", 4, ("cpu",)), group("b", 4, ("cpu",)))
    measured(world, replace(of, explain=False), isolate=True)
    assert world.started == 2
    assert world.alive == set()


def test_the_cells_that_a_lost_worker_held_are_built_again_and_only_the_one_at_fault_fails() -> None:
    world = World(fast)
    world.break_at["cpu"] = 3
    both = Group(tuple(Cell(Workload("a", 4), recipe, "cpu") for recipe in (Recipe(), Recipe("bf16"))))
    session, events = measured(world, plan_of(both))
    assert [(failure.cell, failure.kind) for failure in failures(events)] == [(1, "crash")]
    assert session.tallies[0].result(0.95).cells[0].throughput is not None
    prepared = [cell for what, cell in world.order if what == "prepare"]
    assert prepared[:3] == ["a, batch 4, cpu", "a, batch 4, cpu, bf16", "a, batch 4, cpu"]


def test_a_cell_that_lost_its_worker_before_its_warm_up_is_warmed_up_once() -> None:
    world = World(lambda cell: 1e6 if cell.recipe == Recipe() else 0.01)
    both = Group(tuple(Cell(Workload("a", 4), recipe, "cpu") for recipe in (Recipe(), Recipe("bf16"))))
    _, events = measured(world, replace(plan_of(both), explain=False))
    assert [(failure.cell, failure.kind) for failure in failures(events)] == [(0, "too_slow")]
    assert [cell for what, cell in world.order if what == "prepare"] == ["a, batch 4, cpu", "a, batch 4, cpu, bf16"]


def test_a_cell_that_cannot_be_warmed_up_again_keeps_its_figure() -> None:
    world = World(lambda cell: 1e6 if "cpu" in world.laps and world.laps["cpu"] >= 7 else 0.01)
    world.break_at["cpu"] = 7
    both = Group(tuple(Cell(Workload("a", 4), recipe, "cpu") for recipe in (Recipe(), Recipe("bf16"))))
    session, events = measured(world, replace(plan_of(both), explain=False, verify=False))
    (failure,) = failures(events)
    lost = 1 - failure.cell
    assert failure.kind == "crash"
    assert session.tallies[0].result(0.95).cells[lost].throughput is not None


def test_on_a_quiet_machine_the_first_check_is_precise_enough() -> None:
    session, _ = measured(World(fast), plan_of(group("a", 4, ("cpu", "sim:0"))))
    tally = session.tallies[0]
    assert (tally.stopped, len(tally.laps(0)), len(tally.ratios(1))) == ("precise", 8, 8)


def test_no_worker_is_left_when_the_run_ends() -> None:
    world = World(fast)
    measured(world, plan_of(group("a", 4, ("cpu", "sim:0")), group("b", 4, ("cpu", "sim:0"))))
    assert world.alive == set()


def test_small_batches_are_measured_first_though_the_plan_names_them_last() -> None:
    world = World(fast)
    measured(world, plan_of(group("a", 64, ("cpu",)), group("a", 4, ("cpu",)), group("b", 4, ("cpu",))))
    prepared = [cell for what, cell in world.order if what == "prepare"]
    assert prepared[:3] == ["a, batch 4, cpu", "b, batch 4, cpu", "a, batch 64, cpu"]


def test_the_budget_ends_a_run_whose_steps_are_slow() -> None:
    world = World(lambda cell: 2.0 * cell.workload.batch)
    _, events = measured(world, plan_of(group("a", 4, ("cpu",)), budget=50.0))
    rounds = [event for event in events if isinstance(event, Round)]
    assert len(rounds) >= 2
    assert world.now <= 55.0


def test_a_step_that_does_not_finish_in_the_budget_is_too_slow_and_the_others_are_measured() -> None:
    world = World(lambda cell: 500.0 if cell.workload.model == "slow" else 0.01)
    session, events = measured(world, plan_of(group("fast", 4, ("cpu",)), group("slow", 4, ("cpu",))))
    assert [failure.kind for failure in failures(events)] == ["too_slow"]
    assert "No step finished within" in failures(events)[0].reason
    assert [tally.stopped for tally in session.tallies] == ["precise", "failed"]


def test_a_hopeless_batch_is_not_started_but_estimated_from_the_smaller_one() -> None:
    world = World(lambda cell: 5.0 * cell.workload.batch)
    _, events = measured(world, plan_of(group("a", 4, ("cpu",)), group("a", 64, ("cpu",))))
    (failure,) = failures(events)
    assert failure.estimate_seconds == pytest.approx(320.0)
    assert failure.reason.startswith("Not started: ")
    assert failure.reason.endswith("s were left. A step is estimated at up to 320 s, based on the smaller batch.")
    assert ("prepare", "a, batch 64, cpu") not in world.order


def test_a_single_lap_gives_no_result() -> None:
    world = World(lambda cell: 40.0)
    _, events = measured(world, plan_of(group("a", 4, ("cpu",)), budget=100.0))
    assert [failure.kind for failure in failures(events)] == ["too_slow"]
    assert "two laps did not fit" in failures(events)[0].reason


def test_a_crash_in_a_lap_is_recorded_and_the_other_cell_goes_on() -> None:
    world = World(fast)
    world.break_at["sim:0"] = 3
    session, events = measured(world, plan_of(group("a", 4, ("cpu", "sim:0"))))
    assert [(failure.cell, failure.kind) for failure in failures(events)] == [(1, "crash")]
    cpu, sim = session.tallies[0].result(0.95).cells
    assert cpu.throughput is not None
    assert sim.throughput is None


def test_when_the_baseline_crashes_the_others_have_a_throughput_but_no_speed_up() -> None:
    world = World(fast)
    world.break_at["cpu"] = 4
    session, _ = measured(world, plan_of(group("a", 4, ("cpu", "sim:0"))))
    _, sim = session.tallies[0].result(0.95).cells
    assert (sim.throughput is not None, sim.speed_up) == (True, None)


def test_a_silent_worker_counts_as_hung_if_there_was_enough_time() -> None:
    world = World(lambda cell: 200.0)
    _, events = measured(world, plan_of(group("a", 4, ("cpu",)), budget=1000.0))
    assert [failure.kind for failure in failures(events)] == ["hang"]


def test_a_slow_cell_does_not_take_the_time_of_a_fast_one() -> None:
    world = World(lambda cell: (1.0 if cell.device == "cpu" else 0.01) * cell.workload.batch)
    devices = ("cpu", "sim:0")
    session, events = measured(world, plan_of(*(group("a", batch, devices) for batch in (4, 64)), budget=60.0))
    prepared = [cell for what, cell in world.order if what == "prepare"]
    accelerated = ["a, batch 4, sim:0", "a, batch 64, sim:0"]
    assert prepared[:4] == [*accelerated, "a, batch 4, cpu", "a, batch 4, sim:0"]
    assert [(failure.group, failure.cell, failure.kind) for failure in failures(events)] == [(1, 0, "too_slow")]
    assert session.tallies[1].result(0.95).cells[1].throughput is not None


def test_a_group_that_starts_after_the_budget_is_out_of_time_and_not_too_slow() -> None:
    world = World(fast)
    world.build_seconds = 30.0
    _, events = measured(world, plan_of(*(group(name, 4, ("cpu",)) for name in "ab"), budget=25.0))
    assert [(failure.group, failure.kind) for failure in failures(events)] == [(0, "no_time"), (1, "no_time")]
    assert failures(events)[1].reason == "Not started: the budget was spent."


def test_the_time_to_start_is_reserved_for_the_groups_that_wait() -> None:
    world = World(lambda cell: 0.5 + 0.4 * (len(world.order) % 2))  # so noisy that only the budget ends a comparison
    world.build_seconds = 10.0
    _, events = measured(world, plan_of(*(group(name, 4, ("cpu",)) for name in "abcde"), budget=90.0))
    assert failures(events) == []
    assert world.now <= 99.0


def test_an_interrupted_run_records_it_and_resumes_where_it_was() -> None:
    plan = plan_of(group("a", 4, ("cpu",)), group("b", 4, ("cpu",)))
    world = World(fast)
    events: list[Event] = []

    def emit(event: Event) -> None:
        if len(events) == 7:
            raise KeyboardInterrupt
        events.append(event)

    def emit_once(event: Event) -> None:
        try:
            emit(event)
        except KeyboardInterrupt:
            events.append(event)
            raise

    session = Session(
        plan, cast("Launcher", world), emit=emit_once, watch=lambda _: None, clock=lambda: world.now, started=0.0
    )
    with pytest.raises(KeyboardInterrupt):
        session.measure()
    assert isinstance(events[-1], RunFinished)
    assert events[-1].reason == "interrupted"
    assert world.alive == set()

    later = World(fast)
    resumed, more = measured(later, plan, tuple(events))
    assert next(cell for what, cell in later.order if what == "prepare") == "b, batch 4, cpu"
    assert [tally.stopped for tally in resumed.tallies] == ["precise", "precise"]
    assert isinstance(more[-1], RunFinished)
    assert more[-1].reason == "complete"


def checked(events: list[Event]) -> list[tuple[int, str]]:
    return [(event.numerics.operators, event.numerics.reason) for event in events if isinstance(event, NumericsChecked)]


def test_an_accelerators_results_are_checked_after_the_figures_and_the_cpus_are_the_reference() -> None:
    world = World(lambda cell: 0.1)
    _, events = measured(world, plan_of(group("a", 4, ("cpu", "cuda:0"))))
    assert world.verified == ["a, batch 4, cuda:0"]
    assert checked(events) == [(9, "")]
    kinds = [type(event) for event in events]
    assert kinds.index(NumericsChecked) > kinds.index(GroupFinished)


def test_the_same_cell_is_checked_once() -> None:
    world = World(lambda cell: 0.1)
    _, events = measured(world, plan_of(*[group("a", 4, ("cuda:0", "cuda:0"))] * 2))
    assert world.verified == ["a, batch 4, cuda:0"]
    assert checked(events) == [(9, "")] * 4


def test_a_check_that_would_take_too_long_is_skipped_with_the_reason() -> None:
    world = World(lambda cell: 0.1)
    world.verify_seconds = 8.0
    plan = plan_of(*(group("a", batch, ("cpu", "cuda:0")) for batch in (4, 64)), budget=100.0)
    _, events = measured(world, plan)
    assert checked(events) == [(9, ""), (0, "the check would take about 49 s; raise --budget")]


def test_a_check_that_crashes_costs_no_result() -> None:
    world = World(lambda cell: 0.1)
    world.breaks_verified = True
    session, events = measured(world, plan_of(group("a", 4, ("cpu", "cuda:0"))))
    ((operators, reason),) = checked(events)
    assert (operators, "SIGABRT" in reason) == (0, True)
    assert session.tallies[0].living() == [0, 1]
    assert not world.alive


def test_without_verify_nothing_is_checked() -> None:
    world = World(lambda cell: 0.1)
    plan = Plan(suite="own", groups=(group("a", 4, ("cuda:0",)),), verify=False)
    _, events = measured(world, plan)
    assert (world.verified, checked(events)) == ([], [])


def explained(events: list[Event]) -> list[BreakdownMeasured]:
    return [event for event in events if isinstance(event, BreakdownMeasured)]


def breakdowns(events: list[Event]) -> list[Breakdown]:
    return [event.breakdown for event in explained(events)]


def test_accelerators_cells_are_analyzed_while_they_are_held_and_the_cpus_after_the_figures() -> None:
    world = World(lambda cell: 0.02 if cell.device == "cpu" else 0.004)
    of = plan_of(group("resnet18", 4, ("cpu", "cuda:0")), group("resnet18", 64, ("cpu", "cuda:0")))
    _, events = measured(world, of)
    assert [(event.group, event.cell) for event in explained(events)] == [
        (0, 1),
        (1, 1),
        (0, 0),
        (1, 0),
        (0, 1),
        (1, 1),
    ]
    assert [event.peaks.device for event in events if isinstance(event, PeaksMeasured)] == ["cuda:0", "cpu"]
    last_lap = max(number for number, event in enumerate(events) if isinstance(event, Round))
    first, second, *others = (number for number, event in enumerate(events) if isinstance(event, BreakdownMeasured))
    assert first < second < last_lap < min(others)


def test_cells_that_share_an_accelerator_are_analyzed_one_by_one_after_the_figures() -> None:
    world = World(lambda _: 0.004)
    cells = tuple(Cell(Workload("resnet18", 4), recipe, "cuda:0") for recipe in (Recipe(), Recipe("bf16")))
    _, events = measured(world, plan_of(Group(cells)))
    last_lap = max(number for number, event in enumerate(events) if isinstance(event, Round))
    assert len(explained(events)) == len(cells)
    assert all(events.index(event) > last_lap for event in explained(events))


def test_an_analysis_that_crashes_the_worker_of_held_cells_costs_no_figure() -> None:
    world = World(lambda cell: 0.02 if cell.device == "cpu" else 0.004)
    world.breaks_explained = True
    session, events = measured(world, plan_of(group("resnet18", 4, ("cpu", "cuda:0"))))
    assert all(event.reason.startswith("the analysis failed") for event in breakdowns(events))
    assert not any(isinstance(event, Failure) for event in events)
    assert session.tallies[0].result(0.95).cells[1].speed_up is not None


def test_breakdowns_end_with_the_budget() -> None:
    world = World(lambda _: 0.05)
    world.explain_seconds = 12.0
    of = plan_of(*(group(f"m{number}", 4, ("cpu",)) for number in range(12)))
    _, events = measured(world, of)
    assert world.now < 100.0 + world.explain_seconds
    assert breakdowns(events)[-1].reason == "out of time; raise --budget"


def test_figures_leave_time_for_what_follows_them() -> None:
    world = World(lambda _: 5.0)
    _, events = measured(world, plan_of(*(group(name, 4, ("cpu",)) for name in "abc")))
    assert 55 < max(event.at_seconds for event in events if isinstance(event, Round)) < 90
    assert "" in {event.reason for event in breakdowns(events)}
    assert world.now < 105


def test_the_last_figure_comes_before_what_follows_the_figures() -> None:
    slow = {(name, "cpu"): 7.5 for name in "abcd"}
    world = World(lambda cell: slow.get((cell.workload.model, cell.device), 0.02))
    session, events = measured(world, plan_of(*(group(name, 4, ("cpu", "cuda:0")) for name in "abcd")))
    assert failures(events) == []
    assert all(len(tally.laps(0)) >= 2 for tally in session.tallies)
    assert 77 < max(event.at_seconds for event in events if isinstance(event, Round)) < 100


def test_a_slow_step_is_not_run_again_for_its_breakdown() -> None:
    _, events = measured(World(lambda _: 8.0), plan_of(group("vgg16", 64, ("cpu",))))
    assert [event.reason for event in breakdowns(events)] == ["the analysis would take about 32 s; raise --budget"]


def test_a_breakdown_that_crashes_costs_no_result() -> None:
    world = World(lambda _: 0.02)
    world.breaks_explained = True
    session, events = measured(world, plan_of(group("resnet18", 4, ("cpu",))))
    assert breakdowns(events)[0].reason.startswith("the analysis failed (crash): The worker was killed")
    assert not any(isinstance(event, Failure) for event in events)
    assert session.tallies[0].result(0.95).cells[0].throughput is not None


def test_without_explain_nothing_is_analyzed() -> None:
    of = Plan(suite="own", groups=(group("resnet18", 4, ("cpu",)),), explain=False)
    _, events = measured(World(lambda _: 0.02), of)
    assert not any(isinstance(event, BreakdownMeasured | PeaksMeasured) for event in events)


def test_a_resumed_run_does_not_measure_the_peaks_again() -> None:
    of = plan_of(group("resnet18", 4, ("cpu",)), group("resnet18", 64, ("cpu",)))
    _, events = measured(World(lambda _: 0.02), of)
    first = tuple(event for event in events if getattr(event, "group", 0) == 0)
    _, more = measured(World(lambda _: 0.02), of, earlier=first[:-1])
    assert not any(isinstance(event, PeaksMeasured) for event in more)
    assert [event.group for event in explained(more)] == [1]


def test_peaks_that_cannot_be_measured_cost_no_breakdown_and_are_not_tried_again() -> None:
    world = World(lambda _: 0.02)
    world.breaks_peaks = True
    of = plan_of(group("resnet18", 4, ("cpu",)), group("resnet18", 64, ("cpu",)))
    _, events = measured(world, of)
    assert [event.reason for event in breakdowns(events)] == ["", ""]
    (peaks,) = [event.peaks for event in events if isinstance(event, PeaksMeasured)]
    assert (peaks.flops, peaks.refused["fp32"], peaks.seconds) == ({}, "There is no memory for it.", 0.5)


def test_a_resumed_run_has_its_own_time_for_breakdowns() -> None:
    of = plan_of(group("resnet18", 4, ("cpu",)), group("resnet18", 64, ("cpu",)))
    world = World(lambda _: 0.02)
    world.explain_seconds = 8.0
    _, events = measured(world, of)
    first = tuple(event for event in events if getattr(event, "group", 0) == 0)
    _, more = measured(World(lambda _: 0.02), of, earlier=first[:-1])
    assert [event.reason for event in breakdowns(more)] == [""]


def test_a_run_that_was_interrupted_after_its_last_lap_is_complete_when_it_is_resumed() -> None:
    of = plan_of(group("resnet18", 4, ("cpu",)))
    _, events = measured(World(lambda _: 0.02), of)
    ended = RunFinished(reason="interrupted", wall_seconds=9.0, start_up_seconds=1.0)
    _, more = measured(World(lambda _: 0.02), of, earlier=(*events[:-1], ended))
    assert [type(event) for event in more] == [RunFinished]
    assert measured(World(lambda _: 0.02), of, earlier=tuple(events))[1] == []


def test_a_run_that_was_killed_after_its_last_lap_is_completed_when_it_is_resumed() -> None:
    of = plan_of(group("resnet18", 4, ("cpu",)))
    _, events = measured(World(lambda _: 0.02), of)
    figures_end = next(number for number, event in enumerate(events) if isinstance(event, GroupFinished))
    _, more = measured(World(lambda _: 0.02), of, earlier=tuple(events[: figures_end + 1]))
    assert isinstance(more[-1], RunFinished)
    assert any(isinstance(event, BreakdownMeasured) for event in more)
    assert not any(isinstance(event, Round) for event in more)


@pytest.mark.parametrize(("device", "share"), [("cpu", 0.85), ("cuda:0", 0.77)])
def test_without_an_accelerator_no_time_is_kept_for_checks(device: str, share: float) -> None:
    world = World(lambda cell: 0.5)
    _, events = measured(world, replace(plan_of(group("a", 4, (device,)), budget=100.0), precision_target=1e-9))
    last = max(event.at_seconds for event in events if isinstance(event, Round))
    assert last == pytest.approx(100 * share, abs=2.5)


def test_a_turn_in_which_the_machine_slept_is_recorded_apart_and_another_one_counts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    readings = count()

    def read() -> clocks.Moment:
        slept = 40.0 if next(readings) else 0.0
        return clocks.Moment(100.0, 100.0 + slept, 1000.0 + slept)

    monkeypatch.setattr(clocks, "read", read)
    _, events = measured(World(fast), plan_of(group("m", 4, ("cpu",))))
    (jump,) = [event for event in events if isinstance(event, ClockJumped)]
    assert (jump.asleep_seconds, jump.wall_seconds, jump.cell) == (40.0, 0.0, 0)
    kept = [lap for event in events if isinstance(event, Round) for lap in event.laps]
    assert jump.laps
    assert kept
    assert not set(map(id, jump.laps)) & set(map(id, kept))


def test_a_clock_that_never_agrees_ends_a_run_with_its_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    readings = count()
    monkeypatch.setattr(clocks, "read", lambda: clocks.Moment(1.0, 1.0, 100.0 * next(readings)))
    world = World(fast)
    _, events = measured(world, plan_of(group("m", 4, ("cpu",))))
    assert not any(isinstance(event, Round) for event in events)
    assert [failed.kind for failed in failures(events)] == ["no_time"]
    assert world.now < 120.0
