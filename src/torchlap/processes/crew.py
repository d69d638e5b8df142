"""One worker a device, alive for the whole run, holding the cells of the current group."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import zip_longest
from types import MappingProxyType
from typing import TypeVar

from torchlap.processes.ahead import Ahead
from torchlap.processes.failures import CellFailedError
from torchlap.processes.start import Launcher
from torchlap.processes.worker import Worker
from torchlap.schema.replies import Built, Ready, Released
from torchlap.schema.requests import Build, Hello, Release, Request

Answer = TypeVar("Answer")

RELEASE_SECONDS = 60.0


class Crew:
    """The workers of a run, and which cells they hold.

    A worker that fails is gone, and so are the cells that it held; the next one of its device is started when it is
    needed. With `isolate` every cell has a worker of its own, which ends with its group.

    Args:
        launcher: starts workers.
        arms: launchers of arms or devices that have their own, by their names; each of them has workers of its own
            anyway.
        isolate: give every cell a worker.
    """

    def __init__(
        self, launcher: Launcher, arms: Mapping[str, Launcher] = MappingProxyType({}), *, isolate: bool = False
    ) -> None:
        self._launcher, self._arms, self._isolate = launcher, arms, isolate
        self._workers: dict[str, Worker] = {}
        self._homes: dict[int, str] = {}
        """Where the cells of the current group are, by their slots."""
        self._closed = False

    def another(self) -> "Crew":
        """A crew of other workers, started in the same ways."""
        return Crew(self._launcher, self._arms)

    @property
    def isolates(self) -> bool:
        """Whether every cell has a worker of its own."""
        return self._isolate

    @property
    def start_up_seconds(self) -> float:
        """What starting workers took, in all arms."""
        return sum(launcher.start_up_seconds for launcher in {self._launcher, *self._arms.values()})

    @property
    def longest_start_seconds(self) -> float:
        """What starting workers took in the slowest arm: `start_anew` starts all arms at the same time."""
        return max(launcher.start_up_seconds for launcher in (self._launcher, *self._arms.values()))

    def _start(self, name: str) -> Worker:
        """Start a worker of an arm or a device of that name."""
        return self._arms.get(name, self._launcher).start()

    def holds(self, slot: int) -> bool:
        """Whether the cell is built, and its worker alive."""
        return slot in self._homes

    def build(self, requests: Mapping[int, Build], limit_seconds: float) -> dict[int, CellFailedError]:
        """Build cells, on all devices at the same time; the failures, by slot.

        Args:
            requests: by slot, in the order in which each device builds its cells.
            limit_seconds: how long a worker may give no sign of life.
        """
        queues: dict[str, list[int]] = {}
        for slot, request in requests.items():
            queues.setdefault(self._home(slot, request), []).append(slot)
        failures: dict[int, CellFailedError] = {}
        for slots in zip_longest(*queues.values()):
            pairs = [(home, slot) for home, slot in zip(queues, slots, strict=True) if slot is not None]
            for home, slot in pairs:
                self._try(failures, slot, home, partial(self._tell, home, requests[slot]))
            for home, slot in pairs:
                if slot not in failures:
                    self._try(failures, slot, home, partial(self._hear_built, home, slot, limit_seconds))
        return failures

    def start(self, requests: Mapping[int, Build], limit_seconds: float) -> dict[int, CellFailedError]:
        """Start the workers of cells at the same time, and wait until they are ready; the failures, by slot.

        Args:
            requests: to build each cell later, by slot.
            limit_seconds: how long a worker may give no sign of life.
        """
        failures: dict[int, CellFailedError] = {}
        homes = {slot: self._home(slot, request) for slot, request in requests.items()}
        fresh: dict[str, int] = {}
        for slot, home in homes.items():
            if home not in self._workers:
                fresh.setdefault(home, slot)
        for home, slot in fresh.items():
            self._try(failures, slot, home, partial(self._begin, home, requests[slot]))
        for home, slot in fresh.items():
            if slot not in failures:
                self._try(failures, slot, home, partial(self._hear_ready, home, limit_seconds))
        return {slot: failures[fresh[home]] for slot, home in homes.items() if fresh.get(home) in failures}

    def _begin(self, home: str, request: Build) -> None:
        self._workers[home] = self._start(request.cell.arm or request.cell.device)
        self._workers[home].tell(Hello())

    def _hear_ready(self, home: str, limit_seconds: float) -> None:
        self._workers[home].hear(Ready, limit_seconds)

    def compile_ahead(self, requests: Sequence[Build], cores: Sequence[Sequence[int]] = ()) -> Ahead:
        """Begin to compile cells at the same time, each in a process of its own."""
        return Ahead(self._start, requests, cores)

    def build_one(self, slot: int, request: Build, limit_seconds: float) -> None:
        """Build one cell.

        Raises:
            CellFailedError: when that fails.
        """
        for failure in self.build({slot: request}, limit_seconds).values():
            raise failure

    def ask(
        self,
        slot: int,
        request: Request,
        answer: type[Answer],
        limit_seconds: float,
        on_progress: Callable[[str], None] = lambda _: None,
    ) -> Answer:
        """Send a request about a cell to the worker that holds it, and wait for the answer.

        Raises:
            CellFailedError: when that fails; the worker is then gone, with all the cells that it held.
        """
        home = self._homes[slot]
        try:
            return self._workers[home].ask(request, answer, limit_seconds, on_progress)
        except CellFailedError:
            self._lose(home)
            raise

    def ask_alone(self, arm: str, request: Request, answer: type[Answer], limit_seconds: float) -> Answer:
        """Send a request that needs no cell to a worker of an arm that is started for it, and then ends.

        Raises:
            CellFailedError: when that fails.
        """
        worker = self._start(arm)
        try:
            return worker.ask(request, answer, limit_seconds)
        finally:
            worker.kill()

    def drop(self, slot: int) -> None:
        """End the worker of a cell that failed: its state is unknown."""
        if slot in self._homes:
            self._lose(self._homes[slot])

    def release(self, *, trim: bool = False) -> None:
        """Have the workers drop all cells, with `trim` also the memory that they keep; those of isolated cells end."""
        if self._isolate:
            self._end_all()
            return
        self._each(lambda worker: worker.tell(Release(trim)))
        self._each(lambda worker: worker.hear(Released, RELEASE_SECONDS))
        self._homes.clear()

    def _each(self, action: Callable[[Worker], object]) -> None:
        """Do something with every worker; where that fails, the worker is gone."""
        for home, worker in list(self._workers.items()):
            try:
                action(worker)
            except CellFailedError:
                self._lose(home)

    def start_anew(self) -> None:
        """End all workers; those that follow are processes that share nothing with them."""
        self._end_all()
        for launcher in {self._launcher, *self._arms.values()}:
            launcher.renew()

    def close(self) -> None:
        """End all workers, also while another thread waits for one; none is started afterwards."""
        self._closed = True
        self._end_all()

    def _end_all(self) -> None:
        for worker in list(self._workers.values()):
            worker.kill()
        self._workers.clear()
        self._homes.clear()

    def _home(self, slot: int, request: Build) -> str:
        home = f"{request.cell.device} {request.cell.arm}"
        return f"{home} {slot}" if self._isolate else home

    def _tell(self, home: str, request: Build) -> None:
        if home not in self._workers:
            self._workers[home] = self._start(request.cell.arm or request.cell.device)
        if self._closed:
            raise CellFailedError("crash", "The run was interrupted.")
        self._workers[home].tell(request)

    def _hear_built(self, home: str, slot: int, limit_seconds: float) -> None:
        self._workers[home].hear(Built, limit_seconds)
        self._homes[slot] = home

    def _try(self, failures: dict[int, CellFailedError], slot: int, home: str, action: Callable[[], None]) -> None:
        """Do something for a cell; if that fails, its worker is gone, and the failure is noted."""
        try:
            action()
        except CellFailedError as failure:
            self._lose(home)
            failures[slot] = failure

    def _lose(self, home: str) -> None:
        """Forget a worker that is gone, and what it held."""
        worker = self._workers.pop(home, None)
        if worker is not None:
            worker.kill()
        self._homes = {slot: other for slot, other in self._homes.items() if other != home}
