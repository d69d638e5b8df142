"""The tracer's log: what happened when, and on which line of the script, by the tracer's own clock."""

import os
import re
import sys
import sysconfig
import time
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from types import CodeType, FrameType
from typing import Any, TypeVar

import torch
from msgspec import Struct
from torch import nn

from torchlap.schema.trace import Place
from torchlap.worker import devices

Event = TypeVar("Event")
Original = Callable[..., Any]
"""A function that the tracer wraps; the wrapper passes arguments and results on as they are."""

now = time.perf_counter
"""The original clock: the script gets a watched one of that name."""

_frame_above = sys._getframe  # noqa: SLF001  the documented way to inspect the caller

COST_TRIES = 100
LONGEST_CHAIN = 8
MOST = 300_000
"""Events of a kind that are kept."""

LIBRARIES = tuple(
    f"{Path(path).resolve()}{os.sep}"
    for path in {sysconfig.get_paths()[name] for name in ("stdlib", "platstdlib", "purelib", "platlib")}
    | {str(Path(__file__).parents[2])}
)
"""Folders whose files are not the script's own."""


class Mark(Struct):
    """Something that took time, and its line."""

    start: float
    end: float
    place: Place


Site = tuple[str, int, int]
"""A call in one of the script's files: the file, and the line and column of its end."""


class Read(Struct):
    """A clock read.

    Attributes:
        value: what the script received, in seconds.
        chain: the calls that led to it in the script's files, the innermost first.
        frame: identifies the function call that made it, and `function` the function.
        pending_seconds: how long the device still worked; None where that was not measured.
        unwaited: something was enqueued since the last synchronization.
        compiled: graphs that torch.compile had compiled so far.
    """

    at: float
    value: float
    clock: str
    place: Place
    chain: tuple[Site, ...]
    frame: int
    pending_seconds: float | None
    unwaited: bool
    function: int = 0
    compiled: int = 0


class Span(Struct):
    """The time between two clock reads: `seconds` as the script computes it, on the line `place`."""

    start: Read
    end: Read
    place: Place
    seconds: float
    by_events: bool = False


class Step(Struct):
    """A training step: all optimizers that step in one iteration, or a backward pass if no optimizer ever steps.

    Attributes:
        size: the elements of its parameters, which distinguishes models.
    """

    at: float
    device: str
    size: int
    batch: int


