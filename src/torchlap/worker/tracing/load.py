"""Watch what else the machine does: the CPU time of all other processes, sampled after training steps."""

import resource
import sys
from bisect import bisect_left, bisect_right
from math import inf
from time import process_time
from typing import Any

import psutil
from msgspec import Struct, field

from torchlap.worker.tracing.log import Log, now

PAUSE_SECONDS = 0.1
MOST_SAMPLES = 2048


class Load(Struct):
    """CPU seconds that other processes have used so far, by time; workers of the script's own are not others."""

    samples: list[tuple[float, float]] = field(default_factory=list)
    pause: float = PAUSE_SECONDS

    def record(self, log: Log) -> None:
        """Take a sample, unless the last one is recent."""
        start = now()
        if self.samples and start - self.samples[-1][0] < self.pause:
            return
        busy = psutil.cpu_times()
        idle = sum(getattr(busy, name, 0.0) for name in ("idle", "iowait", "guest", "guest_nice"))
        self.samples.append((start, sum(busy) - idle - process_time() - children_seconds()))
        if len(self.samples) >= MOST_SAMPLES:
            self.samples, self.pause = self.samples[::2], 2 * self.pause
        log.own_seconds += now() - start

    def between(self, start: float, end: float) -> float | None:
        """How many CPUs other processes used on average, between two times; None if there are no samples near them."""
        first = bisect_right(self.samples, (start + self.pause, inf)) - 1
        last = bisect_left(self.samples, (end - self.pause, -inf))
        if first < 0 or last <= first or last == len(self.samples):
            return None
        before, after = self.samples[first], self.samples[last]
        return max(0.0, (after[1] - before[1]) / (after[0] - before[0]))


def children_seconds() -> float:
    """The CPU time of child processes that have ended, and of `multiprocessing`'s that have not."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    module: Any = sys.modules.get("multiprocessing.process")
    alive = [child.pid for child in tuple(getattr(module, "_children", ()))]
    return usage.ru_utime + usage.ru_stime + sum(map(_seconds, alive))


def _seconds(pid: int) -> float:
    try:
        times = psutil.Process(pid).cpu_times()
    except psutil.Error:  # it has just ended
        return 0.0
    return float(times.user + times.system)


def install(log: Log) -> Load:
    """Watch from here on."""
    load = Load()
    log.after_step.append(lambda: load.record(log))
    return load
