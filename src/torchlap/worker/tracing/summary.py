"""Make a trace from the log: sums by line and by span. Uses a device only to read the kept losses."""

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from itertools import pairwise
from math import isfinite
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch.backends import cudnn

from torchlap.schema.trace import (
    SCHEMA,
    Copies,
    DeadOutputs,
    Ending,
    Held,
    Line,
    Loader,
    Losses,
    Noticed,
    Place,
    Quotient,
    Shapes,
    Spans,
    Tf32,
    Threads,
    Trace,
)
from torchlap.worker.tracing.clocks import Clocks, Ratio
from torchlap.worker.tracing.data import Copied, Data, Loaded, cores
from torchlap.worker.tracing.learning import MOST_NAMES, Counted, Dead, Learning, Optimized
from torchlap.worker.tracing.log import Log, Mark, Span, Step, now

MOST_SECONDS = 1000
MOST_LINES = 10
MOST_TURNS = 1000
TF32_WORDS = ("allow_tf32", "fp32_precision", "set_float32_matmul_precision")

Kind = tuple[Place, tuple[str, ...], tuple[int, int]]
"""What spans have in common: the line, the devices, and the workload (number of parameters, and batch)."""


class Summary:
    """Makes a trace of what was recorded so far."""

    def __init__(self, log: Log, clocks: Clocks, learning: Learning, data: Data) -> None:
        self.log, self.clocks, self.learning, self.data = log, clocks, learning, data
        self._step_times = [step.at for step in log.steps]
        self._starts = {kind: [mark.start for mark in marks] for kind, marks in log.marks.items()}
        self._work_starts = [mark.start for mark in log.work]
        self._first_steps = {(step.device, step.size, step.batch): step.at for step in reversed(log.steps)}

    def trace(self, ending: Ending, exit_code: int, error: str, *, at_end: bool) -> Trace:
        """The whole trace; `at_end` reads the losses and tries loaders without workers, which takes a moment."""
        end = now()
        if at_end:
            for loaded in self.data.loaders:
                loaded.alone = self.data.seconds_without_workers(loaded) if loaded.epochs else None
        groups = self._groups()
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
            steps=len(self.log.steps),
            spans=tuple(self._spans(kind, group) for kind, group in groups.items()),
            turns=self._turns(groups),
            quotients=tuple(map(self._quotient, self.clocks.ratios[:MOST_SECONDS])),
            **self._of_learning(at_end=at_end),
            copies=tuple(_copies(place, copied) for place, copied in self.data.copies.items()),
            loaders=tuple(self._loader(loaded) for loaded in self.data.loaders if loaded.read),
            threads=Threads(threads=torch.get_num_threads(), cores=cores(), place=self.data.threads_set),
            tf32=self._tf32(),
            fallbacks=tuple(Noticed(place, words, count) for (place, words), count in self.data.fallbacks.items()),
            truncated=self.log.truncated,
        )

    def _trained_on(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(step.device for step in self.log.steps))

    def _turns(self, groups: dict[Kind, list[Span]]) -> tuple[str, ...]:
        """The devices of spans on a single device, in order, without repetitions in a row."""
        spans = sorted((span.start.at, self._devices(span)) for group in groups.values() for span in group)
        timed = [devices[0] for _, devices in spans if len(devices) == 1]
        turns = [device for number, device in enumerate(timed) if not number or timed[number - 1] != device]
        return tuple(turns[:MOST_TURNS])

    def _of_learning(self, *, at_end: bool) -> dict[str, Any]:
        """The trace's fields about losses, gradients and optimizers."""
        learning = self.learning
        return {
            "losses": tuple(_losses(learning)) if at_end else (),
            "shapes": tuple(Shapes(place, words, counted.count) for (place, words), counted in learning.shapes.items()),
            "dead_outputs": tuple(filter(None, map(_dead, learning.dead.values()))),
            "optimizers": tuple(_held(optimized) for optimized in learning.optimizers if optimized.steps),
            "unheld": tuple(self._unheld()),
            "cannot_run": _noticed(learning.cannot_run),
            "in_eval": _noticed(learning.in_eval),
            "accumulated": _noticed(learning.accumulated),
            "float64": _noticed(learning.float64),
            "denormals": _noticed(learning.denormal),
            "denormal_share": learning.denormal_share,
        }

    def _groups(self) -> dict[Kind, list[Span]]:
        """The spans around training steps, by kind."""
        groups: dict[Kind, list[Span]] = {}
        for span in self.log.spans:
            if self._steps(span):
                groups.setdefault((span.place, self._devices(span), self._workload(span)), []).append(span)
        return groups

    def _steps(self, span: Span) -> Sequence[Step]:
        return self.log.steps[bisect_left(self._step_times, span.start.at) : bisect_left(self._step_times, span.end.at)]

    def _devices(self, span: Span) -> tuple[str, ...]:
        return tuple(dict.fromkeys(step.device for step in self._steps(span)))

    def _workload(self, span: Span) -> tuple[int, int]:
        """How many parameters are trained in a span, and the largest batch: together they distinguish workloads."""
        steps = self._steps(span)
        return sum({step.size for step in steps}), max(step.batch for step in steps)

    def _spans(self, kind: Kind, group: list[Span]) -> Spans:
        place, devices, (parameters, batch) = kind
        measured = [span for span in group if span.end.pending_seconds is not None]
        first, first_span = self._first_step(group)
        return Spans(
            place=place,
            start=group[0].start.place,
            end=group[0].end.place,
            devices=devices,
            parameters=parameters,
            batch=batch,
            seconds=tuple(max(0.0, span.seconds) for span in group[:MOST_SECONDS]),
            count=len(group),
            steps=sum(len(self._steps(span)) for span in group),
            at_seconds=group[0].start.at - self.log.begun,
            total_seconds=max(0.0, sum(span.seconds for span in group)),
            by_events=group[0].by_events,
            unwaited=sum(span.end.unwaited for span in group),
            looked_at=len(measured),
            looked_at_seconds=sum(span.seconds for span in measured),
            unfinished_seconds=sum(span.end.pending_seconds or 0.0 for span in measured),
            first_step_seconds=first,
            first_span_seconds=first_span,
            step_seconds=self._typical_step(group),
            train_seconds=_overlap(self.log.work, self._work_starts, group),
            values=self._lines("value", group),
            inputs=self._lines("input", group),
            workers_started=self._lines("workers", group),
            evaluations=self._lines("evaluation", group),
            outputs=self._lines("output", group),
        )

    def _first_step(self, group: list[Span]) -> tuple[float, float]:
        """Seconds of a model's first step on a device, from its span's start, and of that span; 0 if it is in none."""
        for span in group:
            for step in self._steps(span):
                if self._first_steps[step.device, step.size, step.batch] == step.at:
                    return step.at - span.start.at, span.seconds
        return 0.0, 0.0

    def _typical_step(self, group: list[Span]) -> float:
        """The median time between the steps of a span."""
        times = [[step.at for step in self._steps(span)] for span in group[:MOST_SECONDS]]
        between = [later - earlier for steps in times for earlier, later in pairwise(steps)]
        return median(between) if between else 0.0

    def _lines(self, kind: str, group: list[Span]) -> tuple[Line, ...]:
        """What each line did of that kind within the spans; the lines that took longest first."""
        sums: dict[Place, tuple[int, float]] = {}
        marks, starts = self.log.marks[kind], self._starts[kind]
        for span in group:
            for mark in marks[bisect_left(starts, span.start.at) : bisect_left(starts, span.end.at)]:
                count, seconds = sums.get(mark.place, (0, 0.0))
                sums[mark.place] = count + 1, seconds + min(mark.end, span.end.at) - mark.start
        ordered = sorted(sums.items(), key=lambda pair: -pair[1][1])
        return tuple(Line(place, count, max(0.0, seconds)) for place, (count, seconds) in ordered[:MOST_LINES])

    def _quotient(self, ratio: Ratio) -> Quotient:
        above, below = ratio.above, ratio.below
        return Quotient(
            place=ratio.place,
            value=ratio.value if isfinite(ratio.value) else 0.0,
            above=self._devices_of(above),
            below=self._devices_of(below),
            of_parts=bool(above and below) and (_within(above, below) or _within(below, above)),
            printed=ratio.printed,
        )

    def _devices_of(self, spans: Iterable[Span]) -> tuple[str, ...]:
        return tuple(dict.fromkeys(device for span in spans for device in self._devices(span)))

    def _unheld(self) -> Iterable[Noticed]:
        count, elements, names = self.learning.unheld()
        made = next((optimized.made for optimized in self.learning.optimizers), None)
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
            alone_seconds=loaded.alone,
            trains_on=self._trained_on(),
        )

    def _tf32(self) -> Tf32 | None:
        """The setting at the end, if the script uses an NVIDIA GPU."""
        if not any(device.type == "cuda" for device in self.log.waiters):
            return None
        matmul = torch.backends.cuda.matmul.fp32_precision == "tf32"
        convolution = cudnn.conv.fp32_precision == "tf32"  # type: ignore[attr-defined]  # torch's types lack it
        return Tf32(
            matmul=matmul, convolution=convolution, place=self.data.tf32_set or _line_with(self.log.script, TF32_WORDS)
        )


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


