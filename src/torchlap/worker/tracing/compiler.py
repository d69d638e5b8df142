"""Watch torch.compile, by the records that it keeps itself, and automatic mixed precision."""

import re
import sys
import time
from typing import Any

import torch
from msgspec import Struct

from torchlap.schema.trace import Place
from torchlap.worker.tracing import insert
from torchlap.worker.tracing.log import Log, Mark, now

MICROSECONDS = 1e-6
RESUMES = re.compile(r"torch_dynamo_resume_in_.*_at_(\d+)$")


class Autocast(Struct):
    """An autocast that the script requested for a kind of device, and how often."""

    place: Place
    kind: str
    count: int = 0


class Scaled(Struct):
    """A line that steps an optimizer through a GradScaler: how often, and how often the step was skipped."""

    place: Place
    steps: int = 0
    skipped: int = 0


class Compiler:
    """Records requests for mixed precision; compilations are read when the trace is made."""

    def __init__(self, log: Log) -> None:
        self.log = log
        self.autocasts: dict[tuple[Place, str], Autocast] = {}
        self.scaled: dict[Place, Scaled] = {}
        self._offset = time.time() - now()

    def record_autocast(self, arguments: tuple[Any, ...]) -> None:
        """Record that autocast was requested."""
        _, kind, _, enabled, *_ = arguments
        if self.log.active and enabled and isinstance(kind, str):
            place = self.log.place()
            self.autocasts.setdefault((place, kind), Autocast(place, kind)).count += 1

    def before_scaled(self, _arguments: tuple[Any, ...]) -> int:
        """A scaler is about to step an optimizer, or to skip that."""
        return self.log.optimizer_steps

    def after_scaled(self, before: int, result: object) -> object:
        """It did, or not."""
        if self.log.active:
            place = self.log.place()
            scaled = self.scaled.setdefault(place, Scaled(place))
            scaled.steps += 1
            scaled.skipped += self.log.optimizer_steps == before
        return result

    def compilations(self) -> list[Mark]:
        """When torch.compile compiled, and which function; it remembers the last 64."""
        module = sys.modules.get("torch._dynamo.utils")
        if module is None:
            return []
        return [
            Mark(
                metrics.start_time_us * MICROSECONDS - self._offset,
                metrics.end_time_us * MICROSECONDS - self._offset,
                Place(self.log.name_of(metrics.co_filename) or self.log.script.name, metrics.co_firstlineno or 0),
            )
            for metrics in module.get_compilation_metrics()
            if metrics.start_time_us and metrics.end_time_us and metrics.co_filename
        ]

    def limit(self) -> int:
        """How many versions of a function torch.compile makes at most; 0 if it was never used."""
        module = sys.modules.get("torch._dynamo.config")
        return int(module.recompile_limit) if module is not None else 0

    def breaks(self) -> dict[Place, int]:
        """The lines of the script after which compiled code begins anew, and how often each was compiled.

        The compiler names what follows a break after its line.
        """
        found: dict[Place, int] = {}
        module = sys.modules.get("torch._dynamo.utils")
        for metrics in module.get_compilation_metrics() if module is not None else ():
            match = RESUMES.search(metrics.co_name or "")
            file = self.log.name_of(metrics.co_filename) if match and metrics.co_filename else None
            if match and file is not None:
                place = Place(file, int(match[1]))
                found[place] = found.get(place, 0) + 1
        return found

    def graph_breaks(self) -> int:
        """Places at which a compiled function goes back to Python."""
        module = sys.modules.get("torch._dynamo.utils")
        return sum(module.counters["graph_break"].values()) if module is not None else 0


def install(log: Log) -> Compiler:
    """Watch from here on."""
    compiler = Compiler(log)
    insert.watch(torch.amp.autocast_mode.autocast.__init__, before=compiler.record_autocast)
    insert.watch(torch.amp.GradScaler.step, before=compiler.before_scaled, after=compiler.after_scaled)
    return compiler
