"""Checks of several cells at the same time."""

import threading
from collections.abc import Iterator
from contextlib import closing
from typing import cast

import pytest

from torchlap.measuring.lanes import BYTES_EACH, MOST_LANES, TOO_LITTLE_MEMORY, Check, check_together, lanes_of
from torchlap.processes.crew import Crew
from torchlap.processes.failures import CellFailedError
from torchlap.processes.start import Launcher
from torchlap.schema.machine import DeviceFacts
from torchlap.schema.numerics import Numerics
from torchlap.schema.recipe import Recipe
from torchlap.schema.requests import Build
from torchlap.schema.workload import Cell, Plan, Workload

PATIENCE_SECONDS = 60.0
PLAN = Plan(suite="own", groups=())
THREADS = (8, "one per physical core")


class Started:
    """A worker that hears nothing until it is killed."""

    def __init__(self) -> None:
        self.killed = threading.Event()

    def tell(self, _: object) -> None:
        pass

    def kill(self) -> None:
        self.killed.set()

    def hear(self, _: object, limit_seconds: float) -> object:
        assert self.killed.wait(limit_seconds)
        raise CellFailedError("crash", "The worker is gone.")


class Starter:
    def start(self) -> Started:
        return Started()


def crews_of(count: int) -> list[Crew]:
    return [Crew(cast("Launcher", Starter())) for _ in range(count)]


def cells_of(count: int) -> list[Cell]:
    return [
        Cell(workload=Workload(f"model{number}", 4, "train"), recipe=Recipe(), device="cuda:0")
        for number in range(count)
    ]


def test_as_many_cells_are_checked_at_the_same_time_as_there_are_crews() -> None:
    together = threading.Barrier(3, timeout=PATIENCE_SECONDS)
    builds: list[Build] = []

    def check(_: Crew, build: Build) -> Numerics:
        builds.append(build)
        together.wait()  # breaks unless three checks are here at once
        return Numerics(operators=9)

    cells = cells_of(6)
    found = dict(check_together(crews_of(3), PLAN, [(cell, check) for cell in cells], THREADS))
    assert found == dict.fromkeys(cells, Numerics(operators=9))
    assert {build.threads for build in builds} == {2}
    assert {build.threads_reason for build in builds} == {"3 checks at the same time share 8"}


def test_a_job_is_prepared_only_when_a_crew_is_free() -> None:
    done: list[Cell] = []

    def jobs() -> Iterator[tuple[Cell, Check]]:
        for number, cell in enumerate(cells_of(5)):
            assert len(done) >= number - 2
            yield cell, lambda _crew, _build: Numerics(operators=9)

    for cell, _ in check_together(crews_of(2), PLAN, jobs(), THREADS):
        done.append(cell)
    assert len(done) == 5


def test_a_cell_that_lacked_memory_beside_the_others_is_checked_again_alone_with_all_threads() -> None:
    builds: list[Build] = []

    def check(_: Crew, build: Build) -> Numerics:
        builds.append(build)
        lacks = build.threads < 8 and build.cell.workload.model == "model1"
        return Numerics(reason=f"{TOO_LITTLE_MEMORY}: 8 GiB are missing") if lacks else Numerics(operators=9)

    found = list(check_together(crews_of(2), PLAN, [(cell, check) for cell in cells_of(3)], THREADS))
    assert [numerics.operators for _, numerics in found] == [9, 9, 9]
    assert found[-1][0].workload.model == "model1"
    assert [build.cell.workload.model for build in builds if build.threads == 8] == ["model1"]


def test_an_interrupt_ends_the_checks_that_are_running() -> None:
    def check(crew: Crew, build: Build) -> Numerics:
        if build.cell.workload.model == "model0":
            return Numerics(operators=9)
        with pytest.raises(CellFailedError, match=r"gone|interrupted"):
            crew.build_one(0, build, PATIENCE_SECONDS)
        return Numerics(reason="interrupted")

    jobs = [(cell, check) for cell in cells_of(3)]
    with closing(check_together(crews_of(2), PLAN, jobs, THREADS)) as checked:
        assert next(checked)[1].operators == 9


def test_lanes_depend_on_threads_and_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    class Memory:
        available = 100 * BYTES_EACH

    monkeypatch.setattr("psutil.virtual_memory", Memory)
    cpu = DeviceFacts(name="cpu", kind="cpu")
    large, small = (DeviceFacts(name="cuda:0", kind="cuda", memory_bytes=gib << 30) for gib in (80, 8))
    assert [lanes_of(threads, [cpu, large]) for threads in (1, 3, 4, 8, 128)] == [1, 1, 2, 4, MOST_LANES]
    assert lanes_of(128, [cpu, large, small]) == 1
    Memory.available = BYTES_EACH // 2
    assert lanes_of(128, [cpu]) == 1
