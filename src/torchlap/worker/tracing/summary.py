"""Make a trace from the log: sums by line and by span.

Tensors are looked at only at the script's end, on its own thread: while it runs, backward writes gradients on threads
of its own, and whoever reads one meanwhile corrupts the process's memory.
"""

import linecache
import os
from collections.abc import Iterable, Sequence
from math import isfinite
from pathlib import Path
from typing import Any

import torch
from msgspec import Struct
from msgspec.structs import replace
from torch.backends import cudnn

from torchlap.schema.trace import (
    SCHEMA,
    Compiled,
    Copies,
    DeadOutputs,
    Denormals,
    Ending,
    Formats,
    Held,
    Loader,
    Losses,
    Memory,
    Noticed,
    Place,
    Scaled,
    Searched,
    Shapes,
    Slow,
    Tf32,
    Threads,
    Trace,
)
from torchlap.worker.tracing.compiler import Compiler
from torchlap.worker.tracing.data import Copied, Data, Loaded, cores, cpus
from torchlap.worker.tracing.gradients import MOST_NAMES, Counted, Dead, Gradients, Optimized
from torchlap.worker.tracing.learning import Learning
from torchlap.worker.tracing.load import Load
from torchlap.worker.tracing.log import Log, now
from torchlap.worker.tracing.memory import Memory as Sampled
from torchlap.worker.tracing.timings import Timings
from torchlap.worker.tracing.unwatched import kept_losses, unwatched
from torchlap.worker.tracing.values import Searched as Recorded

MOST_SECONDS = 1000
RARE = 2
LONGEST_LINE = 1000
TF32_WORDS = ("allow_tf32", "fp32_precision", "set_float32_matmul_precision")
ACCELERATORS = ("cuda", "mps", "xpu", "accelerator")
THREADS_WORDS = ("set_num_threads", "OMP_NUM_THREADS")


