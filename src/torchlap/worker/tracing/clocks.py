"""Watch the script's clocks: which readings are subtracted from each other, and what is done with the difference.

A watched reading is a float (or an int of nanoseconds) like any other that also remembers where it was read. So does
the time between two readings, what is computed from it, and the ratio of two such times.
"""

import builtins
import time
import timeit
from collections.abc import Callable
from functools import wraps
from types import FrameType
from typing import Any, Self, SupportsIndex

import torch
from msgspec import Struct

from torchlap.schema.trace import Place
from torchlap.worker.tracing.log import Log, Original, Read, Span, now

CLOCKS = ("time", "perf_counter", "monotonic")
MOST_WAITS = 200
"""Clock reads of one line at which the device's pending work is measured, by waiting for it."""

MOST_SPANS = 64
HUNDRED = 100
NANOSECONDS = 1e9

Number = Any
"""A float or an int; the methods of float are overloaded."""


class Ratio(Struct):
    """A quotient of two timings: of which spans, where, and where it was shown as a percentage."""

    place: Place
    value: float
    above: tuple[Span, ...]
    below: tuple[Span, ...]
    printed: Place | None = None


class Clocks:
    """Records clock reads, spans and ratios; `log` is set by `install`."""

    log: Log

    def __init__(self) -> None:
        self.ratios: list[Ratio] = []
        self._waits: dict[Place, int] = {}

    def read(self, frame: FrameType | None) -> Read:
        """Record a read that was just made, and measure the device's pending work."""
        log = self.log
        at, place = now(), log.place_of(frame)
        waits = self._waits.get(place, 0)
        pending = None
        unwaited = log.worked_at > log.synced_at
        if log.waiters and waits < MOST_WAITS:
            self._waits[place] = waits + 1
            pending = log.wait()
        return Read(at, place, pending, unwaited)

    def record_span(self, start: Read, end: Read, seconds: float, *, by_events: bool = False) -> Span:
        """Record that one reading was subtracted from another."""
        if start.at > end.at:
            start, end, seconds = end, start, -seconds
        span = Span(start, end, self.log.place(), seconds, by_events)
        if self.log.active:
            self.log.add(self.log.spans, span)
        return span

    def record_ratio(self, value: float, above: "Elapsed", below: "Elapsed") -> "Quotient":
        """Record that one time was divided by another."""
        ratio = Ratio(self.log.place(), float(value), above.spans, below.spans)
        if self.log.active:
            self.log.add(self.ratios, ratio)
        return Quotient(value, ratio)

    def record_percentage(self, ratio: Ratio | None) -> None:
        """Record that a ratio was shown as a percentage."""
        if ratio is not None and ratio.printed is None and self.log.active:
            ratio.printed = self.log.place()


clocks = Clocks()
"""The process's only one: the numbers below come from the script's own arithmetic, which cannot pass it on."""


class Reading(float):
    """A clock's reading in seconds."""

    read: Read

    def __new__(cls, value: float, read: Read) -> Self:
        """A reading from that read."""
        reading = super().__new__(cls, value)
        reading.read = read
        return reading

    def __sub__(self, other: float) -> float:
        """Seconds since another reading."""
        value = float.__sub__(self, other)
        if isinstance(other, Reading):
            return Elapsed(value, (clocks.record_span(other.read, self.read, value),))
        return value

    def __reduce__(self) -> tuple[type[float], tuple[float]]:
        """Pickled as a plain number."""
        return float, (float(self),)


class Nanoseconds(int):
    """A clock's reading in nanoseconds, or the time between two such readings."""

    read: Read | None
    spans: tuple[Span, ...]

    def __new__(cls, value: int, read: Read | None, spans: tuple[Span, ...] = ()) -> Self:
        """A reading from that read, or a time over these spans."""
        nanoseconds = super().__new__(cls, value)
        nanoseconds.read, nanoseconds.spans = read, spans
        return nanoseconds

    def __sub__(self, other: int) -> int:
        """Nanoseconds since another reading."""
        value = int.__sub__(self, other)
        if isinstance(other, Nanoseconds) and self.read and other.read:
            return Nanoseconds(value, None, (clocks.record_span(other.read, self.read, value / NANOSECONDS),))
        return value

    def __add__(self, other: int) -> int:
        """The sum of two times."""
        value = int.__add__(self, other)
        return Nanoseconds(value, None, _joined(self, other)) if self.spans and value is not NotImplemented else value

    __radd__ = __add__

    def __truediv__(self, other: int) -> float:
        """In another unit, or a ratio of two times."""
        return Elapsed(int(self), self.spans) / (
            Elapsed(int(other), other.spans) if isinstance(other, Nanoseconds) else other
        )

    def __mul__(self, other: int) -> int:
        """In another unit."""
        value = int.__mul__(self, other)
        return Elapsed(int(self), self.spans) * other if value is NotImplemented else value  # type: ignore[return-value]  # as int does

    def __reduce__(self) -> tuple[type[int], tuple[int]]:
        """Pickled as a plain number."""
        return int, (int(self),)


def _joined(left: object, right: object) -> tuple[Span, ...]:
    return (*getattr(left, "spans", ()), *getattr(right, "spans", ()))[:MOST_SPANS]


