"""Compile cells in processes of their own, which fill the compiler's cache on disk while others do other things."""

import time
from collections.abc import Callable, Sequence
from contextlib import suppress

import psutil
from msgspec import Struct

from torchlap.processes.failures import CellFailedError
from torchlap.processes.worker import Worker
from torchlap.schema.replies import Built, Prepared
from torchlap.schema.requests import Build, WarmUp

LOWEST_PRIORITY = 19


class Compiled(Struct, frozen=True):
    """How a compilation ended: the seconds of the first step, None if it failed; `late` if it had no time."""

    seconds: float | None = None
    late: bool = False


class Ahead:
    """Compilations under way. A worker that measures such a cell later needs a fraction of that time.

    Args:
        start: starts a worker of an arm or a device.
        requests: to build each cell.
        cores: for each of them, if they must not disturb what else is running; their priority is then the lowest.
    """

    def __init__(
        self, start: Callable[[str], Worker], requests: Sequence[Build], cores: Sequence[Sequence[int]] = ()
    ) -> None:
        self._workers: list[Worker | None] = []
        for number, request in enumerate(requests):
            self._workers.append(None)
            with suppress(CellFailedError):  # it fails again where the cell is measured, and is reported there
                worker = start(request.cell.arm or request.cell.device)
                self._workers[-1] = worker
                if cores:
                    confine(worker.pid, cores[number])
                worker.tell(request)
                worker.tell(WarmUp(slot=request.slot, limit_seconds=0.0))

    def finish(self, limit_seconds: float) -> list[Compiled]:
        """Wait for all of them, at most so long in all, and end their processes."""
        end = time.monotonic() + limit_seconds
        try:
            return [self._finished(worker, end) for worker in self._workers]
        finally:
            self.close()

    def _finished(self, worker: Worker | None, end: float) -> Compiled:
        if worker is None:
            return Compiled()
        try:
            worker.hear(Built, max(0.0, end - time.monotonic()))
            prepared = worker.hear(Prepared, max(0.0, end - time.monotonic()))
        except CellFailedError as failure:
            return Compiled(late=failure.kind == "hang")
        return Compiled(prepared.preparation.first_step_seconds)

    def close(self) -> None:
        """End their processes."""
        for worker in self._workers:
            if worker is not None:
                worker.kill()
        self._workers = [None] * len(self._workers)


def confine(process: int, cores: Sequence[int]) -> None:
    """Let a process, and all that it starts from now on, run only on these cores, after everything else there."""
    with suppress(psutil.Error, OSError):  # such as one that has just ended: its next request says so
        own = psutil.Process(process)
        own.nice(LOWEST_PRIORITY)
        if hasattr(own, "cpu_affinity"):
            own.cpu_affinity(list(cores))
