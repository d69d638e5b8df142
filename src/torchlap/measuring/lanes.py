"""Check the results of several cells at the same time, each in a worker of its own: nothing is timed meanwhile."""

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import closing

from torchlap.machine.facts import available_bytes
from torchlap.measuring.context import LONGEST_TEXT, build_request, hang_limit
from torchlap.processes.crew import Crew
from torchlap.processes.failures import CellFailedError
from torchlap.schema.machine import DeviceFacts
from torchlap.schema.numerics import Numerics
from torchlap.schema.replies import Verified
from torchlap.schema.requests import Build, Verify
from torchlap.schema.workload import Cell, Plan

SLOT = 0
THREADS_EACH, MOST_LANES = 2, 6
"""A check keeps so many threads busy: much of it is Python."""

BYTES_EACH, DEVICE_BYTES_EACH = 4 << 30, 10 << 30
"""Memory that a check may need: of the host for its references, of the device for a large model."""

TOO_LITTLE_MEMORY = "the check failed (out_of_memory)"

Check = Callable[[Crew, Build], Numerics]
"""Checks a cell with a crew that holds nothing else."""


def lanes_of(threads: int, devices: Sequence[DeviceFacts]) -> int:
    """How many checks suit this machine at the same time, of whose CPU `threads` are used."""
    memory = [device.memory_bytes // DEVICE_BYTES_EACH for device in devices if device.memory_bytes is not None]
    host = available_bytes() // BYTES_EACH
    return max(1, min(MOST_LANES, threads // THREADS_EACH, host, *memory))


def check_together(
    crews: Sequence[Crew], plan: Plan, jobs: Iterable[tuple[Cell, Check]], threads: tuple[int, str]
) -> Generator[tuple[Cell, Numerics]]:
    """Check cells, as many at the same time as there are crews, in the order in which the checks end.

    A cell for which there was too little memory beside the others is checked again alone. Close the iterator if it is
    not exhausted.

    Args:
        crews: hold nothing; afterwards all but the first are closed.
        plan: says how cells are built.
        jobs: cells, each with the function that checks it, called in a thread; taken when a crew is free.
        threads: of the CPU, for all crews together, and why.
    """
    alone: Iterable[tuple[Cell, Check]] = jobs
    if len(crews) > 1:
        alone = again = list[tuple[Cell, Check]]()
        with closing(_in_lanes(crews, plan, jobs, threads[0])) as checked:
            for (cell, check), numerics in checked:
                if numerics.reason.startswith(TOO_LITTLE_MEMORY):
                    again.append((cell, check))
                else:
                    yield cell, numerics
    for cell, check in alone:
        yield cell, check(crews[0], build_request(plan, SLOT, cell, threads))


def _in_lanes(
    crews: Sequence[Crew], plan: Plan, jobs: Iterable[tuple[Cell, Check]], threads: int
) -> Generator[tuple[tuple[Cell, Check], Numerics]]:
    share = max(1, threads // len(crews)), f"{len(crews)} checks at the same time share {threads}"
    free = deque(crews)
    running: dict[Future[Numerics], tuple[Crew, tuple[Cell, Check]]] = {}

    def ended() -> Iterator[tuple[tuple[Cell, Check], Numerics]]:
        for future in wait(running, return_when=FIRST_COMPLETED).done:
            crew, job = running.pop(future)
            free.append(crew)
            yield job, future.result()

    with ThreadPoolExecutor(len(crews)) as pool:
        try:
            for cell, check in jobs:
                if not free:
                    yield from ended()
                crew = free.popleft()
                future = pool.submit(check, crew, build_request(plan, SLOT, cell, share))
                running[future] = (crew, (cell, check))
            while running:
                yield from ended()
        finally:
            for crew in [*crews[1:], *(crew for crew, _ in running.values())]:
                crew.close()  # which ends a check that is still running


def check_numerics(
    crew: Crew, build: Build, request: Verify, hang_seconds: float, report: Callable[[str], None]
) -> Numerics:
    """Build a cell and check its results; where that fails, the reason. The crew then holds no cells."""
    try:
        crew.build_one(request.slot, build, hang_seconds)
        return crew.ask(request.slot, request, Verified, hang_limit(build.cell, hang_seconds), report).numerics
    except CellFailedError as failure:
        return Numerics(reason=look_failed(failure, "check"))
    finally:
        crew.release()


def look_failed(failure: CellFailedError, what: str) -> str:
    """Why there is no result, where the check or analysis itself failed."""
    return f"the {what} failed ({failure.kind}): {failure.reason}"[:LONGEST_TEXT]