class Elapsed(float):
    """A time between readings, or a number computed from it; `inverse` for a rate, such as images a second."""

    spans: tuple[Span, ...]
    inverse: bool

    def __new__(cls, value: float, spans: tuple[Span, ...] = (), *, inverse: bool = False) -> Self:
        """A time over these spans."""
        elapsed = super().__new__(cls, value)
        elapsed.spans, elapsed.inverse = spans, inverse
        return elapsed

    def _like(self, value: float, spans: tuple[Span, ...] | None = None) -> float:
        """A number computed from this one; NotImplemented is passed on."""
        known = self.spans if spans is None else spans
        return value if value is NotImplemented else Elapsed(value, known, inverse=self.inverse)

    def __add__(self, other: float) -> float:
        """The sum of two times."""
        return self._like(float.__add__(self, other), _joined(self, other))

    __radd__ = __add__

    def __sub__(self, other: float) -> float:
        """The difference of two times."""
        return self._like(float.__sub__(self, other), _joined(self, other))

    def __mul__(self, other: float) -> float:
        """In another unit."""
        value = float.__mul__(self, other)
        return value if isinstance(other, Elapsed) else self._like(value)

    __rmul__ = __mul__

    def __truediv__(self, other: float) -> float:
        """In another unit, a mean, or a ratio of two times."""
        value = float.__truediv__(self, other)
        if isinstance(other, Elapsed):
            return clocks.record_ratio(value, self, other) if self.inverse == other.inverse else value
        return self._like(value)

    def __rtruediv__(self, other: float) -> float:
        """A rate."""
        value = float.__rtruediv__(self, other)
        return value if value is NotImplemented else Elapsed(value, self.spans, inverse=not self.inverse)

    def __round__(self, digits: SupportsIndex | None = None) -> Number:
        """A time in fewer digits."""
        return float.__round__(self) if digits is None else self._like(float.__round__(self, digits))

    def __reduce__(self) -> tuple[type[float], tuple[float]]:
        """Pickled as a plain number."""
        return float, (float(self),)


class Quotient(float):
    """A ratio of two times; `percent` once it was multiplied by a hundred."""

    ratio: Ratio | None
    percent: bool

    def __new__(cls, value: float, ratio: Ratio | None = None, *, percent: bool = False) -> Self:
        """A ratio of two times."""
        quotient = super().__new__(cls, value)
        quotient.ratio, quotient.percent = ratio, percent
        return quotient

    def __mul__(self, other: float) -> float:
        """A percentage, if multiplied by a hundred."""
        value = float.__mul__(self, other)
        return value if value is NotImplemented else Quotient(value, self.ratio, percent=other == HUNDRED)

    __rmul__ = __mul__

    def __round__(self, digits: SupportsIndex | None = None) -> Number:
        """A ratio in fewer digits."""
        value = float.__round__(self) if digits is None else float.__round__(self, digits)
        return Quotient(value, self.ratio, percent=self.percent) if digits is not None else value

    def __format__(self, spec: str) -> str:
        """As text; recorded if it is a percentage."""
        if self.percent or spec.endswith("%"):
            clocks.record_percentage(self.ratio)
        return float.__format__(self, spec)

    def __repr__(self) -> str:
        """As text; recorded if it is a percentage."""
        if self.percent:
            clocks.record_percentage(self.ratio)
        return float.__repr__(self)

    __str__ = __repr__

    def __reduce__(self) -> tuple[type[float], tuple[float]]:
        """Pickled as a plain number."""
        return float, (float(self),)


def install(log: Log) -> Clocks:
    """Watch the process's clocks from here on."""
    clocks.log = log
    for name in CLOCKS:
        setattr(time, name, _watched(getattr(time, name), log, Reading))
        setattr(time, f"{name}_ns", _watched(getattr(time, f"{name}_ns"), log, Nanoseconds))
    timeit.default_timer = time.perf_counter
    for function in (timeit.Timer.__init__, timeit.timeit, timeit.repeat):
        _replace_default_clock(function)
    _watch_events(log)
    builtins.print = _watched_print(builtins.print, log)
    return clocks


def _replace_default_clock(function: Original) -> None:
    defaults = function.__defaults__ or ()
    function.__defaults__ = tuple(time.perf_counter if value is now else value for value in defaults)


def _watched(clock: Callable[[], Number], log: Log, kind: type[Reading | Nanoseconds]) -> Callable[[], Number]:
    """A clock whose readings remember where they were read; to libraries it returns plain numbers."""

    @wraps(clock)
    def watched() -> Number:
        value = clock()
        if not log.active:
            return value
        frame = log.frame() if log.is_direct() or log.called_by("<timeit-src>") else None
        return value if frame is None else kind(value, clocks.read(frame))

    return watched


def _watch_events(log: Log) -> None:
    """Watch CUDA's events, which are timed on the device."""
    event: Any = torch.cuda.Event
    record, elapsed = event.record, event.elapsed_time
    reads: dict[int, Read] = {}

    @wraps(record)
    def recorded(self: object, *args: object, **kwargs: object) -> object:
        returned = record(self, *args, **kwargs)
        if log.active and log.is_direct():
            reads[id(self)] = Read(now(), log.place(), None, unwaited=False)
        return returned

    @wraps(elapsed)
    def timed(self: object, end: object) -> float:
        value: float = elapsed(self, end)
        start_read, end_read = reads.get(id(self)), reads.get(id(end))
        if not (log.active and start_read and end_read):
            return value
        return Elapsed(value, (clocks.record_span(start_read, end_read, value / 1e3, by_events=True),))

    event.record, event.elapsed_time = recorded, timed


def _watched_print(function: Original, log: Log) -> Original:
    @wraps(function)
    def printing(*args: object, **kwargs: object) -> None:
        start = now()
        function(*args, **kwargs)
        if log.active and log.is_direct():
            log.mark("output", start, log.place())

    return printing
