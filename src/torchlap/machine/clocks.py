"""Whether the machine slept, or its clock was set, during a lap: its clocks then disagree about how long that took."""

import sys
import time

from msgspec import Struct

JUMP_SECONDS = 1.0
"""Clocks that are read one after the other on a busy machine differ by less."""

TRIES, TOGETHER_SECONDS = 5, 0.01
"""The clocks are read again if something came between the readings."""

AWAKE, ALWAYS = (8, time.CLOCK_MONOTONIC) if sys.platform == "darwin" else (time.CLOCK_MONOTONIC, 7)
"""A clock that stands still while the machine sleeps, and one that does not: 8 is macOS's
CLOCK_UPTIME_RAW, 7 Linux's CLOCK_BOOTTIME."""


class Moment(Struct, frozen=True):
    """The clocks at one moment, in seconds; `always` is None if the system has no such clock."""

    awake: float
    always: float | None
    wall: float


class Jump(Struct, frozen=True):
    """What the clocks disagree about, in seconds: how long the machine slept, and by how much its clock was set."""

    asleep: float
    wall: float


def read() -> Moment:
    """Read the clocks, as closely together as the machine allows."""
    for _ in range(TRIES):
        awake, wall, always = time.clock_gettime(AWAKE), time.time(), _always()
        if time.clock_gettime(AWAKE) - awake < TOGETHER_SECONDS:
            break
    return Moment(awake, always, wall)


def _always() -> float | None:
    try:
        return time.clock_gettime(ALWAYS)
    except OSError:
        return None


def jump(before: Moment, after: Moment) -> Jump | None:
    """What happened to the clocks in between; None if they agree.

    After a sleep the wall clock is right again, so only what it differs by beyond the sleep was set.
    """
    awake = after.awake - before.awake
    asleep = 0.0 if before.always is None or after.always is None else after.always - before.always - awake
    wall = after.wall - before.wall - awake - asleep
    if max(abs(asleep), abs(wall)) < JUMP_SECONDS:
        return None
    return Jump(max(0.0, asleep), wall)
