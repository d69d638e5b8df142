"""The script's clocks, watched: which readings are taken from which, what becomes of the difference.

A watched reading is a float (or an int of nanoseconds) like any other, that remembers where it was read; so is the time
between two, what is computed from it, and the ratio of two such times.
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
from torchlap.worker.tracing.log import Log, Read, Timed, now

CLOCKS = ("time", "perf_counter", "monotonic")
MOST_LOOKS = 200
"""Of one line's clock reads, the device is looked at in so many: looking waits for it."""

MOST_SPANS = 64
HUNDRED = 100
NANOSECONDS = 1e9


class Ratio(Struct):
    """A quotient of two timings: of which spans, where, and where it was shown as a percentage."""

    place: Place
    value: float
    above: tuple[Timed, ...]
    below: tuple[Timed, ...]
    printed: Place | None = None


class Clocks:
    """Notes clock reads; one for the process, which the numbers below refer to."""

    def __init__(self, log: Log) -> None:
        self.log = log
        self.ratios: list[Ratio] = []
        self._looks: dict[Place, int] = {}

    def read(self, frame: FrameType | None) -> Read:
        """Note a read that has just been made, and look what the device has still to do."""
        log = self.log
        at, place = now(), log.place_of(frame)
        looks = self._looks.get(place, 0)
        waited = None
        unwaited = log.worked_at > log.synced_at
        if log.waiters and looks < MOST_LOOKS:
            self._looks[place] = looks + 1
            waited = log.wait()
        return Read(at, place, waited, unwaited)

    def took(self, start: Read, end: Read, seconds: float, *, by_events: bool = False) -> Timed:
        """Note that one was taken from the other."""
        if start.at > end.at:
            start, end, seconds = end, start, -seconds
        seen = Timed(start, end, self.log.place(), seconds, by_events)
        if self.log.active:
            self.log.add(self.log.timed, seen)
        return seen

    def divided(self, value: float, above: "Elapsed", below: "Elapsed") -> "Quotient":
        """Note a ratio."""
        seen = Ratio(self.log.place(), float(value), above.spans, below.spans)
        if self.log.active:
            self.log.add(self.ratios, seen)
        return Quotient(value, seen)

    def shown(self, ratio: Ratio | None) -> None:
        """A ratio was shown as a percentage."""
        if ratio is not None and ratio.printed is None and self.log.active:
            ratio.printed = self.log.place()


clocks: Clocks
"""The one that watches; set by `install`."""


class Reading(float):
    """A clock's reading in seconds."""

    read: Read

    def __new__(cls, value: float, read: Read) -> Self:
        """A reading made there."""
        made = super().__new__(cls, value)
        made.read = read
        return made

    def __sub__(self, other: float) -> float:
        """Seconds since another reading."""
        value = float.__sub__(self, other)
        if isinstance(other, Reading):
            return Elapsed(value, (clocks.took(other.read, self.read, value),))
        return value

    def __reduce__(self) -> tuple[type[float], tuple[float]]:
        """Pickled as a plain number."""
        return float, (float(self),)


class Nanoseconds(int):
    """A clock's reading in nanoseconds, or the time between two such readings."""

    read: Read | None
    spans: tuple[Timed, ...]

    def __new__(cls, value: int, read: Read | None, spans: tuple[Timed, ...] = ()) -> Self:
        """A reading made there, or a time between two."""
        made = super().__new__(cls, value)
        made.read, made.spans = read, spans
        return made

    def __sub__(self, other: int) -> int:
        """Nanoseconds since another reading."""
        value = int.__sub__(self, other)
        if isinstance(other, Nanoseconds) and self.read and other.read:
            return Nanoseconds(value, None, (clocks.took(other.read, self.read, value / NANOSECONDS),))
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


def _joined(one: object, other: object) -> tuple[Timed, ...]:
    return (*getattr(one, "spans", ()), *getattr(other, "spans", ()))[:MOST_SPANS]


