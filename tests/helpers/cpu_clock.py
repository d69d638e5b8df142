"""Importing this replaces the clocks by the CPU time that the process used, and the time that it wanted to sleep.

What a script then measures does not depend on what else the machine does.
"""

import time

cpu_seconds = time.process_time
"""The function itself: the tracer may replace it in its module."""


class Clock:
    """Stands in for the functions of the `time` module."""

    slept = 0.0

    def read(self) -> float:
        return cpu_seconds() + self.slept

    def read_ns(self) -> int:
        return int(self.read() * 1e9)

    def sleep(self, seconds: float) -> None:
        self.slept += max(0.0, seconds)


clock = Clock()
for name in ("time", "perf_counter", "monotonic"):
    setattr(time, name, clock.read)
    setattr(time, f"{name}_ns", clock.read_ns)
setattr(time, "sleep", clock.sleep)  # noqa: B010  of another type