class Summary:
    """Makes a trace of what was recorded so far."""

    def __init__(
        self, log: Log, learning: Learning, data: Data, memory: Sampled, *, compiler: Compiler, load: Load
    ) -> None:
        self.log, self.learning, self.data, self.memory, self.compiler = log, learning, data, memory, compiler
        self._compilations = compiler.compilations()
        self.timings = Timings(log, self._compilations, load)

    def trace(self, ending: Ending, exit_code: int, error: str, *, children: float, at_end: bool) -> Trace:
        """The whole trace; `at_end` reads losses, gradients and outputs, which waits for the devices."""
        made = self._trace(ending, exit_code, error, children=children, at_end=at_end)
        return replace(made, lines=_source(self.log, _places(made)))

    def _trace(self, ending: Ending, exit_code: int, error: str, *, children: float, at_end: bool) -> Trace:
        end = now()
        timings = self.timings
        return Trace(
            schema=SCHEMA,
            script=self.log.script.name,
            ending=ending,
            exit_code=exit_code,
            error=error,
            seconds=end - self.log.begun,
            tracer_seconds=self.log.cost(),
            looked_seconds=self.log.waited_seconds,
            devices=self._trained_on(),
            models=_models(self.log),
            steps=len(timings.steps),
            spans=timings.spans(),
            parts=timings.parts(),
            turns=timings.turns(),
            by_backward=timings.by_backward,
            unwatched=tuple(unwatched(self.log)),
            children_seconds=children,
            portable=any(_line_with(Path(file), ACCELERATORS) for file in sorted(self.log.files)),
            quotients=timings.quotients(),
            **self._of_learning(at_end=at_end),
            **self._of_settings(),
            **self._of_values(),
            hidden=tuple(Noticed(Place(file, 1), words) for file, words in self.log.hidden.items()),
            copies=tuple(_copies(place, copied) for place, copied in self.data.copies.items()),
            loaders=tuple(self._loader(loaded) for loaded in self.data.loaders if loaded.read),
            memory=Memory(samples=tuple(self.memory.samples), kept=tuple(kept_losses(self.log))),
            truncated=self.log.truncated,
        )

    def _of_settings(self) -> dict[str, Any]:
        """The trace's fields about how the devices and the compiler are set up."""
        threads_set = _line_with(self.log.script, THREADS_WORDS)
        return {
            "threads": Threads(
                threads=torch.get_num_threads(),
                cores=cores(),
                cpus=cpus(),
                processes=_processes(),
                place=threads_set,
            ),
            "tf32": self._tf32(),
            "fallbacks": tuple(Noticed(place, words, count) for (place, words), count in self.data.fallbacks.items()),
            "compiled": tuple(self._compiled()),
            "graph_breaks": self.compiler.graph_breaks(),
            "breaks": tuple(Noticed(place, "", count) for place, count in self.compiler.breaks().items()),
            "autocasts": tuple(Noticed(each.place, each.kind, each.count) for each in self.compiler.autocasts.values()),
            "scaled": tuple(
                Scaled(place=each.place, steps=each.steps, skipped=each.skipped)
                for each in self.compiler.scaled.values()
            ),
        }

    def _of_values(self) -> dict[str, Any]:
        """The trace's fields about values, formats and shapes that make operators slow."""
        values = self.learning.values
        setting = _line_with(self.log.script, ("cudnn.benchmark",))
        return {
            "slow": tuple(
                Slow(
                    place=each.place,
                    operator=each.operator,
                    factor=each.factor,
                    words=each.words,
                    count=each.count,
                )
                for each in values.slow.values()
            ),
            "formats": tuple(
                Formats(place=each.place, convolutions=each.convolutions, converted=each.converted, looks=each.looks)
                for each in values.formats.values()
            ),
            "searched": tuple(_searched(each, setting) for each in values.searched.values()),
        }

    def _compiled(self) -> Iterable[Compiled]:
        for place in dict.fromkeys(mark.place for mark in self._compilations):
            marks = [mark for mark in self._compilations if mark.place == place]
            seconds = max(0.0, sum(mark.end - mark.start for mark in marks))
            yield Compiled(place=place, count=len(marks), seconds=seconds, limit=self.compiler.limit())

    def _trained_on(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(step.device for step in self.timings.steps))

    def _of_learning(self, *, at_end: bool) -> dict[str, Any]:
        """The trace's fields about losses, gradients and optimizers."""
        learning, gradients = self.learning, self.learning.gradients
        return {
            "losses": tuple(_losses(learning)) if at_end else (),
            "shapes": tuple(Shapes(place, words, counted.count) for (place, words), counted in learning.shapes.items()),
            "dead_outputs": tuple(_dead(gradients)) if at_end else (),
            "optimizers": tuple(_held(optimized) for optimized in gradients.optimizers if optimized.steps),
            "unheld": tuple(self._unheld()) if at_end else (),
            "cannot_run": tuple(
                Noticed(place, counted.words, counted.count) for (place, _), counted in learning.refused.items()
            ),
            "in_eval": _noticed(learning.in_eval if self.log.optimizer_steps else learning.in_eval_backward),
            "softmax_twice": _noticed(learning.softmax_twice),
            "accumulated": _noticed(gradients.accumulated),
            "float64": _noticed(gradients.float64),
            "float64_default": torch.get_default_dtype() == torch.float64,
            "denormals": tuple(
                Denormals(place=place, words=words, share=found.share, step=found.step, first=found.first)
                for (place, words), found in gradients.denormals.found.items()
            ),
        }

    def _unheld(self) -> Iterable[Noticed]:
        count, elements, names = self.learning.unheld()
        made = next((optimized.made for optimized in self.learning.gradients.optimizers), None)
        if count and made:
            yield Noticed(made, f"{count} parameters ({elements} elements), such as {', '.join(names)}", count)

    def _loader(self, loaded: Loaded) -> Loader:
        return Loader(
            made=loaded.made,
            read=loaded.read or loaded.made,
            workers=loaded.workers,
            pinned=loaded.pinned,
            pinned_used=self.data.pinned_used,
            epochs=loaded.epochs,
            batches=loaded.batches,
            waited_seconds=loaded.waited,
            started_seconds=loaded.started,
            first_seconds=loaded.first,
            iterated_seconds=loaded.iterated,
            persistent=loaded.persistent,
            trains_on=self._trained_on(),
        )

    def _tf32(self) -> Tf32 | None:
        """The setting at the end, if the script uses an NVIDIA GPU."""
        if not any(device.type == "cuda" for device in self.log.waiters):
            return None
        matmul = torch.backends.cuda.matmul.fp32_precision == "tf32"
        convolution = cudnn.conv.fp32_precision == "tf32"  # type: ignore[attr-defined]  # torch's types lack it
        return Tf32(matmul=matmul, convolution=convolution, place=_line_with(self.log.script, TF32_WORDS))


