"""Whether the script's clock times its training: rules about timed spans, and about what the script makes of them."""

from collections.abc import Iterable, Iterator

from msgspec.structs import replace

from torchlap.judge.findings import Finding, Rule
from torchlap.schema.trace import Line, Spans, Trace

MILLION = 1e6
UNITS = ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs"))


def duration(seconds: float) -> str:
    """A duration with three significant digits, in seconds, milliseconds or microseconds."""
    factor, unit = next(((factor, unit) for factor, unit in UNITS if seconds >= factor), UNITS[-1])
    return f"{seconds / factor:.3g} {unit}"


def millions(count: int) -> str:
    """The size of a model, like `11.7 million`."""
    return f"{count / MILLION:.3g} million" if count >= MILLION else str(count)


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
    "pending when the clock is read is missing from this time, or counted in the next one.",
    "Synchronize just before each of the two clock reads: torch.accelerator.synchronize(), or "
    "torch.cuda.synchronize(), torch.mps.synchronize().",
    "https://docs.pytorch.org/docs/stable/notes/cuda.html#asynchronous-execution",
)

UNTIMED = 0.02
"""The share of the work that may be missing from a time."""

LEAST_UNTIMED_SECONDS = 2e-4
"""Synchronizing with an idle device takes some ten microseconds."""


def not_synchronized(trace: Trace) -> Iterable[Finding]:
    """The end of a span is read while the device is working."""
    for spans in trace.spans:
        if spans.by_events or spans.devices == ("cpu",):
            continue
        reads = max(1, spans.looked_at)
        pending = spans.unfinished_seconds / reads
        work = spans.looked_at_seconds / reads + pending
        share = pending / work if work else 0.0
        if share > UNTIMED and pending > LEAST_UNTIMED_SECONDS:
            evidence = (
                f"{duration(pending)} of work was still pending at each of {spans.looked_at} reads: {share:.0%} of "
                f"{duration(work)} was not timed"
            )
            yield NOT_SYNCHRONIZED.finding(str(spans.end), evidence)
        elif spans.unwaited == spans.count:
            pending_work = f"{duration(pending)} of {duration(work)} of work was still pending"
            evidence = f"nothing synchronizes the device before it; this time, {pending_work}"
            finding = NOT_SYNCHRONIZED.finding(str(spans.end), evidence)
            yield replace(finding, severity="warning", title="no synchronization before the clock is read")


VALUE_EACH_STEP = Rule(
    "TL402",
    "warning",
    "every step waits for the device",
    "To read a tensor's value (.item(), .cpu(), print, if), Python waits until the device has computed it. Meanwhile "
    "no further work is enqueued, so the device is idle once it has finished.",
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
                    f"{line.count} values in {spans.steps} steps, each after a wait of "
                    f"{duration(line.seconds / line.count)}: {_share(line, spans):.0%} of the timed span"
                )
                yield VALUE_EACH_STEP.finding(str(line.place), evidence)


WARM_UP_INSIDE = Rule(
    "TL403",
    "warning",
    "warm-up is timed",
    "The first step on a device also loads libraries, allocates memory, chooses algorithms and compiles; the first "
    "batch of a loader starts its worker processes. This happens once, and is not the speed of training.",
    "Train for some steps before the first clock read.",
)

WARM_UP = 0.05
SEVERAL_SPANS = 3
"""With this many spans, the first can be left out, and the median does not depend on it."""


def warm_up_inside(trace: Trace) -> Iterable[Finding]:
    """A timed span contains the first step, which takes longer than others, or the start of worker processes."""
    for spans in trace.spans:
        extra = spans.first_step_seconds - spans.step_seconds
        share = extra / spans.first_span_seconds if spans.first_span_seconds else 0.0
        if spans.step_seconds and share > WARM_UP:
            evidence = (
                f"the first step on {', '.join(spans.devices)} took {duration(spans.first_step_seconds)}, a usual "
                f"one {duration(spans.step_seconds)}: {share:.0%} of its span, the first of {spans.count}"
            )
            finding = WARM_UP_INSIDE.finding(str(spans.start), evidence)
            yield finding if spans.count < SEVERAL_SPANS else replace(finding, severity="note")
        for line in spans.workers_started:
            share = _share(line, spans)
            if share > WARM_UP:
                evidence = (
                    f"worker processes were started, {line.count} x {duration(line.seconds / line.count)}: "
                    f"{share:.0%} of the timed span"
                )
                yield WARM_UP_INSIDE.finding(str(line.place), evidence)