class Elapsed(float):
    """A time between readings, or what was computed from some; `inverse` of a rate, like images a second."""

    spans: tuple[Timed, ...]
    inverse: bool

    def __new__(cls, value: float, spans: tuple[Timed, ...] = (), *, inverse: bool = False) -> Self:
        """A time between readings."""
        made = super().__new__(cls, value)
        made.spans, made.inverse = spans, inverse
        return made

    def _like(self, value: float, spans: tuple[Timed, ...] | None = None) -> float:
        """A number computed from this; what a float does not know how to compute (NotImplemented) is passed on."""
        known = self.spans if spans is None else spans
        return value if value is NotImplemented else Elapsed(value, known, inverse=self.inverse)

    def __add__(self, other: float) -> float:
        """The sum of two times."""
        return self._like(float.__add__(self, other), _joined(self, other))

    __radd__ = __add__

    def __sub__(self, other: float) -> float:
        """What one took longer."""
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
            return clocks.divided(value, self, other) if self.inverse == other.inverse else value
        return self._like(value)

    def __rtruediv__(self, other: float) -> float:
        """A rate."""
        value = float.__rtruediv__(self, other)
        return value if value is NotImplemented else Elapsed(value, self.spans, inverse=not self.inverse)

    def __round__(self, digits: SupportsIndex | None = None) -> Any:  # noqa: ANN401  float's overloads
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
        made = super().__new__(cls, value)
        made.ratio, made.percent = ratio, percent
        return made

    def __mul__(self, other: float) -> float:
        """Times a hundred it is a percentage."""
        value = float.__mul__(self, other)
        return value if value is NotImplemented else Quotient(value, self.ratio, percent=other == HUNDRED)

    __rmul__ = __mul__

    def __round__(self, digits: SupportsIndex | None = None) -> Any:  # noqa: ANN401  float's overloads
        """A ratio in fewer digits."""
        value = float.__round__(self) if digits is None else float.__round__(self, digits)
        return Quotient(value, self.ratio, percent=self.percent) if digits is not None else value

    def __format__(self, spec: str) -> str:
        """As a percentage it is noted."""
        if self.percent or spec.endswith("%"):
            clocks.shown(self.ratio)
        return float.__format__(self, spec)

    def __repr__(self) -> str:
        """As a percentage it is noted."""
        if self.percent:
            clocks.shown(self.ratio)
        return float.__repr__(self)

    __str__ = __repr__

    def __reduce__(self) -> tuple[type[float], tuple[float]]:
        """Pickled as a plain number."""
        return float, (float(self),)


def install(log: Log) -> Clocks:
    """Watch the process's clocks from here on."""
    global clocks  # noqa: PLW0603  the numbers above are made by the script's own arithmetic, which knows no other way
    clocks = Clocks(log)
    for name in CLOCKS:
        setattr(time, name, _watched(getattr(time, name), log, Reading))
        setattr(time, f"{name}_ns", _watched(getattr(time, f"{name}_ns"), log, Nanoseconds))
    timeit.default_timer = time.perf_counter
    timeit.Timer.__init__.__defaults__ = tuple(
        time.perf_counter if value is now else value for value in timeit.Timer.__init__.__defaults__ or ()
    )
    for function in ("timeit", "repeat"):
        defaults = getattr(timeit, function).__defaults__
        getattr(timeit, function).__defaults__ = tuple(time.perf_counter if each is now else each for each in defaults)
    _watch_events(log)
    builtins.print = _printing(builtins.print, log)
    return clocks


def _watched(clock: Callable[[], Any], log: Log, made: type[Reading | Nanoseconds]) -> Callable[[], Any]:
    """A clock whose readings remember; to libraries it is the plain one."""

    @wraps(clock)
    def watched() -> Any:  # noqa: ANN401  a number
        value = clock()
        if not log.active:
            return value
        frame = log.frame() if log.is_direct() or log.called_by("<timeit-src>") else None
        return value if frame is None else made(value, clocks.read(frame))

    return watched


def _watch_events(log: Log) -> None:
    """CUDA's events take their own times, on the device."""
    event: Any = torch.cuda.Event
    record, elapsed = event.record, event.elapsed_time
    reads: dict[int, Read] = {}

    @wraps(record)
    def recorded(self: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401  as it is
        given = record(self, *args, **kwargs)
        if log.active and log.is_direct():
            reads[id(self)] = Read(now(), log.place(), None, unwaited=False)
        return given

    @wraps(elapsed)
    def timed(self: Any, end: Any) -> float:  # noqa: ANN401  an event
        value: float = elapsed(self, end)
        start_read, end_read = reads.get(id(self)), reads.get(id(end))
        if not (log.active and start_read and end_read):
            return value
        return Elapsed(value, (clocks.took(start_read, end_read, value / 1e3, by_events=True),))

    event.record, event.elapsed_time = recorded, timed


def _printing(function: Callable[..., None], log: Log) -> Callable[..., None]:
    @wraps(function)
    def printing(*args: Any, **kwargs: Any) -> None:  # noqa: ANN401  anything can be printed
        start = now()
        function(*args, **kwargs)
        if log.active and log.is_direct():
            log.mark("output", start, log.place())

    return printing
