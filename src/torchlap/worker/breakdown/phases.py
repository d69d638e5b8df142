"""Where a step spends its time: some more steps after the timed laps, and what they cost whatever runs them."""

import time
from collections.abc import Callable
from contextlib import suppress
from math import ceil
from typing import Any

import torch

from torchlap.schema.breakdown import Breakdown, EnergyWindow, LoaderRate, OperatorCost
from torchlap.schema.messages import Explain
from torchlap.schema.workload import StepPhase
from torchlap.worker import devices
from torchlap.worker.breakdown.costs import Costs
from torchlap.worker.breakdown.energy import NoMeterError, meter
from torchlap.worker.cell.models import printable
from torchlap.worker.cell.recipes import Bench, Step

MOST_STEPS = 10
"""In phases, and as many whole ones in turns with them."""

PHASES_SHARE = 0.4
"""Of the time that there is, at most."""

WINDOWS, WINDOW_SECONDS = 3, 0.25
"""Of energy: drivers count it anew some ten times a second."""

LOADER_SECONDS, LEAST_BATCHES = 1.0, 2
MOST_SAID = 300
EVENTS = 8 * MOST_STEPS
"""A step in phases has six, a whole one two."""

WITH_EVENTS = ("cuda", "xpu")
"""Devices whose timing events are trusted; MPS's are not before torch 2.15, and none was tried here."""


def explain(bench: Bench, step: Step, request: Explain, say: Callable[[str], None]) -> Breakdown:
    """Look at a step that is warm, within about the limit; three steps are run in any case.

    What cannot be looked at is said, and does not keep the rest from being told. A compiled step's operators are those
    of the step before it was compiled.
    """
    begun = time.perf_counter()
    end = begun + request.limit_seconds
    say("looking at the phases of a step")
    peak = devices.watch_memory(bench.device)
    clock = _clock(bench)
    phases, steps = _phases(bench, step, clock, int(PHASES_SHARE * request.limit_seconds / request.step_seconds))
    memory = peak()
    left_out: list[str] = []
    loaders: list[LoaderRate] = []
    _unless_it_fails("The loader alone", lambda: _loaders(bench, end, say, loaders), left_out)
    say("measuring energy")
    energy = _Energy()
    _unless_it_fails("Energy", lambda: energy.measure(bench, step, request.step_seconds, end), left_out)
    say("counting operators")
    operators: list[OperatorCost] = []
    _unless_it_fails("Counting the operators", lambda: operators.extend(_count(bench, step)), left_out)
    return Breakdown(
        phases=phases,
        steps=steps,
        by_events=isinstance(clock, _EventClock),
        operators=tuple(operators),
        peak_memory_bytes=memory,
        energy=tuple(energy.windows),
        meter=energy.meter,
        no_energy=energy.none,
        loaders=tuple(loaders),
        left_out=tuple(left_out),
        seconds=time.perf_counter() - begun,
    )


def _unless_it_fails(what: str, look: Callable[[], None], left_out: list[str]) -> None:
    """Look; a failure is a sentence, for what was seen before stays true."""
    try:
        look()
    except Exception as error:  # noqa: BLE001  drivers, users' loaders and operators fail in many ways
        said = (printable(error).splitlines() or [""])[0][:MOST_SAID]
        left_out.append(f"{what} failed ({type(error).__name__}: {said}).")


def _phases(
    bench: Bench, step: Step, clock: "_HostClock | _EventClock", most: int
) -> tuple[dict[StepPhase, tuple[float, ...]], tuple[float, ...]]:
    """Seconds of each phase, a step each; and of whole steps, run in turns with those; one of each at least."""
    bench.synchronize()
    for number in range(max(2, min(2 * MOST_STEPS, most))):
        clock.begin()
        if number % 2 == 0:
            step.phased(clock.mark)
        else:
            step()
            clock.mark(None)
    bench.synchronize()
    seen = clock.seconds()
    return {phase: tuple(values) for phase, values in seen.items() if phase}, tuple(seen.get(None, ()))


