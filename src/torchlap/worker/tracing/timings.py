"""Sum up timed spans: by line, device and workload, with what happened within them."""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from statistics import median

from msgspec import Struct, field
from msgspec.structs import replace

from torchlap.schema.trace import Line, Place, Quotient, Spans
from torchlap.worker.tracing import spans as timed_spans
from torchlap.worker.tracing.load import Load
from torchlap.worker.tracing.log import Log, Mark, Read, Site, Span, Step
from torchlap.worker.tracing.spans import Divided, Timed

MOST_SECONDS = 1000
MOST_LINES = 10
MOST_TURNS = 1000
SEVERAL_STEPS = 2
REMAINDERS = 3
"""A batch size is that of a remainder if another one has at least so many spans for each of its own."""

Kind = tuple[tuple[Place, Place], tuple[str, ...], tuple[int, int]]
"""What spans have in common: the lines of the subtraction and of the last clock read, the devices, and the workload
(number of parameters, and batch). Where a helper reads the clock, such as a method `stop`, these are the lines that
call it, if there are several.
"""


class Group(Struct):
    """Spans of one kind, the subtraction that makes them, and how many lines call the helper that makes it."""

    timed: Timed
    calls: int = 1
    spans: list[Span] = field(default_factory=list)


class Timings:
    """Sums up the spans of a log so far."""

    def __init__(self, log: Log, compilations: Sequence[Mark], load: Load) -> None:
        self.log, self._compilations, self._load = log, compilations, load
        self.by_backward = not log.steps
        self.steps = tuple(log.backwards if self.by_backward else log.steps)
        self._step_times = [step.at for step in self.steps]
        self._backward_times = [step.at for step in log.backwards]
        self._starts = {kind: [mark.start for mark in marks] for kind, marks in log.marks.items()}
        self._work_starts = [mark.start for mark in log.work]
        self._first_steps = {
            (step.device, step.size, step.batch): step.at
            for step in (*reversed(self.log.backwards), *reversed(self.steps))
        }
        timed, self._divided = timed_spans.find(log)
        self._whole, self._parts = self._groups(timed, self._steps), self._groups(timed, self._step_of_part)

    def spans(self) -> tuple[Spans, ...]:
        """The spans around training steps."""
        return tuple(self._spans(kind, group) for kind, group in self._whole.items())

    def parts(self) -> tuple[Spans, ...]:
        """The spans within steps that hold forward passes only."""
        return tuple(self._spans(kind, group) for kind, group in self._parts.items())

    def quotients(self) -> tuple[Quotient, ...]:
        """The ratios of times."""
        return tuple(map(self._quotient, self._divided[:MOST_SECONDS]))

    def turns(self) -> tuple[str, ...]:
        """The devices of spans on a single device, in order, without repetitions in a row."""
        spans = sorted((span.start.at, kind[1]) for kind, group in self._whole.items() for span in group.spans)
        timed = [devices[0] for _, devices in spans if len(devices) == 1]
        turns = [device for number, device in enumerate(timed) if not number or timed[number - 1] != device]
        return tuple(turns[:MOST_TURNS])

    def _groups(self, timed: Sequence[Timed], steps_of: Callable[[Span], Sequence[Step]]) -> dict[Kind, Group]:
        """The spans around training steps, by kind."""
        groups: dict[Kind, Group] = {}
        for each in timed:
            of_line: dict[Kind, list[Span]] = {}
            calls = _calls(each.spans)
            for span in each.spans:
                steps = steps_of(span)
                if steps:
                    devices = tuple(dict.fromkeys(step.device for step in steps))
                    workload = sum({step.size for step in steps}), max(step.batch for step in steps)
                    places = span.place, span.end.place
                    if len(calls) > 1:
                        places = (self._call(span.end),) * 2
                    of_line.setdefault((places, devices, workload), []).append(span)
            for kind, spans in _without_remainders(of_line).items():
                groups.setdefault(kind, Group(each, calls=len(calls))).spans.extend(_longest(spans))
        return groups

    def _call(self, read: Read) -> Place:
        """The line that called the function which reads the clock."""
        if len(read.chain) < 2:  # noqa: PLR2004  the read and its caller
            return read.place
        file, line, _ = read.chain[1]
        return Place(self.log.name_of(file) or self.log.script.name, line)

    def _steps(self, span: Span) -> Sequence[Step]:
        """The steps in a span; in a part of a step, its backward passes."""
        steps = _between(self.steps, self._step_times, span)
        return steps or _between(self.log.backwards, self._backward_times, span)

    def _step_of_part(self, span: Span) -> Sequence[Step]:
        """The step to which a span belongs that holds forward passes only."""
        if self._steps(span) or not _overlap(self.log.work, self._work_starts, [span]):
            return ()
        following = bisect_left(self._step_times, span.end.at)
        return self.steps[following : following + 1]

    def _devices(self, span: Span) -> tuple[str, ...]:
        return tuple(dict.fromkeys(step.device for step in self._steps(span)))

    def _workload(self, span: Span) -> tuple[int, int]:
        """How many parameters are trained in a span, and the largest batch: together they distinguish workloads."""
        steps = self._steps(span)
        return sum({step.size for step in steps}), max((step.batch for step in steps), default=0)

    def _spans(self, kind: Kind, group: Group) -> Spans:
        (place, _), devices, (parameters, batch) = kind
        spans = group.spans
        measured = [span for span in spans if span.end.pending_seconds is not None]
        untouched = [span for span in spans if not self._is_touched(span)]
        shown = untouched or spans
        first, first_span = self._first_step(spans)
        compiled = [mark for mark in self._compilations if any(_holds(span, mark.start) for span in spans)]
        return Spans(
            place=place,
            start=self._call(spans[0].start) if group.calls > 1 else spans[0].start.place,
            end=self._call(spans[0].end) if group.calls > 1 else spans[0].end.place,
            devices=devices,
            parameters=parameters,
            batch=batch,
            seconds=tuple(max(0.0, span.seconds) for span in spans[:MOST_SECONDS]),
            count=len(spans),
            steps=sum(len(self._steps(span)) for span in spans),
            at_seconds=max(0.0, spans[0].start.at - self.log.begun),
            total_seconds=max(0.0, sum(span.seconds for span in shown)) * len(spans) / len(shown),
            by_events=spans[0].by_events,
            unwaited=sum(span.end.unwaited for span in spans),
            looked_at=len(measured),
            looked_at_seconds=max(0.0, sum(span.seconds for span in measured)),
            unfinished_seconds=sum(span.end.pending_seconds or 0.0 for span in measured),
            first_step_seconds=first,
            first_span_seconds=first_span,
            step_seconds=self._typical_step(shown),
            train_seconds=_overlap(self.log.work, self._work_starts, shown) * len(spans) / len(shown),
            values=self._lines("value", shown, len(spans)),
            inputs=self._lines("input", shown, len(spans)),
            workers_started=self._lines("workers", shown, len(spans)),
            evaluations=self._lines("evaluation", shown, len(spans)),
            clock=spans[0].end.clock,
            conditional=group.timed.difference.conditional,
            robust=group.timed.difference.robust,
            untouched=len(untouched),
            evaluated=sum(self._has(span, "evaluation") for span in spans),
            compiled=max(len(compiled), sum(span.end.compiled - span.start.compiled for span in spans)),
            compile_seconds=max(0.0, sum(mark.end - mark.start for mark in compiled)),
            setup_seconds=sum(map(self._setup, shown)) * len(spans) / len(shown),
            others=self._others(spans[:MOST_SECONDS]),
        )

    def _setup(self, span: Span) -> float:
        """Seconds from a span's start to its first forward pass, without evaluation and waiting for data.

        Nor with the tracer's own wait for the device at the start.
        """
        first = bisect_left(self._work_starts, span.start.at)
        if len(self._steps(span)) < SEVERAL_STEPS or first == len(self._work_starts):
            return 0.0
        until = min(self._work_starts[first], span.end.at)
        known = sum(
            min(mark.end, until) - mark.start
            for kind in ("input", "workers", "evaluation")
            for mark in self.log.marks[kind][
                bisect_left(self._starts[kind], span.start.at) : bisect_left(self._starts[kind], until)
            ]
        )
        return max(0.0, until - span.start.at - known - (span.start.pending_seconds or 0.0))

    def _others(self, spans: Sequence[Span]) -> tuple[float, ...]:
        used = [self._load.between(span.start.at, span.end.at) for span in spans]
        return tuple(each for each in used if each is not None) if None not in used else ()

    def _is_touched(self, span: Span) -> bool:
        """Whether the tracer waited for the device in a span, or just before it, so that it began with an idle one."""
        waits = self.log.waits
        before = bisect_left(waits, span.start.at)
        return before < bisect_left(waits, span.end.at)

    def _has(self, span: Span, kind: str) -> bool:
        starts = self._starts[kind]
        return bisect_left(starts, span.start.at) < bisect_left(starts, span.end.at)

    def _first_step(self, group: Sequence[Span]) -> tuple[float, float]:
        """Seconds of a model's first step on a device, from its span's start, and of that span; 0 if it is in none."""
        for span in group:
            for step in self._steps(span):
                if self._first_steps[step.device, step.size, step.batch] == step.at:
                    waited = span.start.pending_seconds or 0.0
                    return max(0.0, step.at - span.start.at - self._setup(span) - waited), span.seconds
        return 0.0, 0.0

    def _typical_step(self, group: Sequence[Span]) -> float:
        """The median time between the steps of a span; of spans with one step each, the median of the others."""
        times = [[step.at for step in self._steps(span)] for span in group[:MOST_SECONDS]]
        between = [later - earlier for steps in times for earlier, later in pairwise(steps)]
        if not between and len(group) > 1:
            between = [span.seconds for span in group[1:MOST_SECONDS]]
        return max(0.0, median(between)) if between else 0.0

    def _lines(self, kind: str, group: Sequence[Span], count: int) -> tuple[Line, ...]:
        """What each line did of that kind, scaled from these spans to `count`; the longest lines first."""
        sums: dict[Place, tuple[int, float]] = {}
        marks, starts = self.log.marks[kind], self._starts[kind]
        for span in group:
            for mark in marks[bisect_left(starts, span.start.at) : bisect_left(starts, span.end.at)]:
                known, seconds = sums.get(mark.place, (0, 0.0))
                sums[mark.place] = known + 1, seconds + min(mark.end, span.end.at) - mark.start
        ordered = sorted(sums.items(), key=lambda pair: -pair[1][1])
        scale = count / len(group)
        return tuple(
            Line(place, round(known * scale), max(0.0, seconds * scale))
            for place, (known, seconds) in ordered[:MOST_LINES]
        )

    def _quotient(self, ratio: Divided) -> Quotient:
        above, below = self._with_steps(ratio.above), self._with_steps(ratio.below)
        same = ratio.above == ratio.below and len({(*self._workload(span), self._devices(span)) for span in above}) <= 1
        parts = ratio.above != ratio.below and (_within(above, below) or _within(below, above))
        return Quotient(
            place=ratio.place,
            above=self._devices_of(above),
            below=self._devices_of(below),
            of_parts=not (above and below) or same or parts,
            printed=ratio.printed,
        )

    def _with_steps(self, spans: Sequence[Span]) -> list[Span]:
        return [span for span in spans[:MOST_SECONDS] if self._steps(span)]

    def _devices_of(self, spans: Iterable[Span]) -> tuple[str, ...]:
        return tuple(dict.fromkeys(device for span in spans for device in self._devices(span)))


