"""From what happened to a trace: sums by line and by span. No device is touched here but to read the kept losses."""

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
from torchlap.worker.tracing.data import Data, Loaded, cores
from torchlap.worker.tracing.learning import MOST_NAMES, Counted, Dead, Learning, Optimized
from torchlap.worker.tracing.log import Log, Mark, Step, Timed, now

MOST_SECONDS = 1000
MOST_LINES = 10
MOST_TURNS = 1000
TF32_WORDS = ("allow_tf32", "fp32_precision", "set_float32_matmul_precision")


Kind = tuple[Place, tuple[str, ...], tuple[int, int]]
"""Of spans: the line, the devices, the model's size and the batch."""


class Summary:
    """Makes a trace of what was noted so far."""

    def __init__(self, log: Log, clocks: Clocks, learning: Learning, data: Data) -> None:
        self.log, self.clocks, self.learning, self.data = log, clocks, learning, data
        self._step_times = [step.at for step in log.steps]
        self._starts = {kind: [mark.start for mark in marks] for kind, marks in log.marks.items()}
        self._work_starts = [mark.start for mark in log.work]
        self._firsts = {(step.device, step.size, step.batch): step.at for step in reversed(log.steps)}

    def trace(self, ending: Ending, exit_code: int, error: str, *, at_end: bool) -> Trace:
        """All of it; `at_end` loaders are tried without workers, and losses read, which takes a moment."""
        end = now()
        if at_end:
            for seen in self.data.loaders:
                seen.alone = self.data.alone(seen) if seen.epochs else None
        groups = self._groups()
        turns = sorted((timed.start.at, self._devices(timed)) for group in groups.values() for timed in group)
        single = [devices[0] for _, devices in turns if len(devices) == 1]
        return Trace(
            schema=SCHEMA,
            script=self.log.script.name,
            ending=ending,
            exit_code=exit_code,
            error=error,
            seconds=end - self.log.begun,
            tracer_seconds=self.log.cost(),
            looked_seconds=self.log.waited_seconds,
            devices=tuple(dict.fromkeys(step.device for step in self.log.steps)),
            models=_models(self.log),
            steps=len(self.log.steps),
            spans=tuple(self._spans(kind, group) for kind, group in groups.items()),
            turns=tuple(device for place, device in enumerate(single) if not place or single[place - 1] != device)[
                :MOST_TURNS
            ],
            quotients=tuple(map(self._quotient, self.clocks.ratios[:MOST_SECONDS])),
            **self._of_learning(at_end=at_end),
            copies=tuple(
                Copies(
                    place=place,
                    kind=seen.kind,
                    count=seen.count,
                    bytes=seen.bytes,
                    seconds=seen.seconds,
                    same=seen.same,
                    unpinned=seen.unpinned,
                )
                for place, seen in self.data.copies.items()
            ),
            loaders=tuple(self._loader(seen) for seen in self.data.loaders if seen.read),
            threads=Threads(threads=torch.get_num_threads(), cores=cores(), place=self.data.threads_set),
            tf32=self._tf32(),
            fallbacks=tuple(Noticed(place, words, count) for (place, words), count in self.data.fallbacks.items()),
            truncated=self.log.truncated,
        )

    def _of_learning(self, *, at_end: bool) -> dict[str, Any]:
        """What was seen of losses, gradients and optimizers, by the names of the trace's fields."""
        learning = self.learning
        return {
            "losses": tuple(_losses(learning)) if at_end else (),
            "shapes": tuple(Shapes(place, words, seen.count) for (place, words), seen in learning.shapes.items()),
            "dead_outputs": tuple(filter(None, map(_dead, learning.dead.values()))),
            "optimizers": tuple(_held(seen) for seen in learning.optimizers if seen.steps),
            "unheld": tuple(self._unheld()),
            "cannot_run": _noticed(learning.cannot_run),
            "in_eval": _noticed(learning.in_eval),
            "accumulated": _noticed(learning.accumulated),
            "float64": _noticed(learning.float64),
            "denormals": _noticed(learning.denormal),
            "denormal_share": learning.denormal_share,
        }

    def _groups(self) -> dict[Kind, list[Timed]]:
        """The spans around steps, by the line that took one reading from another, the devices and the workload."""
        groups: dict[Kind, list[Timed]] = {}
        for timed in self.log.timed:
            if self._steps(timed):
                groups.setdefault((timed.place, self._devices(timed), self._sizes(timed)), []).append(timed)
        return groups

    def _steps(self, timed: Timed) -> Sequence[Step]:
        return self.log.steps[
            bisect_left(self._step_times, timed.start.at) : bisect_left(self._step_times, timed.end.at)
        ]

    def _devices(self, timed: Timed) -> tuple[str, ...]:
        return tuple(dict.fromkeys(step.device for step in self._steps(timed)))

    def _sizes(self, timed: Timed) -> tuple[int, int]:
        """How many parameters are trained in a span, and the largest batch: what tells one workload from another."""
        steps = self._steps(timed)
        return sum({step.size for step in steps}), max(step.batch for step in steps)

    def _spans(self, kind: Kind, group: list[Timed]) -> Spans:
        place, devices, (parameters, batch) = kind
        steps = [step for timed in group for step in self._steps(timed)]
        looked = [timed for timed in group if timed.end.device_seconds is not None]
        first, first_span = self._first_step(group)
        return Spans(
            place=place,
            start=group[0].start.place,
            end=group[0].end.place,
            devices=devices,
            parameters=parameters,
            batch=batch,
            seconds=tuple(max(0.0, timed.seconds) for timed in group[:MOST_SECONDS]),
            count=len(group),
            steps=len(steps),
            at_seconds=group[0].start.at - self.log.begun,
            total_seconds=max(0.0, sum(timed.seconds for timed in group)),
            by_events=group[0].by_events,
            unwaited=sum(timed.end.unwaited for timed in group),
            looked_at=len(looked),
            looked_at_seconds=sum(timed.seconds for timed in looked),
            unfinished_seconds=sum(timed.end.device_seconds or 0.0 for timed in looked),
            carried_seconds=sum(timed.start.device_seconds or 0.0 for timed in group),
            first_step_seconds=first,
            first_span_seconds=first_span,
            step_seconds=self._usual_step(group),
            train_seconds=_overlap(self.log.work, self._work_starts, group),
            **{
                field: self._lines(kind, group)
                for field, kind in (
                    ("values", "value"),
                    ("inputs", "input"),
                    ("workers_started", "workers"),
                    ("evaluations", "evaluation"),
                    ("outputs", "output"),
                )
            },
        )

    def _first_step(self, group: list[Timed]) -> tuple[float, float]:
        """A model's first step on a device, from its span's start, and that span; 0 where it is in none."""
        for timed in group:
            for step in self._steps(timed):
                if self._firsts[step.device, step.size, step.batch] == step.at:
                    return step.at - timed.start.at, timed.seconds
        return 0.0, 0.0

    def _usual_step(self, group: list[Timed]) -> float:
        times = [[step.at for step in self._steps(timed)] for timed in group[:MOST_SECONDS]]
        between = [later - sooner for each in times for sooner, later in pairwise(each)]
        return median(between) if between else 0.0

    def _lines(self, kind: str, group: list[Timed]) -> tuple[Line, ...]:
        """What each line did of that kind within the spans; those that took longest first."""
        sums: dict[Place, tuple[int, float]] = {}
        marks, starts = self.log.marks[kind], self._starts[kind]
        for timed in group:
            for mark in marks[bisect_left(starts, timed.start.at) : bisect_left(starts, timed.end.at)]:
                count, seconds = sums.get(mark.place, (0, 0.0))
                sums[mark.place] = count + 1, seconds + min(mark.end, timed.end.at) - mark.start
        ordered = sorted(sums.items(), key=lambda pair: -pair[1][1])
        return tuple(Line(place, count, max(0.0, seconds)) for place, (count, seconds) in ordered[:MOST_LINES])

    def _quotient(self, seen: Ratio) -> Quotient:
        inner, outer = seen.above, seen.below
        return Quotient(
            place=seen.place,
            value=seen.value if isfinite(seen.value) else 0.0,
            above=self._of_spans(seen.above),
            below=self._of_spans(seen.below),
            of_parts=bool(inner and outer) and (_within(inner, outer) or _within(outer, inner)),
            printed=seen.printed,
        )

    def _of_spans(self, spans: Iterable[Timed]) -> tuple[str, ...]:
        return tuple(dict.fromkeys(device for timed in spans for device in self._devices(timed)))

    def _unheld(self) -> Iterable[Noticed]:
        count, elements, names = self.learning.unheld()
        made = next((seen.made for seen in self.learning.optimizers), None)
        if count and made:
            yield Noticed(made, f"{count} parameters of {elements} elements, such as {', '.join(names)}", count)

    def _loader(self, seen: Loaded) -> Loader:
        return Loader(
            made=seen.made,
            read=seen.read or seen.made,
            workers=seen.workers,
            pinned=seen.pinned,
            pinned_used=self.data.pinned_used,
            epochs=seen.epochs,
            batches=seen.batches,
            waited_seconds=seen.waited,
            started_seconds=seen.started,
            alone_seconds=seen.alone,
            trains_on=tuple(dict.fromkeys(step.device for step in self.log.steps)),
        )

    def _tf32(self) -> Tf32 | None:
        """As it is at the end, on a machine whose GPU has it."""
        if not any(device.type == "cuda" for device in self.log.waiters):
            return None
        matmul = torch.backends.cuda.matmul.fp32_precision == "tf32"
        convolution = cudnn.conv.fp32_precision == "tf32"  # type: ignore[attr-defined]  # torch's types lack it
        return Tf32(
            matmul=matmul, convolution=convolution, place=self.data.tf32_set or _line_with(self.log.script, TF32_WORDS)
        )