def _line_with(script: Path, words: Sequence[str]) -> Place | None:
    """The first line of the script that contains one of the words."""
    lines = enumerate(script.read_text(encoding="utf-8", errors="replace").splitlines(), start=1)
    return next((Place(script.name, number) for number, line in lines if any(word in line for word in words)), None)


def _models(log: Log) -> dict[str, str]:
    """The model of each device that the script uses."""
    models = {}
    for device in log.waiters:
        module = torch.get_device_module(device)
        if hasattr(module, "get_device_name"):
            models[str(device)] = str(module.get_device_name(device))
    return models


def _overlap(marks: Sequence[Mark], starts: Sequence[float], group: Iterable[Span]) -> float:
    """Seconds of the marks that start within the spans."""
    return sum(
        min(mark.end, span.end.at) - mark.start
        for span in group
        for mark in marks[bisect_left(starts, span.start.at) : bisect_left(starts, span.end.at)]
    )


def _within(inner: Sequence[Span], outer: Sequence[Span]) -> bool:
    """Whether each of the inner spans is a part of one of the outer spans."""
    return all(
        any(whole.start.at <= part.start.at and part.end.at <= whole.end.at for whole in outer) for part in inner
    )


def _losses(learning: Learning) -> Iterable[Losses]:
    for (place, _), kept in learning.losses.items():
        values = [float(value) for value in kept.values]
        yield Losses(
            place=place,
            count=kept.count,
            values=tuple(value if isfinite(value) else None for value in values),
            every=kept.every,
        )


def _dead(outputs: Dead) -> DeadOutputs | None:
    dead = int(outputs.rows.sum())
    if not dead:
        return None
    return DeadOutputs(
        place=outputs.place, dead=dead, outputs=outputs.outputs, parameter=outputs.parameter, looks=outputs.checks
    )


def _held(optimized: Optimized) -> Held:
    without = [parameter for parameter in optimized.names if parameter not in optimized.with_gradient]
    return Held(
        made=optimized.made,
        stepped=optimized.stepped or optimized.made,
        kind=optimized.kind,
        steps=optimized.steps,
        parameters=len(optimized.names),
        elements=sum(optimized.elements.values()),
        without_gradient=len(without),
        elements_without=sum(optimized.elements[parameter] for parameter in without),
        names=tuple(optimized.names[parameter] for parameter in without[:MOST_NAMES]),
        unchanged=not optimized.changed and optimized.steps > MOST_NAMES,
    )


def _noticed(counts: dict[Place, Counted]) -> tuple[Noticed, ...]:
    return tuple(Noticed(place, counted.words, counted.count) for place, counted in counts.items())
