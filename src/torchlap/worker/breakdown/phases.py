"""How long each phase of a step takes, by the device's own events where they are reliable, else by the host's clock."""

import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any

import torch
from msgspec import Struct

from torchlap.schema.workload import StepPhase
from torchlap.worker.cell.bench import Bench
from torchlap.worker.cell.step import Step

MOST_STEPS = 10
"""In phases; and as many whole steps, in turns with them."""

EVENTS = 8 * MOST_STEPS
"""A step in phases has six, a whole one two."""

WITH_EVENTS = ("cuda", "xpu")
"""Devices whose timing events are used. MPS's are unreliable before torch 2.15, and have not been tested here."""

Span = tuple[int, StepPhase | None, float]
"""The number of a step, one of its phases, and seconds."""

PhaseSeconds = dict[StepPhase | None, list[float]]
"""Seconds by phase; None is the whole step."""


class Phases(Struct, frozen=True):
    """Seconds of each phase, one value a step; of whole steps, run in turns with them; and who timed them."""

    phases: dict[StepPhase, tuple[float, ...]]
    steps: tuple[float, ...]
    by_events: bool


def time_phases(bench: Bench, step: Step, most: int) -> Phases:
    """Run steps in phases and whole steps in turns, at most `most`, at least one of each."""
    clock = _clock(bench)
    bench.synchronize()
    for number in range(max(2, min(2 * MOST_STEPS, most))):
        clock.begin()
        if number % 2 == 0:
            step.phased(clock.mark)
        else:
            step()
            clock.mark(None)
    bench.synchronize()
    seconds = clock.seconds()
    phases = {phase: tuple(values) for phase, values in seconds.items() if phase}
    return Phases(phases, tuple(seconds.get(None, ())), isinstance(clock, _EventClock))


def _clock(bench: Bench) -> "_HostClock | _EventClock":
    if bench.device.type in WITH_EVENTS:
        with suppress(RuntimeError, NotImplementedError):
            return _EventClock(bench.device)
    return _HostClock(bench.synchronize)


class _HostClock:
    """Reads the host's clock after synchronizing at the end of each phase."""

    def __init__(self, synchronize: Callable[[], None]) -> None:
        self._synchronize = synchronize
        self._last, self._step = 0.0, 0
        self._spans: list[Span] = []

    def begin(self) -> None:
        self._step += 1
        self._last = time.perf_counter()

    def mark(self, phase: StepPhase | None) -> None:
        self._synchronize()
        now = time.perf_counter()
        self._spans.append((self._step, phase, now - self._last))
        self._last = now

    def seconds(self) -> PhaseSeconds:
        return _summed(self._spans)


class _EventClock:
    """Has the device record the time at the end of each phase, so that nothing waits."""

    def __init__(self, device: torch.device) -> None:
        self._unused = [torch.Event(device=device, enable_timing=True) for _ in range(EVENTS)]
        for event in self._unused:
            event.record()  # the first recording creates the event, which takes the host longer
        self._device = device
        self._begun: Any = None
        self._step = 0
        self._marks: list[tuple[int, StepPhase | None, Any, Any]] = []

    def begin(self) -> None:
        self._step += 1
        self._begun = self._now()

    def mark(self, phase: StepPhase | None) -> None:
        now = self._now()
        self._marks.append((self._step, phase, self._begun, now))
        self._begun = now

    def _now(self) -> torch.Event:
        event = self._unused.pop() if self._unused else torch.Event(device=self._device, enable_timing=True)
        event.record()
        return event

    def seconds(self) -> PhaseSeconds:
        return _summed(
            (step, phase, max(0.0, before.elapsed_time(after) / 1000)) for step, phase, before, after in self._marks
        )


def _summed(spans: Iterable[Span]) -> PhaseSeconds:
    """The seconds of each phase, one value a step, which may have a phase several times."""
    sums: dict[tuple[StepPhase | None, int], float] = {}
    for step, phase, seconds in spans:
        sums[phase, step] = sums.get((phase, step), 0.0) + seconds
    by_phase: PhaseSeconds = {}
    for (phase, _), seconds in sums.items():
        by_phase.setdefault(phase, []).append(seconds)
    return by_phase
