"""Whether the script's clock times its training: rules about timed spans, and about what the script makes of them."""

from collections.abc import Iterable
from dataclasses import replace

from torchlap.judge.findings import Finding, Rule
from torchlap.schema.trace import Line, Quotient, Spans, Trace

MILLION = 1e6
UNITS = ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs"))


def duration(seconds: float) -> str:
    """A duration with three significant digits, in seconds, milliseconds or microseconds."""
    factor, unit = next(((factor, unit) for factor, unit in UNITS if seconds >= factor), UNITS[-1])
    return f"{seconds / factor:.3g} {unit}"


def millions(count: int) -> str:
    """The size of a model, like `11.7 million`."""
    return f"{count / MILLION:.3g} million" if count >= MILLION else str(count)


def counted(count: int, noun: str) -> str:
    """A number with its noun."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def times(count: int) -> str:
    """How often, in words."""
    return "once" if count == 1 else f"{count} times"


def _share(line: Line, spans: Spans) -> float:
    """The share of the timed spans that a line took."""
    return line.seconds / spans.total_seconds if spans.total_seconds else 0.0


NOT_SYNCHRONIZED = Rule(
    "TL401",
    "error",
    "the clock is read while the device is still working",
    "An accelerator works asynchronously: a step returns when it is enqueued, not when it is done. Work that is "
    "still pending when the clock is read is missing from this time, or counted in the next one.",
    "Synchronize just before each of the two clock reads, with torch.accelerator.synchronize(), "
    "torch.cuda.synchronize() or torch.mps.synchronize().",
    "https://docs.pytorch.org/docs/stable/notes/cuda.html#asynchronous-execution",
)

UNTIMED = 0.02
"""The share of the work that may be missing from a time."""

LEAST_UNTIMED_SECONDS = 2e-4
"""Synchronizing with an idle device takes some ten microseconds."""


def not_synchronized(trace: Trace) -> Iterable[Finding]:
    """The end of a span, or of a part of a step, is read while the device is working."""
    for spans in (*trace.spans, *trace.parts):
        if spans.by_events or spans.devices == ("cpu",):
            continue
        reads = max(1, spans.looked_at)
        pending = spans.unfinished_seconds / reads
        work = spans.looked_at_seconds / reads + pending
        share = pending / work if work else 0.0
        if share > UNTIMED and pending > LEAST_UNTIMED_SECONDS:
            reads_text = f"each of {spans.looked_at} reads" if spans.looked_at > 1 else "the read"
            evidence = (
                f"{duration(pending)} of work was still pending at {reads_text}: {share:.0%} of {duration(work)} was "
                "not timed"
            )
            yield NOT_SYNCHRONIZED.finding(str(spans.end), evidence, remedy=_remedy(spans))
        elif spans.unwaited == spans.count:
            pending_work = f"{duration(pending)} of {duration(work)} of work was still pending"
            evidence = f"nothing synchronizes the device before this read; in this run, {pending_work}"
            finding = NOT_SYNCHRONIZED.finding(str(spans.end), evidence, remedy=_remedy(spans))
            yield replace(finding, severity="warning", title="no synchronization before the clock is read")


def _remedy(spans: Spans) -> str:
    """How to synchronize where a library reads the clock, such as timeit; empty for the usual way."""
    if spans.start != spans.end:
        return ""
    return "End the timed statement or function with torch.accelerator.synchronize(), so that each run of it waits."


VALUE_EACH_STEP = Rule(
    "TL402",
    "warning",
    "every step waits for the device",
    "To read a tensor's value (.item(), .cpu(), print, if), Python waits until the device has computed it. Meanwhile "
    "it enqueues no further work, so the device is idle as soon as it has finished.",
    "Keep values on the device (total += loss.detach()), and read them once at the end, or every hundred steps.",
    "https://docs.pytorch.org/tutorials/recipes/recipes/tuning_guide.html#avoid-unnecessary-cpu-gpu-synchronization",
)

EACH_STEP = 0.5
"""This many reads a step mean a read in every step, or in every other."""

SEVERAL_STEPS = 2


def value_each_step(trace: Trace) -> Iterable[Finding]:
    """Values are read in every step of spans with several steps."""
    for spans in trace.spans:
        if spans.steps < SEVERAL_STEPS * spans.count:
            continue
        for line in spans.values:
            if line.count >= EACH_STEP * spans.steps:
                evidence = (
                    f"{line.count} values were read in {spans.steps} steps, each after a wait of "
                    f"{duration(line.seconds / line.count)}: {_share(line, spans):.0%} of the timed span"
                )
                yield VALUE_EACH_STEP.finding(str(line.place), evidence)


WARM_UP_INSIDE = Rule(
    "TL403",
    "warning",
    "warm-up is timed",
    "The first step on a device also loads libraries, allocates memory, chooses algorithms and compiles; the first "
    "batch of a loader starts its worker processes. These are one-time costs, not part of the training speed.",
    "Train for a few steps before the first clock read.",
)

WARM_UP = 0.05
SEVERAL_SPANS = 3
"""With this many spans, the first can be left out, and the median does not depend on it."""


def warm_up_inside(trace: Trace) -> Iterable[Finding]:
    """A timed span contains the first step, which takes longer than others, or the start of worker processes."""
    for spans in trace.spans:
        if not spans.compiled:
            yield from _slow_first_step(spans)
        for line in spans.workers_started:
            share = _share(line, spans)
            if share > WARM_UP:
                evidence = (
                    f"worker processes were started {times(line.count)}, {duration(line.seconds / line.count)} each: "
                    f"{share:.0%} of the timed span"
                )
                yield WARM_UP_INSIDE.finding(str(line.place), evidence, remedy=KEEP_WORKERS)


KEEP_WORKERS = (
    "Use persistent_workers=True, and read one epoch before the first clock read; or start the clock after the first "
    "batch."
)


def _slow_first_step(spans: Spans) -> Iterable[Finding]:
    extra = spans.first_step_seconds - spans.step_seconds
    one_by_one = spans.steps == spans.count
    whole = spans.total_seconds if one_by_one else spans.first_span_seconds
    share = extra / whole if whole else 0.0
    if not spans.step_seconds or share <= WARM_UP or (spans.conditional and spans.count > 1):
        return
    part = f"the total of {spans.count} steps" if one_by_one else f"its span, the first of {spans.count}"
    evidence = (
        f"the first step on {', '.join(spans.devices)} took {duration(spans.first_step_seconds)}, a typical step "
        f"{duration(spans.step_seconds)}: the difference is {share:.0%} of {part}"
    )
    finding = WARM_UP_INSIDE.finding(str(spans.start), evidence)
    matters = spans.count < SEVERAL_SPANS or (one_by_one and not spans.robust)
    yield finding if matters else replace(finding, severity="note")


SETUP_INSIDE = Rule(
    "TL449",
    "warning",
    "setup is timed",
    "Creating a model, an optimizer or a dataset, and the imports that come with it, happen once. They are not a part "
    "of the training speed, and their share shrinks with the number of steps.",
    "Read the clock for the first time just before the first step.",
)


LEAST_SETUP_SECONDS = 0.01
"""Another process may delay the first step as much."""


def setup_inside(trace: Trace) -> Iterable[Finding]:
    """Much of a span passes before its first forward pass."""
    for spans in trace.spans:
        each = spans.setup_seconds / spans.count if spans.count else 0.0
        share = spans.setup_seconds / spans.total_seconds if spans.total_seconds else 0.0
        if share > WARM_UP and each > max(LEAST_SETUP_SECONDS, SEVERAL_STEPS * spans.step_seconds):
            which = "the span" if spans.count == 1 else f"each of {spans.count} spans, on average,"
            evidence = (
                f"the first forward pass of {which} starts {duration(each)} after the clock is read, and a typical "
                f"step takes {duration(spans.step_seconds)}: setup is {share:.0%} of the timed span"
            )
            finding = SETUP_INSIDE.finding(str(spans.start), evidence)
            left_out = spans.conditional or (spans.robust and spans.count >= SEVERAL_SPANS)
            yield replace(finding, severity="note") if left_out else finding


WAITS_FOR_INPUT = Rule(
    "TL404",
    "warning",
    "the timed span waits for its data",
    "While the script waits for the next batch, the device is idle. The time describes the loader more than the model, "
    "so devices look more alike than they are.",
    "To time the model, move the data to the device before the first clock read. To train faster, use more workers, "
    "or do less work for each sample.",
)

STARVED = 0.2


def waits_for_input(trace: Trace) -> Iterable[Finding]:
    """A loader delays the step."""
    for spans in trace.spans:
        for line in spans.inputs:
            share = _share(line, spans)
            if share > STARVED:
                wait = duration(line.seconds / max(1, spans.steps))
                evidence = f"every step waits {wait} for the next batch: {share:.0%} of the timed span"
                yield WAITS_FOR_INPUT.finding(str(line.place), evidence)


EVALUATES_INSIDE = Rule(
    "TL405",
    "warning",
    "more than training is timed",
    "Evaluation takes time that does not belong to training, and its share of the time differs from device to device.",
    "Stop the clock before the evaluation, or subtract its time.",
)

BESIDE = 0.05
MOST_SPANS = 0.5
"""What happens in fewer of the spans does not change their median."""


def evaluates_inside(trace: Trace) -> Iterable[Finding]:
    """Evaluation takes much of most spans.

    Its share is that of the host's work, because the device's work cannot be separated.
    """
    for spans in trace.spans:
        work = spans.train_seconds + sum(line.seconds for line in spans.evaluations)
        if not work or spans.evaluated < MOST_SPANS * spans.count:
            continue
        for line in spans.evaluations:
            share = line.seconds / work
            if share > BESIDE:
                evaluations, of_spans = counted(line.count, "evaluation"), counted(spans.count, "span")
                evidence = f"{evaluations} in {of_spans}, about {share:.0%} of the work"
                yield EVALUATES_INSIDE.finding(str(line.place), evidence)


ONE_REPETITION = Rule(
    "TL406",
    "warning",
    "timed only once",
    "A single time has no spread: it cannot show whether another run, or another device, differs by more than chance.",
    "Time at least five spans, and report their median and spread.",
)


def one_repetition(trace: Trace) -> Iterable[Finding]:
    """No line times more than one span of a model on a device."""
    for workload in dict.fromkeys(map(_workload, trace.spans)):
        if any(spans.count > 1 and spans.devices == workload[0] for spans in trace.spans if spans.batch != workload[2]):
            continue  # batches of several sizes, timed one by one
        timed = [spans for spans in trace.spans if _workload(spans) == workload]
        if all(spans.count == 1 for spans in timed):
            longest = max(timed, key=lambda spans: spans.total_seconds)
            evidence = (
                f"one span of {counted(longest.steps, 'step')} on {', '.join(longest.devices)}{_model(longest)}, "
                f"{duration(longest.total_seconds)}"
            )
            yield ONE_REPETITION.finding(str(longest.place), evidence)


def _model(spans: Spans) -> str:
    size = f" for a model of {millions(spans.parameters)} parameters" if spans.parameters else ""
    return f"{size} at batch {spans.batch}" if spans.batch else size


def _workload(spans: Spans) -> tuple[tuple[str, ...], int, int]:
    return spans.devices, spans.parameters, spans.batch


ONE_AFTER_THE_OTHER = Rule(
    "TL407",
    "warning",
    "devices are timed one after the other",
    "Temperature, battery, clock speed and other programs change between the first device's spans and the last's, and "
    "the ratio attributes that change to the devices.",
    "Let the devices take turns: time one span on each device, then the next span on each.",
)

SEVERAL_DEVICES = 2


def compares_devices(ratio: Quotient) -> bool:
    """Whether times of several devices are divided by each other."""
    return bool(ratio.above and ratio.below) and len({*ratio.above, *ratio.below}) > 1


def one_after_the_other(trace: Trace) -> Iterable[Finding]:
    """All spans of one device come before all of another."""
    devices = list(dict.fromkeys(trace.turns))
    if len(devices) < SEVERAL_DEVICES or len(trace.turns) > len(devices):
        return
    ratio = next(filter(compares_devices, trace.quotients), None)
    last = next(spans for spans in trace.spans if spans.devices == (devices[-1],))
    where = ratio.place if ratio else last.place
    counts = {device: sum(spans.count for spans in trace.spans if spans.devices == (device,)) for device in devices}
    order = ", then ".join(f"{count} on {device}" for device, count in counts.items())
    yield ONE_AFTER_THE_OTHER.finding(str(where), f"timed spans: {order}")


PERCENTAGE = Rule(
    "TL441",
    "warning",
    "a ratio is shown as a percentage",
    "A ratio of 2 means twice as fast, or 100% faster. Multiplied by 100 it becomes 200%, which some readers take to "
    "mean three times as fast, and others twice.",
    "Write the ratio as 2.0x, with its spread.",
)


def percentage(trace: Trace) -> Iterable[Finding]:
    """A ratio of two timings, neither a part of the other, is shown multiplied by a hundred."""
    places = set()
    for ratio in trace.quotients:
        if ratio.printed and not ratio.of_parts and ratio.printed not in places:
            places.add(ratio.printed)
            evidence = f"the ratio of two times, computed at {ratio.place}, is multiplied by 100 before it is shown"
            yield PERCENTAGE.finding(str(ratio.printed), evidence)


PROCESSOR_TIME = Rule(
    "TL408",
    "error",
    "the clock counts processor time",
    "time.process_time() and time.thread_time() count only the CPU time of the process or thread: several threads are "
    "counted several times, and waiting for a device, a disk or another process is not counted at all.",
    "Use time.perf_counter().",
    "https://docs.python.org/3/library/time.html#time.process_time",
)


def processor_time(trace: Trace) -> Iterable[Finding]:
    """A span around training steps is read from a clock of the CPU's work."""
    for spans in trace.spans:
        clock = spans.clock.removesuffix("_ns")
        if clock in ("process_time", "thread_time"):
            threads = counted(trace.threads.threads if trace.threads else 1, "compute thread")
            evidence = (
                f"time.{spans.clock}() timed {counted(spans.count, 'span')} of training steps in a process with "
                f"{threads}"
            )
            yield PROCESSOR_TIME.finding(str(spans.end), evidence)


RULES = (
    not_synchronized,
    value_each_step,
    warm_up_inside,
    setup_inside,
    waits_for_input,
    evaluates_inside,
    one_repetition,
    one_after_the_other,
    processor_time,
    percentage,
)
