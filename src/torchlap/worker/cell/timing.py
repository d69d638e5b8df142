"""Laps, and the warm-up before them. The clock is read only when the device has no work pending."""

import time
from collections.abc import Callable, Sequence
from math import ceil, inf

from msgspec import Struct

LAP_SECONDS = 0.05
LEAST_STEPS = 3
MOST_WARM_UP_STEPS = 10_000
LEVEL = 0.97
"""A cell is warm when its last lap was less than 3 % faster than the best lap before it."""

SYNCHRONIZE_TRIES = 5
PROGRESS_SECONDS = 1.0
WATCHED_STEPS, MOST_WATCHED = 2, 10
SETTLE_POLL_SECONDS = 0.002
SETTLED_SHARE = 0.25


class Beat:
    """Reports a count as a sign of life, about once a second."""

    def __init__(self, report: Callable[[int], None]) -> None:
        self._report, self._last = report, time.perf_counter()

    def __call__(self, count: int) -> None:
        """Report the count if the last report is long enough ago."""
        now = time.perf_counter()
        if now - self._last > PROGRESS_SECONDS:
            self._last = now
            self._report(count)


class WarmUp(Struct, frozen=True):
    """How a cell was warmed up: `step_seconds` is of the last lap, `seconds` of the whole warm-up."""

    first_step_seconds: float
    steps: int
    seconds: float
    steady: bool
    step_seconds: float


def lap(step: Callable[[], None], synchronize: Callable[[], None], steps: int) -> float:
    """Run `steps` steps; returns the seconds from an idle device to an idle device."""
    laps: list[float] = []
    turn(step, synchronize, steps, laps=1, lead_in=0, after_lap=laps.append)
    return laps[0]


def turn(
    step: Callable[[], None],
    synchronize: Callable[[], None],
    steps: int,
    *,
    laps: int,
    lead_in: int,
    after_lap: Callable[[float], None],
    seconds: float = inf,
    before_laps: Callable[[], None] = lambda: None,
) -> None:
    """Run up to `laps` laps of `steps` steps each in a row, until they took `seconds`, after `lead_in` untimed steps.

    Before the first lap, when the device is idle, `before_laps` is called. After each lap, `after_lap` is called with
    its seconds, from an idle device to an idle device. Python's garbage is collected when Python sees fit, as in any
    loop: a collection before each turn would put off the long ones forever.
    """
    for _ in range(lead_in):
        step()
    synchronize()
    before_laps()
    spent = 0.0
    for _ in range(laps):
        begun = time.perf_counter()
        for _ in range(steps):
            step()
        synchronize()
        took = time.perf_counter() - begun
        after_lap(took)
        spent += took
        if spent >= seconds:
            break


def is_level(laps: Sequence[float]) -> bool:
    """Whether laps, in seconds a step, no longer get faster."""
    return len(laps) > 1 and laps[-1] >= LEVEL * min(laps[:-1])


def warm_up(
    run_lap: Callable[[int], float],
    limit_seconds: float,
    progress: Callable[[str], None],
    earlier_seconds: Sequence[float] = (),
    *,
    compiles: bool = False,
    cold_steps: int = 1,
) -> WarmUp:
    """Run laps until they are level, or until the next one would exceed the limit.

    Args:
        run_lap: runs a number of steps, and returns their seconds.
        limit_seconds: for all steps but the first.
        progress: called after every lap.
        earlier_seconds: seconds of single steps of the same kind that were already run, the first of them cold.
        compiles: the first step compiles, so that it says nothing about the next one, which is run in any case.
        cold_steps: so many steps at first say nothing about those that follow, such as one that is captured.
    """
    spent = list(earlier_seconds) or [run_lap(1) for _ in range(cold_steps)]
    laps, steps, total = spent[cold_steps:], len(spent), sum(spent)
    while not (steps >= LEAST_STEPS and is_level(laps)) and steps < MOST_WARM_UP_STEPS:
        last = (laps or spent)[-1]
        count = max(1, ceil(LAP_SECONDS / last))
        if (laps or not compiles) and total - spent[0] + count * last > limit_seconds:
            break
        seconds = run_lap(count)
        laps.append(seconds / count)
        steps, total = steps + count, total + seconds
        progress(f"warming up, {steps} steps")
    steady = steps >= LEAST_STEPS and is_level(laps)
    return WarmUp(spent[0], steps, total, steady, (laps or spent)[-1])


def watch(step: Callable[[], None], synchronize: Callable[[], None], laps: int) -> tuple[float, float]:
    """Time short laps that each start on an idle device: seconds to enqueue a step, and seconds of a step.

    The laps have `WATCHED_STEPS` steps: with more, the device's queue fills up, and enqueuing waits for the device.
    """
    enqueued, total = 0.0, 0.0
    for _ in range(laps):
        synchronize()
        begun = time.perf_counter()
        for _ in range(WATCHED_STEPS):
            step()
        enqueued += time.perf_counter() - begun
        synchronize()
        total += time.perf_counter() - begun
    return enqueued / laps / WATCHED_STEPS, total / laps / WATCHED_STEPS


def synchronize_seconds(synchronize: Callable[[], None]) -> float:
    """The cost of a synchronization with no work pending: the least of a few tries."""
    synchronize()
    tries = []
    for _ in range(SYNCHRONIZE_TRIES):
        begun = time.perf_counter()
        synchronize()
        tries.append(time.perf_counter() - begun)
    return min(tries)


def settle(limit_seconds: float) -> None:
    """Wait until this process's threads have stopped spinning, so that they do not slow the next cell's lap down.

    Thread pools spin for a while after their last work: up to 200 ms in LLVM's OpenMP, a few in GNU's.
    """
    end = time.perf_counter() + limit_seconds
    while time.perf_counter() < end:
        used, begun = time.process_time(), time.perf_counter()
        time.sleep(SETTLE_POLL_SECONDS)
        if time.process_time() - used < SETTLED_SHARE * (time.perf_counter() - begun):
            return
