"""Laps, and warming up until they are level. The clock is read only when the device has nothing left to do."""

import gc
import time
from collections.abc import Callable, Sequence
from math import ceil

from msgspec import Struct

LAP_SECONDS = 0.05
LEAST_STEPS = 3
MOST_WARM_UP_STEPS = 10_000
LEVEL = 0.97
"""Steps are level when the last lap gained less than 3 % on the best before it."""

SYNCHRONIZE_TRIES = 5
BEAT_SECONDS = 1.0
WATCHED_STEPS, MOST_WATCHED = 2, 10
SETTLE_SECONDS = 0.5
SETTLE_LOOK_SECONDS = 0.002
SETTLED_SHARE = 0.25


class Beat:
    """Passes on a count, as a sign of life, every second or so."""

    def __init__(self, tell: Callable[[int], None]) -> None:
        self._tell, self._last = tell, time.perf_counter()

    def __call__(self, count: int) -> None:
        """Pass it on if the last was told long enough ago."""
        now = time.perf_counter()
        if now - self._last > BEAT_SECONDS:
            self._last = now
            self._tell(count)


class WarmUp(Struct, frozen=True):
    """How a cell got warm. `step_seconds` is the last lap's, `seconds` all that the warm-up took."""

    first_step_seconds: float
    steps: int
    seconds: float
    steady: bool
    step_seconds: float


def lap(step: Callable[[], None], synchronize: Callable[[], None], steps: int, lead_in: int = 0) -> float:
    """Run `steps` steps after `lead_in` untimed ones; seconds from an idle device to an idle device."""
    gc.collect()
    gc.disable()
    try:
        for _ in range(lead_in):
            step()
        synchronize()
        begun = time.perf_counter()
        for _ in range(steps):
            step()
        synchronize()
        return time.perf_counter() - begun
    finally:
        gc.enable()


def is_level(laps: Sequence[float]) -> bool:
    """Tell whether the seconds a step no longer fall."""
    return len(laps) > 1 and laps[-1] >= LEVEL * min(laps[:-1])


def warm_up(
    run_lap: Callable[[int], float],
    limit_seconds: float,
    progress: Callable[[str], None],
    seen: Sequence[float] = (),
) -> WarmUp:
    """Run laps until they are level, or until the next would pass the limit; the first step does not count towards it.

    Args:
        run_lap: runs so many steps and returns their seconds.
        limit_seconds: for all but the first step.
        progress: told after every lap.
        seen: seconds of single steps of the same kind that were run already, the first of them cold.
    """
    spent = list(seen) or [run_lap(1)]
    laps, steps, total = spent[1:], len(spent), sum(spent)
    while not (steps >= LEAST_STEPS and is_level(laps)) and steps < MOST_WARM_UP_STEPS:
        last = (laps or spent)[-1]
        count = max(1, ceil(LAP_SECONDS / last))
        if total - spent[0] + count * last > limit_seconds:
            break
        seconds = run_lap(count)
        laps.append(seconds / count)
        steps, total = steps + count, total + seconds
        progress(f"warming up, {steps} steps")
    steady = steps >= LEAST_STEPS and is_level(laps)
    return WarmUp(spent[0], steps, total, steady, (laps or spent)[-1])


def watch(step: Callable[[], None], synchronize: Callable[[], None], laps: int) -> tuple[float, float]:
    """Of short laps that each begin on an idle device: seconds to enqueue a step, and seconds a step took.

    They are of `WATCHED_STEPS`: with more, the device's queue fills up, and enqueuing waits for the device.
    """
    enqueued, whole = 0.0, 0.0
    for _ in range(laps):
        synchronize()
        begun = time.perf_counter()
        for _ in range(WATCHED_STEPS):
            step()
        enqueued += time.perf_counter() - begun
        synchronize()
        whole += time.perf_counter() - begun
    return enqueued / laps / WATCHED_STEPS, whole / laps / WATCHED_STEPS


def synchronize_seconds(synchronize: Callable[[], None]) -> float:
    """What a synchronisation costs when there is nothing to wait for: the least of a few."""
    synchronize()
    tries = []
    for _ in range(SYNCHRONIZE_TRIES):
        begun = time.perf_counter()
        synchronize()
        tries.append(time.perf_counter() - begun)
    return min(tries)


def settle() -> None:
    """Wait until this process's threads have stopped spinning, so that they take nothing from the next cell's lap.

    Thread pools wait actively for more work after the last: up to 200 ms in LLVM's OpenMP, a few in GNU's.
    """
    end = time.perf_counter() + SETTLE_SECONDS
    while time.perf_counter() < end:
        used, begun = time.process_time(), time.perf_counter()
        time.sleep(SETTLE_LOOK_SECONDS)
        if time.process_time() - used < SETTLED_SHARE * (time.perf_counter() - begun):
            return