WAITS_FOR_INPUT = Rule(
    "TL404",
    "warning",
    "the timed span waits for its data",
    "While the script waits for the next batch, the device is idle. The time describes the loader more than the model, "
    "and two devices look more alike than they are.",
    "To time the model, move the data to the device before the clock is read. To train faster, use more workers, or do "
    "less work for each sample.",
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
    "Evaluation, logging and saving take time that does not belong to training, and their share of the time differs "
    "from device to device.",
    "Read the clock before them, or subtract their time.",
)

BESIDE = 0.05


def evaluates_inside(trace: Trace) -> Iterable[Finding]:
    """Evaluation or printing takes much of a span."""
    for spans in trace.spans:
        for line, share, words in _beside(spans):
            if share > BESIDE:
                yield EVALUATES_INSIDE.finding(str(line.place), f"{line.count} {words.format(share)}")


def _beside(spans: Spans) -> Iterator[tuple[Line, float, str]]:
    """What a span does beside training: the line, its share, and the words for it.

    The share of evaluation is that of the host's work, because the device's work cannot be separated; the share of
    printing is that of the time.
    """
    work = spans.train_seconds + sum(line.seconds for line in spans.evaluations)
    for line in spans.evaluations:
        if work:
            yield line, line.seconds / work, "evaluations, about {:.0%} of the work"
    for line in spans.outputs:
        yield line, _share(line, spans), "prints, {:.0%} of the timed span"


ONE_REPETITION = Rule(
    "TL406",
    "warning",
    "timed only once",
    "A single time has no spread: it cannot show whether another run, or another device, differs by more than chance.",
    "Time several spans, at least five, and report their median with the spread.",
)


def one_repetition(trace: Trace) -> Iterable[Finding]:
    """No line times more than one span of a model on a device."""
    for workload in dict.fromkeys(map(_workload, trace.spans)):
        timed = [spans for spans in trace.spans if _workload(spans) == workload]
        if all(spans.count == 1 for spans in timed):
            longest = max(timed, key=lambda spans: spans.total_seconds)
            evidence = (
                f"one span of {longest.steps} steps on {', '.join(longest.devices)} for a model of "
                f"{millions(longest.parameters)} parameters at batch {longest.batch}, "
                f"{duration(longest.total_seconds)}"
            )
            yield ONE_REPETITION.finding(str(longest.place), evidence)


def _workload(spans: Spans) -> tuple[tuple[str, ...], int, int]:
    return spans.devices, spans.parameters, spans.batch


ONE_AFTER_THE_OTHER = Rule(
    "TL407",
    "warning",
    "devices are timed one after the other",
    "Heat, battery, other programs and clock changes differ between the first half and the second, and the "
    "ratio attributes this to the devices.",
    "Let the devices take turns: one span of each, then the next of each.",
)

SEVERAL_DEVICES = 2


def one_after_the_other(trace: Trace) -> Iterable[Finding]:
    """All spans of one device come before all of another."""
    devices = list(dict.fromkeys(trace.turns))
    if len(devices) < SEVERAL_DEVICES or len(trace.turns) > len(devices):
        return
    ratios = (ratio for ratio in trace.quotients if ratio.above and ratio.below and ratio.above != ratio.below)
    ratio = next(ratios, None)
    last = next(spans for spans in trace.spans if spans.devices == (devices[-1],))
    where = ratio.place if ratio else last.place
    counts = {device: sum(spans.count for spans in trace.spans if spans.devices == (device,)) for device in devices}
    order = ", then ".join(f"{count} on {device}" for device, count in counts.items())
    yield ONE_AFTER_THE_OTHER.finding(str(where), f"timed spans: {order}")


PERCENTAGE = Rule(
    "TL441",
    "warning",
    "a ratio is shown as a percentage",
    "A ratio of 2 is twice as fast, or 100% faster. Multiplied by a hundred it reads 200%, which some readers take for "
    "three times as fast, and others for twice.",
    "Write 2.0x, with its spread.",
)


def percentage(trace: Trace) -> Iterable[Finding]:
    """A ratio of two timings, neither a part of the other, is shown multiplied by a hundred."""
    places = set()
    for ratio in trace.quotients:
        if ratio.printed and not ratio.of_parts and ratio.printed not in places:
            places.add(ratio.printed)
            yield PERCENTAGE.finding(str(ratio.printed), f"{ratio.value:.3g}x is shown as {100 * ratio.value:.4g}")


RULES = (
    not_synchronized,
    value_each_step,
    warm_up_inside,
    waits_for_input,
    evaluates_inside,
    one_repetition,
    one_after_the_other,
    percentage,
)
