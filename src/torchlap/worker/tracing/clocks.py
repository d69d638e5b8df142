"""Watch the script's clocks: when each was read, from where, and how much work was pending on the device.

A reading is the plain number that the clock returns. Which readings are subtracted from each other is worked out after
the fact, from the script's syntax tree (`spans`).
"""

import sys
import time
import timeit
from collections.abc import Callable
from functools import wraps
from types import FrameType
from typing import Any

import torch

from torchlap.worker.tracing.log import Log, Original, Read, Site, Span, now

CLOCKS = ("time", "perf_counter", "monotonic", "process_time", "thread_time")
MOST_WAITS = 50
EVERY = 3
"""At every third read by the same calls, the first included, the tracer waits for the device's pending work.

So it measures this work. The spans between are as without the tracer. Odd, for a line that reads the clock before and
after its work."""

NANOSECONDS = 1e-9
TIMEIT = "<timeit-src>"
GENERATED = ("<string>", "<attrs generated")
TORCH_TIMER = "torch/utils/benchmark/utils/timer.py"

_frame_above = sys._getframe  # noqa: SLF001  the documented way to inspect the caller


class Clock:
    """Stands in for a function of the module `time`: returns its plain numbers, and records who reads them.

    Like the built-in function, it does not become a method when it is the attribute of a class.
    """

    def __init__(self, clock: Callable[[], Any], unit: float, clocks: "Clocks") -> None:
        self._clock, self._unit, self._clocks = clock, unit, clocks
        self.__name__ = self.__qualname__ = clock.__name__
        self.__module__ = "time"
        self.__doc__ = clock.__doc__
        self.__self__ = time

    def __call__(self) -> Any:  # noqa: ANN401  a float or an int
        """The clock's value."""
        value = self._clock()
        if self._clocks.log.active:
            self._clocks.record(self.__name__, value * self._unit, _frame_above(1))
        return value

    def __reduce__(self) -> str:
        """Pickled by name, like the built-in function."""
        return self.__name__

    def __repr__(self) -> str:
        return repr(self._clock)


class Clocks:
    """Records clock reads and CUDA events."""

    def __init__(self, log: Log) -> None:
        self.log = log
        self._reads: dict[tuple[Site, ...], int] = {}

    def record(self, clock: str, value: float, caller: FrameType) -> None:
        """Record a read, unless a library made it for itself; then measure the device's pending work."""
        log, at = self.log, now()
        if caller.f_code.co_filename.endswith(TORCH_TIMER) and caller.f_back is not None:
            caller = caller.f_back
        frame = _own(log, caller)
        if frame is None:
            return
        place, chain = log.place_of(frame), log.chain(frame)
        unwaited = log.worked_at > log.synced_at
        pending = self._pending(chain) if log.waiters else None
        function = id(caller.f_code)
        read = Read(
            at, value, clock, place, chain, id(caller), pending, unwaited, function=function, compiled=compiled_graphs()
        )
        log.add(log.reads, read)
        log.last_read = at

    def _pending(self, chain: tuple[Site, ...]) -> float | None:
        """Seconds of work that the device had pending, at some of the reads that these calls make."""
        count = self._reads.get(chain, 0)
        self._reads[chain] = count + 1
        return self.log.wait() if count % EVERY == 0 and count < EVERY * MOST_WAITS else None

    def record_event_span(self, start: Read, end: Read, seconds: float) -> None:
        """Record the time between two CUDA events."""
        self.log.add(self.log.event_spans, Span(start, end, self.log.place(), seconds, by_events=True))


def _own(log: Log, caller: FrameType) -> FrameType | None:
    """The frame of the script that reads the clock, directly, through timeit, or through code that Python generates.

    Such code is a dataclass's `__init__`, which calls a default factory. None for a library's own read.
    """
    frame: FrameType | None = caller
    if caller.f_code.co_filename == TIMEIT:
        while frame is not None and log.name_of(frame.f_code.co_filename) is None:
            frame = frame.f_back
        return frame
    while frame is not None and frame.f_code.co_filename.startswith(GENERATED):
        frame = frame.f_back
    return frame if frame is not None and log.name_of(frame.f_code.co_filename) is not None else None


def compiled_graphs() -> int:
    """How many graphs torch.compile has compiled so far; 0 if it was never used."""
    module = sys.modules.get("torch._dynamo.utils")
    return int(module.counters["stats"]["unique_graphs"]) if module is not None else 0


def install(log: Log) -> Clocks:
    """Watch the process's clocks from here on."""
    clocks = Clocks(log)
    for name in CLOCKS:
        setattr(time, name, Clock(getattr(time, name), 1.0, clocks))
        setattr(time, f"{name}_ns", Clock(getattr(time, f"{name}_ns"), NANOSECONDS, clocks))
    timeit.default_timer = time.perf_counter
    for function in (timeit.Timer.__init__, timeit.timeit, timeit.repeat):
        _replace_default_clock(function)
    _watch_events(log, clocks)
    return clocks


def _replace_default_clock(function: Original) -> None:
    defaults = function.__defaults__ or ()
    function.__defaults__ = tuple(time.perf_counter if value is now else value for value in defaults)


def _watch_events(log: Log, clocks: Clocks) -> None:
    """Watch CUDA's events, which are timed on the device."""
    event: Any = torch.cuda.Event
    record, elapsed = event.record, event.elapsed_time
    reads: dict[int, Read] = {}

    @wraps(record)
    def recorded(self: object, *args: object, **kwargs: object) -> object:
        returned = record(self, *args, **kwargs)
        if log.active and log.is_direct():
            reads[id(self)] = Read(now(), 0.0, "event", log.place(), (), 0, None, unwaited=False)
        return returned

    @wraps(elapsed)
    def timed(self: object, end: object) -> float:
        milliseconds: float = elapsed(self, end)
        start_read, end_read = reads.get(id(self)), reads.get(id(end))
        if log.active and start_read and end_read:
            clocks.record_event_span(start_read, end_read, milliseconds / 1e3)
        return milliseconds

    event.record, event.elapsed_time = recorded, timed
