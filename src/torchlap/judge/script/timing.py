"""Whether the script's clock times its training: the rules about spans, and what is made of them."""

from collections.abc import Iterable

from msgspec.structs import replace

from torchlap.judge.findings import Finding, Rule, found
from torchlap.schema.trace import Line, Spans, Trace

UNTIMED = 0.02
"""A share of the work that was not timed, from which on the figure is wrong."""

LEAST_UNTIMED_SECONDS = 2e-4
"""Waiting for a device that has nothing to do takes some ten microseconds."""

WARM_UP = 0.05
STARVED = 0.2
BESIDE = 0.05
EACH_STEP = 0.5
"""So many values read a step are one in each, or in every other."""

UNREPEATED = 1
SEVERAL = 3
"""Of so many spans the first may be left out, or the median is not moved by it."""

TWO = 2

NOT_WAITED = Rule(
    "TL401",
    "error",
    "the clock is read while the device still works",
    "An accelerator computes beside Python: a step returns when it is enqueued, not when it is done. What is still to "
    "be done when the clock is read is not in the figure, or is in the next one's.",
    "Wait for the device just before each of the two clock reads: torch.accelerator.synchronize(), or "
    "torch.cuda.synchronize(), torch.mps.synchronize().",
    "https://docs.pytorch.org/docs/stable/notes/cuda.html#asynchronous-execution",
)
VALUE_EACH_STEP = Rule(
    "TL402",
    "warning",
    "each step waits for the device",
    "To read a tensor's value (.item(), .cpu(), print, if) Python waits until the device has computed it; meanwhile "
    "nothing more is enqueued, so the device waits, too, once it is done.",
    "Keep values on the device (total += loss.detach()) and read them once at the end, or every hundred steps.",
    "https://docs.pytorch.org/tutorials/recipes/recipes/tuning_guide.html#avoid-unnecessary-cpu-gpu-synchronization",
)
WARM_UP_INSIDE = Rule(
    "TL403",
    "warning",
    "warm-up is timed",
    "The first step on a device also loads libraries, allocates memory, chooses algorithms and compiles; the first "
    "batch of a loader starts its worker processes. That happens once, and is not the speed of training.",
    "Train for some steps before the first clock read.",
)
WAITS_FOR_INPUT = Rule(
    "TL404",
    "warning",
    "the timed span waits for its data",
    "While the script waits for the next batch the device has nothing to do: the figure is the loader's more than the "
    "model's, and two devices look more alike than they are.",
    "To time the model, put the data on the device before the clock is read; to train faster, more workers or less "
    "work for each sample.",
)
EVALUATES_INSIDE = Rule(
    "TL405",
    "warning",
    "more than training is timed",
    "Evaluation, logging and saving take time that is not training's, and not the same share of it on every device.",
    "Read the clock before it, or take its time from the figure.",
)
ONE_REPETITION = Rule(
    "TL406",
    "warning",
    "timed once",
    "One figure has no spread: nobody can tell whether another run, or another device, would differ from it by more "
    "than chance.",
    "Time several spans, five at least, and give their median with their spread.",
)
ONE_AFTER_THE_OTHER = Rule(
    "TL407",
    "warning",
    "devices are timed one after the other",
    "Heat, battery, other programs and the clock's own changes differ between the first half and the second, and the "
    "ratio takes them for a difference of the devices.",
    "Let the devices take turns: one span of each, then the next of each.",
)
PERCENTAGE = Rule(
    "TL441",
    "warning",
    "a ratio is shown as a percentage",
    "A ratio of 2 is twice as fast, or 100% faster; shown times a hundred it reads 200%, which is three times as fast "
    "to some readers and twice to others.",
    "Write 2.0x, with its spread.",
)


def not_waited(trace: Trace) -> Iterable[Finding]:
    """A span whose end is read while the device works."""
    for spans in trace.spans:
        if spans.by_events or spans.devices == ("cpu",):
            continue
        whole = spans.looked_at_seconds + spans.unfinished_seconds
        share = spans.unfinished_seconds / whole if whole else 0.0
        each = spans.unfinished_seconds / max(1, spans.looked_at)
        if share > UNTIMED and each > LEAST_UNTIMED_SECONDS:
            yield found(
                NOT_WAITED,
                str(spans.end),
                f"{milliseconds(each)} of work were still to be done at each of {spans.looked_at} reads, of "
                f"{milliseconds(whole / spans.looked_at)}: {share:.0%} of the work was not timed",
            )
        elif spans.unwaited == spans.count:
            done = (
                f"here {milliseconds(each)} were still to be done, of {milliseconds(whole / max(1, spans.looked_at))}"
            )
            made = found(NOT_WAITED, str(spans.end), f"nothing waits for the device before it; {done}")
            yield replace(made, severity="warning", title="no wait before the clock is read")


def value_each_step(trace: Trace) -> Iterable[Finding]:
    """Values that are read in each step of spans of several."""
    for spans in trace.spans:
        if spans.steps < TWO * spans.count:
            continue
        for line in spans.values:
            if line.count >= EACH_STEP * spans.steps:
                yield found(
                    VALUE_EACH_STEP,
                    str(line.place),
                    f"{line.count} values in {spans.steps} steps, each after a wait of "
                    f"{milliseconds(line.seconds / line.count)}: {line.seconds / spans.total_seconds:.0%} of the "
                    "timed span",
                )


