"""Virtual time, and workers in this process: the messages are the real ones, the processes are not there.

On a virtual clock only three things take time: a sleep, an operator of the simulated accelerator, and a call of a
module (`CALL_SECONDS`). A run with a budget of minutes then takes a moment, its figures are exact, and no other load on
the machine changes them.
"""

import gc
import time
import warnings
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch.nn.modules.module import register_module_forward_pre_hook

from torchlap.processes.failures import CellFailedError
from torchlap.processes.worker import DOING, Worker
from torchlap.schema.breakdown import Peaks
from torchlap.schema.messages import decode_reply, encode
from torchlap.schema.replies import Reply
from torchlap.schema.requests import Hello, Request
from torchlap.worker import serve

CALL_SECONDS = 0.01
READ_SECONDS = 1e-6
"""A reading of the clock takes this long, so that a loop that waits for a time comes to an end."""

FAULT = ""
"""What is wrong with the simulated accelerator, like `half_more:aten.mm.default`: a test may replace it."""


class Clock:
    """Stands in for the functions of the `time` module."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.call_seconds = CALL_SECONDS

    def read(self) -> float:
        self.now += READ_SECONDS
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += max(0.0, seconds)

    def process_time(self) -> float:
        """No thread ever spins."""
        return 0.0

    def call(self, *_: object) -> None:
        """A call of a module."""
        self.now += self.call_seconds

    @contextmanager
    def ticking(self) -> Iterator[None]:
        """This clock instead of the real one, for everything in this process that reads the `time` module."""
        hook = register_module_forward_pre_hook(self.call)
        try:
            with pytest.MonkeyPatch.context() as patch:
                for name in ("perf_counter", "monotonic"):
                    patch.setattr(time, name, self.read)
                patch.setattr(time, "sleep", self.sleep)
                patch.setattr(time, "process_time", self.process_time)
                patch.setattr(torch, "set_num_threads", lambda _: None)
                queue = torch.get_device_module("sim").queue
                patch.setattr(queue, "empty_at", 0.0)
                patch.setattr(queue, "wait", lambda: self.sleep(queue.empty_at - self.now))
                fault, _, operators = FAULT.partition(":")
                patch.setattr("simulated_accelerator.FAULT", fault)  # a model may change it
                patch.setattr("simulated_accelerator.FAULTY", operators)
                patch.setattr("simulated_accelerator.PLANTED", None)
                yield
        finally:
            hook.remove()
            keep_denormals()


class Connection:
    """Where a worker writes its replies: kept with the time at which they were sent."""

    def __init__(self) -> None:
        self.replies: deque[tuple[float, bytes]] = deque()

    def write(self, line: bytes) -> int:
        self.replies.append((time.monotonic(), line))
        return len(line)

    def flush(self) -> None:
        return


class WorkerHere(Worker):
    """A worker that handles each request in this process, when its answer is awaited."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._replies = Connection()
        self._server: serve.CellServer | None = serve.CellServer(self._replies)  # type: ignore[arg-type]  # all of a stream it needs
        self._request = encode(Hello())
        self._last = 0.0

    @property
    def pid(self) -> int:
        return 0

    def tell(self, request: Request) -> None:
        self._doing = DOING[type(request)]
        self._request = encode(request)

    def _next(self, doing: str, limit_seconds: float) -> Reply:
        if not self._replies.replies:
            assert self._server, "a worker that failed was asked again"
            self._last = self._clock.now
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                self._server.answer(self._request)
        at, line = self._replies.replies.popleft()
        if at - self._last > limit_seconds:
            self._clock.now = self._last + limit_seconds
            self.kill()
            raise CellFailedError("hang", f"No answer for {limit_seconds:.0f} s ({doing}).")
        self._last = at
        return decode_reply(line)

    def kill(self) -> str:
        self._server = None
        self._replies.replies.clear()
        return ""


class Here:
    """A launcher of workers in this process."""

    start_up_seconds = 0.0

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def start(self) -> Worker:
        return WorkerHere(self._clock)

    def renew(self) -> None:
        return

    def close(self) -> None:
        return


def peaks(device: str, *_: Any) -> Peaks:
    """What a device reaches; measuring it needs real time."""
    return Peaks(device=device, flops={"fp32": 2e11, "bf16": 1e12}, copy_bytes=1e10, operator_seconds=1e-6)


def freeze_garbage() -> None:
    """Collect what there is once, and never look through it again: each warm-up collects it."""
    gc.collect()
    gc.freeze()


def use_one_thread() -> None:
    """On busy cores, torch's threads wait for each other so long that one alone is ten times faster than two."""
    torch.set_num_threads(1)


def keep_denormals() -> None:
    """A worker flushes them; other tests of this process compute with them."""
    torch.set_flush_denormal(False)