class Log:
    """Everything that is recorded while the script runs.

    Attributes:
        active: False once nothing more is to be recorded.
        own_seconds: what the tracer's own checks took.
        waited_seconds: how long the tracer waited for devices.
        synced_at: when the script last synchronized.
        worked_at: when a part of a training step was last enqueued.
        waiters: how to synchronize each device that the script uses.
        on_accelerator: what is to be done once the script uses an accelerator.
        after_step: what is to be done after each backward pass.
        hidden: files beside the script that hide a module that was already imported, and which, in words.
    """

    def __init__(self, script: Path) -> None:
        self.script = script
        self.begun = now()
        self.active = True
        self.truncated = False
        self.own_seconds = self.waited_seconds = 0.0
        self.synced_at = self.worked_at = self.last_read = 0.0
        self.reads: list[Read] = []
        self.event_spans: list[Span] = []
        self.waits: list[float] = []
        self.steps: list[Step] = []
        self.backwards: list[Step] = []
        self.optimizer_steps = 0
        self.hidden: dict[str, str] = {}
        self.work: list[Mark] = []
        self.marks: dict[str, list[Mark]] = {kind: [] for kind in ("value", "input", "workers", "evaluation")}
        self.waiters: dict[torch.device, Callable[[], None]] = {}
        self.on_accelerator: list[Callable[[], object]] = []
        self.after_step: list[Callable[[], object]] = []
        loaded = (getattr(module, "__file__", None) for module in tuple(sys.modules.values()))
        self._names: dict[str, str | None] = {file: None for file in loaded if isinstance(file, str)}
        self._names[str(script)] = script.name
        self._places: dict[tuple[str, int], Place] = {}
        self._sites: dict[tuple[CodeType, int], Site] = {}
        self.files: set[str] = {str(script)}

    def add(self, events: list[Event], event: Event) -> None:
        """Record an event, if there is room."""
        if len(events) < MOST:
            events.append(event)
        else:
            self.truncated = True

    def mark(self, kind: str, start: float, place: Place) -> None:
        """Record something that started then and ends now."""
        self.add(self.marks[kind], Mark(start, now(), place))

    def worked(self, start: float, place: Place) -> None:
        """Record that a part of a training step was enqueued since `start`."""
        self.worked_at = now()
        self.add(self.work, Mark(start, self.worked_at, place))

    def record_synchronization(self) -> None:
        """Record that the script waited for a device."""
        self.synced_at = now()

    def name_of(self, filename: str) -> str | None:
        """The name of a file of the script, relative to the script's folder; None for a library's file."""
        try:
            return self._names[filename]
        except KeyError:
            name = self._names[filename] = self._name_of(filename)
            if name is not None:
                self.files.add(filename)
            return name

    def _name_of(self, filename: str) -> str | None:
        if filename.startswith("<"):
            return None
        path = Path(filename).resolve()
        if path != self.script and (str(path).startswith(LIBRARIES) or _is_library(path, self.script)):
            return None
        try:
            return str(path.relative_to(self.script.parent))
        except ValueError:
            return path.name

    def frame(self) -> FrameType | None:
        """The innermost frame in the script's own files."""
        frame: FrameType | None = _frame_above(1)
        while frame is not None and self.name_of(frame.f_code.co_filename) is None:
            frame = frame.f_back
        return frame

    def place(self) -> Place:
        """The line of the script that is being run; line 0 if there is none."""
        return self.place_of(self.frame())

    def place_of(self, frame: FrameType | None) -> Place:
        """A frame's line."""
        if frame is None:
            return Place(self.script.name, 0)
        key = (frame.f_code.co_filename, frame.f_lineno)
        if key not in self._places:
            self._places[key] = Place(self.name_of(key[0]) or self.script.name, key[1])
        return self._places[key]

    def chain(self, frame: FrameType | None) -> tuple[Site, ...]:
        """The calls in the script's files that led to this frame, the innermost first."""
        sites: list[Site] = []
        while frame is not None and len(sites) < LONGEST_CHAIN:
            if self.name_of(frame.f_code.co_filename) is not None:
                sites.append(self._site(frame))
            frame = frame.f_back
        return tuple(sites)

    def _site(self, frame: FrameType) -> Site:
        key = (frame.f_code, frame.f_lasti)
        if key not in self._sites:
            positions = next(islice(frame.f_code.co_positions(), frame.f_lasti // 2, None), (None,) * 4)
            self._sites[key] = (frame.f_code.co_filename, positions[1] or frame.f_lineno, positions[3] or 0)
        return self._sites[key]

    def is_direct(self) -> bool:
        """Whether the script itself called the caller, rather than a library that the script uses."""
        return self.name_of(_frame_above(2).f_code.co_filename) is not None

    def uses(self, device: torch.device) -> None:
        """Record that the script computes on the device: its pending work is measured at clock reads."""
        if device.type != "cpu" and device not in self.waiters:
            self.waiters[device] = devices.synchronizer(device)
            while self.on_accelerator:
                self.on_accelerator.pop()()

    def wait(self) -> float:
        """Wait for all devices that the script uses; returns the seconds that it took."""
        start = now()
        for waiter in self.waiters.values():
            waiter()
        seconds = now() - start
        self.waited_seconds += seconds
        self.waits.append(start)
        return seconds

    def cost(self) -> float:
        """Seconds that the tracer used: its checks, and an estimate for its records from the cost of one."""
        scratch, start = Log(self.script), now()
        for _ in range(COST_TRIES):
            scratch.mark("value", start, scratch.place())
        record_seconds = (now() - start) / COST_TRIES
        records = 2 * len(self.reads) + len(self.steps) + len(self.work) + sum(map(len, self.marks.values()))
        return self.own_seconds + record_seconds * records


def may_compute() -> bool:
    """Whether nobody would notice operators of the tracer's: no mode of the script's, and no profiler."""
    is_profiled = torch._C._autograd._profiler_enabled()  # noqa: SLF001  there is no public name
    return not is_profiled and not torch._C._len_torch_dispatch_stack()  # noqa: SLF001  as above


def _is_library(path: Path, script: Path) -> bool:
    """Whether a file belongs to an installed or installable package that the script is not a part of.

    Such a package may lie beside the script: in an environment of its own, or in the checkout of a library that has the
    script among its examples.
    """
    if not {"site-packages", "dist-packages"}.isdisjoint(path.parts):
        return True
    for folder in path.parents:
        if (folder / "__init__.py").exists():
            continue  # inside a package
        name = path.relative_to(folder).parts[0]
        if script.is_relative_to(folder / name):
            return False
        return any(_builds(root, name) for root in (folder, folder.parent))
    return False


def _builds(root: Path, name: str) -> bool:
    """Whether the folder is the source of a distribution with this package: `name`, with - or _."""
    for file in ("pyproject.toml", "setup.cfg", "setup.py"):
        path = root / file
        if path.is_file():
            text = path.read_text(encoding="utf-8", errors="replace").replace("-", "_")
            if re.search(rf"""name\s*=\s*["']?{re.escape(name)}["']?\s*$""", text, re.MULTILINE | re.IGNORECASE):
                return True
            if re.search(rf"""name\s*=\s*["']{re.escape(name)}["']""", text, re.IGNORECASE):
                return True
    return False


def device_of(module: nn.Module) -> torch.device | None:
    """The device of a model's parameters; None if it has none."""
    parameter = next(module.parameters(), None)
    return None if parameter is None else parameter.device
