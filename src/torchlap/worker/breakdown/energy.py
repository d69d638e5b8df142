"""How much energy steps use, in a few windows after the timed laps."""

import time
from math import ceil

from msgspec import Struct

from torchlap.schema.breakdown import EnergyWindow
from torchlap.worker.cell.bench import Bench
from torchlap.worker.cell.step import Step
from torchlap.worker.meters import NoMeterError, meter

WINDOWS, WINDOW_SECONDS = 3, 0.25
"""Drivers update their counters about ten times a second."""


class Energy(Struct, frozen=True):
    """The energy of some steps and the meter's name, or the reason why there is none."""

    windows: tuple[EnergyWindow, ...] = ()
    meter: str = ""
    reason: str = ""


def measure_energy(bench: Bench, step: Step, step_seconds: float, end: float) -> Energy:
    """Run some windows of steps, if there is a meter, and time until `end` by `time.perf_counter`."""
    try:
        counter = meter(bench.device)
    except NoMeterError as none:
        return Energy(reason=str(none))
    steps = ceil(WINDOW_SECONDS / step_seconds)
    if time.perf_counter() + WINDOWS * steps * step_seconds > end:
        return Energy(reason="Energy: out of time; raise --budget.")
    windows = []
    for _ in range(WINDOWS):
        bench.synchronize()
        begun, before = time.perf_counter(), counter.read()
        for _ in range(steps):
            step()
        bench.synchronize()
        joules = max(0.0, counter.read() - before)
        windows.append(EnergyWindow(joules, time.perf_counter() - begun, steps))
    return Energy(tuple(windows), counter.name)