def _line_with(script: Path, words: Sequence[str]) -> Place | None:
    """The first line of the script that has one of the words."""
    lines = enumerate(script.read_text(encoding="utf-8", errors="replace").splitlines(), start=1)
    return next((Place(script.name, number) for number, line in lines if any(word in line for word in words)), None)


def _models(log: Log) -> dict[str, str]:
    named = {}
    for device in log.waiters:
        module = torch.get_device_module(device)
        if hasattr(module, "get_device_name"):
            named[str(device)] = str(module.get_device_name(device))
    return named


def _overlap(marks: Sequence[Mark], starts: Sequence[float], group: Iterable[Timed]) -> float:
    return sum(
        min(mark.end, timed.end.at) - mark.start
        for timed in group
        for mark in marks[bisect_left(starts, timed.start.at) : bisect_left(starts, timed.end.at)]
    )


def _within(inner: Sequence[Timed], outer: Sequence[Timed]) -> bool:
    """Tell whether each of the spans is a part of one of the others."""
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


def _dead(seen: Dead) -> DeadOutputs | None:
    dead = int(seen.rows.sum())
    if not dead:
        return None
    return DeadOutputs(place=seen.place, dead=dead, outputs=seen.outputs, parameter=seen.parameter, looks=seen.looks)


def _held(seen: Optimized) -> Held:
    without = [each for each in seen.names if each not in seen.with_gradient]
    return Held(
        made=seen.made,
        stepped=seen.stepped or seen.made,
        kind=seen.kind,
        steps=seen.steps,
        parameters=len(seen.names),
        elements=sum(seen.elements.values()),
        without_gradient=len(without),
        elements_without=sum(seen.elements[each] for each in without),
        names=tuple(seen.names[each] for each in without[:MOST_NAMES]),
        unchanged=not seen.changed and seen.steps > MOST_NAMES,
    )


def _noticed(seen: dict[Place, Counted]) -> tuple[Noticed, ...]:
    return tuple(Noticed(place, counted.words, counted.count) for place, counted in seen.items())