def warm_up_inside(trace: Trace) -> Iterable[Finding]:
    """The first step of all is in a timed span and takes longer than others; or workers start within one."""
    for spans in trace.spans:
        extra = spans.first_step_seconds - spans.step_seconds
        share = extra / spans.first_span_seconds if spans.first_span_seconds else 0.0
        if spans.step_seconds and share > WARM_UP:
            evidence = (
                f"the first step on {', '.join(spans.devices)} took {milliseconds(spans.first_step_seconds)}, a usual "
                f"one {milliseconds(spans.step_seconds)}: {share:.0%} of its span, which is the first of {spans.count}"
            )
            made = found(WARM_UP_INSIDE, str(spans.start), evidence)
            yield made if spans.count < SEVERAL else replace(made, severity="note")
        for line in spans.workers_started:
            started = _share(line, spans)
            if started > WARM_UP:
                yield found(
                    WARM_UP_INSIDE,
                    str(line.place),
                    f"worker processes were started, {line.count} x {milliseconds(line.seconds / line.count)}: "
                    f"{started:.0%} of the timed span",
                )


def waits_for_input(trace: Trace) -> Iterable[Finding]:
    """A loader that holds the step up."""
    for spans in trace.spans:
        for line in spans.inputs:
            share = _share(line, spans)
            if share > STARVED:
                yield found(
                    WAITS_FOR_INPUT,
                    str(line.place),
                    f"{milliseconds(line.seconds / max(1, spans.steps))} of a step are waits for the next batch: "
                    f"{share:.0%} of the timed span",
                )


def evaluates_inside(trace: Trace) -> Iterable[Finding]:
    """Evaluation by its share of the host's work, for the device's cannot be told apart; printing by its time."""
    for spans in trace.spans:
        work = spans.train_seconds + sum(line.seconds for line in spans.evaluations)
        told: list[tuple[Line, float, str]] = [
            *(
                (line, line.seconds / work, "evaluations, about {:.0%} of the work")
                for line in spans.evaluations
                if work
            ),
            *(
                (line, line.seconds / spans.total_seconds, "prints, {:.0%} of the timed span")
                for line in spans.outputs
                if spans.total_seconds
            ),
        ]
        for line, share, words in told:
            if share > BESIDE:
                yield found(EVALUATES_INSIDE, str(line.place), f"{line.count} {words.format(share)}")


def one_repetition(trace: Trace) -> Iterable[Finding]:
    """A model on a device of which no line times more than one span."""
    for workload in dict.fromkeys(map(_workload, trace.spans)):
        mine = [spans for spans in trace.spans if _workload(spans) == workload]
        if all(spans.count == UNREPEATED for spans in mine):
            spans = max(mine, key=lambda each: each.total_seconds)
            yield found(
                ONE_REPETITION,
                str(spans.place),
                f"one span of {spans.steps} steps on {', '.join(spans.devices)} for a model of "
                f"{millions(spans.parameters)} parameters at batch {spans.batch}, {milliseconds(spans.total_seconds)}",
            )


def _workload(spans: Spans) -> tuple[tuple[str, ...], int, int]:
    return spans.devices, spans.parameters, spans.batch


def one_after_the_other(trace: Trace) -> Iterable[Finding]:
    """All spans of one device come before all of another."""
    timed = list(dict.fromkeys(trace.turns))
    if len(timed) < TWO or len(trace.turns) > len(timed):
        return
    ratio = next((each for each in trace.quotients if each.above and each.below and each.above != each.below), None)
    last = next(spans for spans in trace.spans if spans.devices == (timed[-1],))
    where = ratio.place if ratio else last.place
    counts = {device: sum(spans.count for spans in trace.spans if spans.devices == (device,)) for device in timed}
    told = ", then ".join(f"{count} of {device}" for device, count in counts.items())
    yield found(ONE_AFTER_THE_OTHER, str(where), f"timed spans: {told}")


def percentage(trace: Trace) -> Iterable[Finding]:
    """A ratio of two timings, neither a part of the other, that was shown times a hundred."""
    seen = set()
    for ratio in trace.quotients:
        if ratio.printed and not ratio.of_parts and ratio.printed not in seen:
            seen.add(ratio.printed)
            yield found(PERCENTAGE, str(ratio.printed), f"{ratio.value:.3g} times is shown as {100 * ratio.value:.4g}")


def millions(count: int) -> str:
    """How large a model is."""
    return f"{count / 1e6:.3g} million" if count >= 1e6 else str(count)  # noqa: PLR2004  a million


def _share(line: Line, spans: Spans) -> float:
    """What part of the timed spans a line took."""
    return line.seconds / spans.total_seconds if spans.total_seconds else 0.0


def milliseconds(seconds: float) -> str:
    """A time with three digits that count, in the unit that suits it."""
    factor, unit = (1.0, "s") if seconds >= 1 else (1e3, "ms") if seconds >= 1e-3 else (1e6, "µs")  # noqa: PLR2004  where the unit changes
    return f"{seconds * factor:.3g} {unit}"


RULES = (
    not_waited,
    value_each_step,
    warm_up_inside,
    waits_for_input,
    evaluates_inside,
    one_repetition,
    one_after_the_other,
    percentage,
)
