"""What happened when, and on which line of the script; the tracer's own clock."""

import os
import sys
import sysconfig
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import TypeVar

import torch
from msgspec import Struct
from torch import nn

from torchlap.schema.trace import Place
from torchlap.worker import devices

Given = TypeVar("Given")

now = time.perf_counter
"""The real one: the script gets a watched one of that name."""

TRIED = 100
MOST = 300_000
"""Events of a kind that are kept."""

NOT_THE_SCRIPT = tuple(
    f"{Path(path).resolve()}{os.sep}"
    for path in {sysconfig.get_paths()[name] for name in ("stdlib", "platstdlib", "purelib", "platlib")}
    | {str(Path(__file__).parents[2])}
)


class Mark(Struct):
    """Something that took time, and its line."""

    start: float
    end: float
    place: Place


class Read(Struct):
    """A clock read: when, where, and what the device had still to do, None where nobody looked.

    `unwaited` tells that something was enqueued since the last wait.
    """

    at: float
    place: Place
    device_seconds: float | None
    unwaited: bool


class Timed(Struct):
    """One reading taken from another: seconds as the script sees them."""

    start: Read
    end: Read
    place: Place
    seconds: float
    by_events: bool = False


class Step(Struct):
    """An optimizer's step has returned; `size` counts what it holds, and so tells one model from another."""

    at: float
    device: str
    size: int
    batch: int


class Log:
    """All that is noted while the script runs."""

    def __init__(self, script: Path) -> None:
        self.script = script
        self.begun = now()
        self.active = True
        self.truncated = False
        self.own_seconds = self.waited_seconds = 0.0
        self.synced_at = self.worked_at = 0.0
        self.timed: list[Timed] = []
        self.steps: list[Step] = []
        self.work: list[Mark] = []
        self.marks: dict[str, list[Mark]] = {kind: [] for kind in ("value", "input", "workers", "evaluation", "output")}
        self.waiters: dict[torch.device, Callable[[], None]] = {}
        loaded = (getattr(module, "__file__", None) for module in tuple(sys.modules.values()))
        self._known: dict[str, str | None] = {file: None for file in loaded if isinstance(file, str)}
        self._known[str(script)] = script.name
        self._places: dict[tuple[str, int], Place] = {}

    def add(self, events: list[Given], event: Given) -> None:
        """Note something, while there is room."""
        if len(events) < MOST:
            events.append(event)
        else:
            self.truncated = True

    def mark(self, kind: str, start: float, place: Place) -> None:
        """Note what began then and ends now."""
        self.add(self.marks[kind], Mark(start, now(), place))

    def worked(self, start: float, place: Place) -> None:
        """Note that a part of a training step was enqueued since then."""
        self.worked_at = now()
        self.add(self.work, Mark(start, self.worked_at, place))

    def name_of(self, filename: str) -> str | None:
        """What a file of the script is called: as seen from beside it; None for anybody else's."""
        try:
            return self._known[filename]
        except KeyError:
            name = self._known[filename] = self._name_of(filename)
            return name

    def _name_of(self, filename: str) -> str | None:
        if filename.startswith("<"):
            return None
        path = Path(filename).resolve()
        if path != self.script and str(path).startswith(NOT_THE_SCRIPT):
            return None
        try:
            return str(path.relative_to(self.script.parent))
        except ValueError:
            return path.name

    def frame(self) -> FrameType | None:
        """The innermost frame of the script's."""
        frame: FrameType | None = sys._getframe(1)  # noqa: SLF001  the documented way
        while frame is not None and self.name_of(frame.f_code.co_filename) is None:
            frame = frame.f_back
        return frame

    def place(self) -> Place:
        """The script's line that is being run; the script as a whole where none is."""
        return self.place_of(self.frame())

    def place_of(self, frame: FrameType | None) -> Place:
        """A frame's line."""
        if frame is None:
            return Place(self.script.name, 0)
        key = (frame.f_code.co_filename, frame.f_lineno)
        if key not in self._places:
            self._places[key] = Place(self.name_of(key[0]) or self.script.name, key[1])
        return self._places[key]

    def is_direct(self) -> bool:
        """Tell whether the script itself called the caller, and not a library of its."""
        return self.name_of(sys._getframe(2).f_code.co_filename) is not None  # noqa: SLF001  the documented way

    def called_by(self, filename: str) -> bool:
        """Tell whether that file called the caller."""
        return sys._getframe(2).f_code.co_filename == filename  # noqa: SLF001

    def uses(self, device: torch.device) -> None:
        """The script computes there: the clock is to be held to it."""
        if device.type != "cpu" and device not in self.waiters:
            self.waiters[device] = devices.synchronizer(device)

    def wait(self) -> float:
        """Wait for all devices that the script uses: the seconds that it took."""
        start = now()
        for waiter in self.waiters.values():
            waiter()
        took = now() - start
        self.waited_seconds += took
        return took

    def cost(self) -> float:
        """What the tracer took: its looks, which are timed, and its notes, at what one of them costs."""
        scratch, start = Log(self.script), now()
        for _ in range(TRIED):
            scratch.mark("value", start, scratch.place())
        each = (now() - start) / TRIED
        notes = 3 * len(self.timed) + len(self.steps) + len(self.work) + sum(map(len, self.marks.values()))
        return self.own_seconds + each * notes


def device_of(module: nn.Module) -> torch.device | None:
    """Where a model's parameters are; None where it has none."""
    parameter = next(module.parameters(), None)
    return None if parameter is None else parameter.device