def _clock(bench: Bench) -> "_HostClock | _EventClock":
    """The device's events, where they are trusted and it has them."""
    if bench.device.type in WITH_EVENTS:
        with suppress(RuntimeError, NotImplementedError):
            return _EventClock(bench.device)
    return _HostClock(bench.synchronize)


Seen = dict[StepPhase | None, list[float]]
"""Seconds by phase; None is the whole step."""


class _HostClock:
    """Reads the host's clock when the device has nothing left to do."""

    def __init__(self, synchronize: Callable[[], None]) -> None:
        self._synchronize = synchronize
        self._last = 0.0
        self._seen: Seen = {}

    def begin(self) -> None:
        self._last = time.perf_counter()

    def mark(self, phase: StepPhase | None) -> None:
        self._synchronize()
        now = time.perf_counter()
        self._seen.setdefault(phase, []).append(now - self._last)
        self._last = now

    def seconds(self) -> Seen:
        return self._seen


class _EventClock:
    """Has the device note the time when it comes to the end of each phase: nothing waits."""

    def __init__(self, device: torch.device) -> None:
        self._unused = [torch.Event(device=device, enable_timing=True) for _ in range(EVENTS)]
        for event in self._unused:
            event.record()  # the first time it is made, which takes the host longer
        self._begun: Any = None
        self._between: list[tuple[StepPhase | None, Any, Any]] = []

    def begin(self) -> None:
        self._begun = self._now()

    def mark(self, phase: StepPhase | None) -> None:
        now = self._now()
        self._between.append((phase, self._begun, now))
        self._begun = now

    def _now(self) -> torch.Event:
        event = self._unused.pop()
        event.record()
        return event

    def seconds(self) -> Seen:
        seen: Seen = {}
        for phase, before, after in self._between:
            seen.setdefault(phase, []).append(max(0.0, before.elapsed_time(after) / 1000))
        return seen


class _Energy:
    """What some steps took, by whom; or why that is not known."""

    def __init__(self) -> None:
        self.windows: list[EnergyWindow] = []
        self.meter = self.none = ""

    def measure(self, bench: Bench, step: Step, step_seconds: float, end: float) -> None:
        """Run some windows of steps, where somebody reads the device's energy and there is time."""
        try:
            counter = meter(bench.device)
        except NoMeterError as none:
            self.none = str(none)
            return
        steps = ceil(WINDOW_SECONDS / step_seconds)
        if time.perf_counter() + WINDOWS * steps * step_seconds > end:
            self.none = "Energy: no time was left for it: more --budget."
            return
        self.meter = counter.name
        for _ in range(WINDOWS):
            bench.synchronize()
            begun, before = time.perf_counter(), counter.read()
            for _ in range(steps):
                step()
            bench.synchronize()
            joules = max(0.0, counter.read() - before)
            self.windows.append(EnergyWindow(joules, time.perf_counter() - begun, steps))


def _loaders(bench: Bench, end: float, say: Callable[[str], None], rates: list[LoaderRate]) -> None:
    """How fast the DataLoader is alone, with its workers and, where it is ours, with twice as many."""
    needed = LOADER_SECONDS
    for count in bench.loader_workers:
        if time.perf_counter() + needed > end:
            break
        say(f"a loader of {count} workers alone")
        started = time.perf_counter()
        source = bench.loader(count)
        for _ in range(count + 1):  # they all have begun then
            source.fetch()
        begun, batches = time.perf_counter(), 0
        while batches < LEAST_BATCHES or time.perf_counter() - begun < LOADER_SECONDS / 2:
            source.fetch()
            batches += 1
        rates.append(LoaderRate(count, batches, time.perf_counter() - begun))
        needed = 2 * (time.perf_counter() - started)


def _count(bench: Bench, step: Step) -> tuple[OperatorCost, ...]:
    plain = step
    if bench.cell.recipe.compile:
        plain = bench.step(bench.layout, compiled=False)
        plain.find_scale()
        plain()  # an optimizer's first step makes its state
    with Costs("input") as costs:
        plain.phased(costs.ended)
    return costs.found()