def _calls(spans: Sequence[Span]) -> set[Site]:
    """The calls of a helper that ends spans, where another helper starts them; empty if one function does both."""
    if any(span.start.function == span.end.function for span in spans):
        return set()
    return {span.end.chain[1] for span in spans if len(span.end.chain) > 1}


def _longest(spans: Sequence[Span]) -> Iterable[Span]:
    """Of spans with the same start, such as the time since the script's begin, the last one.

    The work that was pending at the ends before stands for that of an end at which it was not measured.
    """
    by_start: dict[int, Span] = {}
    for span in spans:
        earlier, pending = by_start.get(id(span.start)), span.end.pending_seconds
        if earlier is not None and pending is None and earlier.end.pending_seconds is not None:
            end = replace(span.end, pending_seconds=earlier.end.pending_seconds)
            by_start[id(span.start)] = replace(span, end=end)
        else:
            by_start[id(span.start)] = span
    return by_start.values()


def _between(steps: Sequence[Step], times: Sequence[float], span: Span) -> Sequence[Step]:
    return steps[bisect_left(times, span.start.at) : bisect_left(times, span.end.at)]


def _holds(span: Span, at: float) -> bool:
    return span.start.at <= at < span.end.at


def _without_remainders(groups: dict[Kind, list[Span]]) -> dict[Kind, list[Span]]:
    """Spans of a smaller last batch, or of the shorter end of a sequence, belong to the spans of the usual batch."""
    joined: dict[Kind, list[Span]] = {}
    for kind, spans in groups.items():
        places, devices, (size, batch) = kind
        usual = max(
            (other for other in groups if other[:2] == (places, devices) and other[2][0] == size),
            key=lambda other: len(groups[other]),
        )
        is_rest = batch < usual[2][1] and len(groups[usual]) >= REMAINDERS * len(spans)
        joined.setdefault(usual if is_rest else kind, []).extend(spans)
    return {kind: sorted(spans, key=lambda span: span.end.at) for kind, spans in joined.items()}


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
