"""Watch whether each step leaves memory behind: the process's resident memory, or what torch allocated on a device."""

import resource
import sys
from pathlib import Path

import psutil
import torch
from msgspec import Struct, field

from torchlap.worker.tracing.log import Log, now

MOST_SAMPLES = 256
PAGE_BYTES = resource.getpagesize()


class Memory(Struct):
    """Bytes in use after steps: an even sample, with the number of the step."""

    samples: list[tuple[int, int]] = field(default_factory=list)
    every: int = 1
    process: psutil.Process = field(default_factory=psutil.Process)

    def record(self, log: Log) -> None:
        """Record the memory in use, after a step."""
        steps = len(log.steps) or len(log.backwards)
        if steps % self.every:
            return
        start = now()
        self.samples.append((steps, self._bytes(log)))
        if len(self.samples) >= MOST_SAMPLES:
            self.samples, self.every = self.samples[::2], 2 * self.every
        log.own_seconds += now() - start

    def _bytes(self, log: Log) -> int:
        for device in log.waiters:
            if device.type == "cuda":
                return int(torch.cuda.memory_allocated(device))
        if sys.platform == "linux":
            return PAGE_BYTES * int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
        return int(self.process.memory_info().rss)


def install(log: Log) -> Memory:
    """Watch the memory from here on."""
    memory = Memory()
    log.after_step.append(lambda: memory.record(log))
    return memory