def _copies(place: Place, copied: Copied) -> Copies:
    return Copies(
        place=place,
        kind=copied.kind,
        count=copied.count,
        bytes=copied.bytes,
        seconds=copied.seconds,
        same=copied.same,
        unpinned=copied.unpinned,
    )


def _searched(searched: Recorded, setting: Place | None) -> Searched:
    return Searched(
        place=searched.place,
        calls=searched.calls,
        shapes=len(searched.shapes),
        rare=sum(count for count in searched.shapes.values() if count <= RARE),
        examples=tuple(searched.shapes)[:MOST_NAMES],
        setting=setting,
    )


def _processes() -> int:
    """How many processes torchrun has started on this machine; 1 without it."""
    size = os.environ.get("LOCAL_WORLD_SIZE", "")
    return int(size) if size.isdecimal() and int(size) else 1


def _line_with(script: Path, words: Sequence[str]) -> Place | None:
    """The first line of the script whose code contains one of the words."""
    text = script.read_text(encoding="utf-8", errors="replace") if script.is_file() else ""
    lines = enumerate(text.splitlines(), start=1)
    return next(
        (Place(script.name, number) for number, line in lines if any(word in line.partition("#")[0] for word in words)),
        None,
    )


def _places(value: object) -> Iterable[Place]:
    """All places that a trace names."""
    if isinstance(value, Place):
        yield value
    elif isinstance(value, Struct):
        for name in value.__struct_fields__:
            yield from _places(getattr(value, name))
    elif isinstance(value, tuple):
        for each in value[:MOST_SECONDS]:
            yield from _places(each)


def _source(log: Log, places: Iterable[Place]) -> dict[str, str]:
    """The source of lines, by `file:line`."""
    wanted: dict[str, set[int]] = {}
    for place in places:
        wanted.setdefault(place.file, set()).add(place.line)
    lines = {}
    for filename in log.files:
        numbers = wanted.get(log.name_of(filename) or "", ())
        for number in numbers:
            text = linecache.getline(filename, number).rstrip("\n")
            if text:
                lines[f"{log.name_of(filename)}:{number}"] = text[:LONGEST_LINE]
    return lines


def _models(log: Log) -> dict[str, str]:
    """The model of each device that the script uses."""
    models = {}
    for device in log.waiters:
        module = torch.get_device_module(device)
        if hasattr(module, "get_device_name"):
            models[str(device)] = str(module.get_device_name(device))
    return models


def _losses(learning: Learning) -> Iterable[Losses]:
    for (place, _), kept in learning.losses.items():
        values = [float(value) for value in kept.values]
        yield Losses(
            place=place,
            count=kept.count,
            values=tuple(value if isfinite(value) else None for value in values),
            every=kept.every,
            classes=kept.classes,
        )


def _dead(gradients: Gradients) -> Iterable[DeadOutputs]:
    """Outputs that no loss uses: several losses of a model may use some each."""
    heads: dict[int, list[Dead]] = {}
    for (_, head), found in gradients.dead.items():
        heads.setdefault(head, []).append(found)
    for head, places in heads.items():
        rows = places[0].rows
        for other in places[1:]:
            rows = rows & other.rows
        dead, first = int(rows.sum()), places[0]
        if dead and head not in gradients.by_value:
            yield DeadOutputs(
                place=first.place, dead=dead, outputs=first.outputs, parameter=first.parameter, looks=first.checks
            )


def _held(optimized: Optimized) -> Held:
    without = [key for key in optimized.names if key in optimized.missing and key not in optimized.frozen]
    return Held(
        made=optimized.made,
        stepped=optimized.stepped or optimized.made,
        kind=optimized.kind,
        steps=optimized.steps,
        parameters=len(optimized.names) - len(optimized.frozen),
        elements=sum(optimized.elements.values()),
        without_gradient=len(without),
        elements_without=sum(optimized.elements[parameter] for parameter in without),
        names=tuple(optimized.names[parameter] for parameter in without[:MOST_NAMES]),
        unchanged=not optimized.changed and optimized.steps > MOST_NAMES,
    )


def _noticed(counts: dict[Place, Counted]) -> tuple[Noticed, ...]:
    return tuple(Noticed(place, counted.words, counted.count) for place, counted in counts.items())
