"""Whether the spans of a line can be trusted as a series: growing time and memory, and torch.compile inside."""

from collections.abc import Iterable
from dataclasses import replace
from itertools import pairwise
from statistics import mean, median

from msgspec import structs

from torchlap.judge.findings import Finding, Rule
from torchlap.judge.script.timing import counted, duration
from torchlap.schema.trace import Spans, Trace

GROWS = Rule(
    "TL415",
    "warning",
    "memory grows with every step",
    "A tensor that requires a gradient keeps the graph of its whole computation alive. A running total of losses, a "
    "list of losses, or a hidden state that is carried from step to step therefore keeps the graph of every step so "
    "far: memory grows until it runs out, and each step has to allocate more.",
    "Write total += loss.detach() or loss.item(); detach a hidden state before the next step.",
    "https://docs.pytorch.org/docs/stable/notes/faq.html#my-model-reports-cuda-runtime-error-2-out-of-memory",
)

FEWEST_SAMPLES = 16
LEAST_GROWTH, LEAST_UNEXPLAINED = 16 << 20, 128 << 20
"""Without a line that explains it, less may be an allocator that reserves more."""

LEAST_BYTES = 64 << 10
"""A step that leaves less behind, such as a logged number, does no harm."""

STEADY = 0.2
"""In a steady growth, each third of the steps has at least this share of it."""

MEBIBYTE = 1 << 20


def grows(trace: Trace) -> Iterable[Finding]:
    """The memory in use grows steadily from step to step."""
    samples = trace.memory.samples
    samples = samples[len(samples) // 8 :]
    if len(samples) < FEWEST_SAMPLES:
        return
    third = len(samples) // 3
    ends = [samples[0], samples[third], samples[2 * third], samples[-1]]
    parts = [later[1] - earlier[1] for earlier, later in pairwise(ends)]
    growth, steps = ends[-1][1] - ends[0][1], ends[-1][0] - ends[0][0]
    per_step = growth / max(1, steps)
    least = LEAST_GROWTH if trace.memory.kept else LEAST_UNEXPLAINED
    if growth < least or per_step < LEAST_BYTES or min(parts) < STEADY * growth:
        return
    where = str(trace.memory.kept[0]) if trace.memory.kept else ""
    kept = "; this line keeps a loss together with its graph" if where else ""
    evidence = (
        f"{per_step / MEBIBYTE:.2g} MiB per step were never freed, {growth / MEBIBYTE:.0f} MiB in {steps} steps{kept}"
    )
    yield GROWS.finding(where or _first_line(trace), evidence)


def _first_line(trace: Trace) -> str:
    return str(trace.spans[0].place) if trace.spans else str(trace.losses[0].place) if trace.losses else ""


TWO_SPEEDS = Rule(
    "TL416",
    "warning",
    "the timed spans have two speeds",
    "A median or mean describes spans that are alike. If the times grow from span to span, or jump to another level, "
    "it describes neither speed.",
    "Find out what changed: growing memory, a clock that drops with heat, another program, or other data. Report only "
    "the steady part.",
)

FEWEST_SPANS = 6
OTHER_LEVEL = 1.5
LEAST_SECONDS = 0.05
"""What all later spans together must take more, or less."""

SCATTER = 0.15
"""Within each half, most spans are this close to its median."""


def two_speeds(trace: Trace) -> Iterable[Finding]:
    """The later spans of a line are much slower, or faster, than the earlier ones, which agree among themselves."""
    for spans in trace.spans:
        per_span = list(spans.seconds[1:])
        if len(per_span) < FEWEST_SPANS or spans.compiled or spans.evaluated or not _same_work(spans):
            continue
        if _rises(per_span):
            third = len(per_span) // 3
            first, last = median(per_span[:third]), median(per_span[-third:])
            evidence = (
                f"the time grows from span to span: the median is {duration(first)} in the first third of "
                f"{spans.count} spans and {duration(last)} in the last{_cause(trace, spans, is_later=True)}"
            )
            finding = TWO_SPEEDS.finding(str(spans.place), evidence, remedy=DETACH)
            yield replace(finding, title="the timed spans become slower and slower")
            continue
        half = len(per_span) // 2
        early, late = per_span[:half], per_span[-half:]
        before, after = median(early), median(late)
        slower = max(before, after) / min(before, after) if min(before, after) else 1.0
        if abs(after - before) * half < LEAST_SECONDS:
            continue
        if slower > OTHER_LEVEL and _is_steady(early) and (_is_steady(late) or late == sorted(late)):
            evidence = (
                f"the median is {duration(before)} in the first half of {spans.count} spans and {duration(after)} in "
                f"the second, a factor of {slower:.2g}{_cause(trace, spans, is_later=after > before)}"
            )
            yield TWO_SPEEDS.finding(str(spans.place), evidence)


DETACH = (
    "Look for what grows with each step: a hidden state that is carried on without detach(), so that backward goes "
    "through all earlier steps, a list that is searched or copied, or data that become larger."
)
FEWEST_RISING = 12
RISING = 0.9
"""So many of the spans take longer than the one a third of the series before."""


def _rises(seconds: list[float]) -> bool:
    """Whether times grow throughout, and by much."""
    third = len(seconds) // 3
    if len(seconds) < FEWEST_RISING:
        return False
    first, middle, last = median(seconds[:third]), median(seconds[third:-third]), median(seconds[-third:])
    longer = sum(later > earlier for earlier, later in zip(seconds, seconds[third:], strict=False))
    grows_by_much = last > OTHER_LEVEL * first and (last - first) * third > LEAST_SECONDS
    is_gradual = first * STEP < middle < last / STEP
    return grows_by_much and is_gradual and longer >= RISING * (len(seconds) - third)


STEP = 1.1
"""The middle third is so many times slower than the first, and quicker than the last."""


def _cause(trace: Trace, spans: Spans, *, is_later: bool) -> str:
    """What else changed from the first half of the spans to the second, as a clause."""
    if len(spans.others) == len(spans.seconds):
        others = spans.others[1:]
        half = len(others) // 2
        early, late = mean(others[:half]), mean(others[-half:])
        if (late - early if is_later else early - late) > CPUS_MORE:
            return f"; other processes used {early:.1f} CPUs in the first half and {late:.1f} in the second"
    if is_later and any(grows(trace)):
        return "; memory grows meanwhile (TL415)"
    if is_later and any(found.share > MUCH_DENORMAL for found in trace.denormals):
        return "; meanwhile, many numbers have become denormal (TL435)"
    return ""


CPUS_MORE = 0.5
"""Other processes explain a slower half if they used so many CPUs more in it."""

MUCH_DENORMAL = 0.1

DISTURBED = Rule(
    "TL450",
    "warning",
    "other processes disturb the timing",
    "Some of the timed spans are much slower than the others, and while they ran, other processes used the CPU. A mean "
    "of such spans describes a mixture, and so does a median if many are slow.",
    "Stop the other processes and repeat the measurement, or report the quick spans with their spread.",
)

LEAST_DISTURBED = 3
FEW, MOST = 0.1, 0.9
"""The share of slow spans."""


def disturbed(trace: Trace) -> Iterable[Finding]:
    """Slow spans scattered among quick ones, while other processes used the CPU."""
    for spans in trace.spans:
        if spans.compiled or spans.evaluated or not _same_work(spans) or len(spans.others) != len(spans.seconds):
            continue
        pairs = list(zip(spans.seconds, spans.others, strict=True))[1:]
        ordered = sorted(seconds for seconds, _ in pairs)
        quick = ordered[len(ordered) // 4] if ordered else 0.0
        slow = [pair for pair in pairs if pair[0] > OTHER_LEVEL * quick]
        rest = [pair for pair in pairs if pair[0] <= OTHER_LEVEL * quick]
        if len(slow) < LEAST_DISTURBED or not FEW <= len(slow) / len(pairs) <= MOST:
            continue
        more, usual = (mean(others for _, others in part) for part in (slow, rest))
        lost = sum(seconds - quick for seconds, _ in slow)
        if more - usual > CPUS_MORE and lost > LEAST_SECONDS and not any(two_speeds(_only(trace, spans))):
            evidence = (
                f"{len(slow)} of {len(pairs)} spans took more than {OTHER_LEVEL} times as long as the quick ones "
                f"({duration(median(seconds for seconds, _ in slow))} instead of {duration(quick)}); other processes "
                f"used {more:.1f} CPUs during them, {usual:.1f} during the rest"
            )
            yield DISTURBED.finding(str(spans.place), evidence)


def _only(trace: Trace, spans: Spans) -> Trace:
    """The trace with these spans only."""
    return structs.replace(trace, spans=(spans,))


def _same_work(spans: Spans) -> bool:
    return spans.steps % spans.count == 0


def _is_steady(seconds: list[float]) -> bool:
    middle = median(seconds)
    return sum(abs(each - middle) <= SCATTER * middle for each in seconds) > len(seconds) / 2


COMPILES = Rule(
    "TL443",
    "warning",
    "compilation is timed",
    "torch.compile compiles at the first call, and again for each new shape that it treats as a constant. Once a "
    "function has as many compiled versions as the limit allows, it silently runs uncompiled.",
    "Call the compiled model with every shape before the first clock read. For shapes that change, use dynamic=True, "
    "or pad to a few lengths.",
    "https://docs.pytorch.org/docs/stable/torch.compiler_troubleshooting.html",
)

MUCH = 0.05


def compiles(trace: Trace) -> Iterable[Finding]:
    """A timed span contains compilations, or what is timed was compiled until the limit and then no more."""
    at_limit = [each for each in trace.compiled if each.limit and each.count >= each.limit]
    for spans in trace.spans:
        share = spans.compile_seconds / spans.total_seconds if spans.total_seconds else 0.0
        if not spans.compiled or (share <= MUCH and not at_limit):
            continue
        evidence = (
            f"{counted(spans.compiled, 'compilation')} in {counted(spans.count, 'span')}, {share:.0%} of their time"
        )
        if at_limit:
            evidence += f"; {at_limit[0].place} reached the limit of {at_limit[0].limit} versions and runs uncompiled"
        finding = COMPILES.finding(str(spans.start), evidence)
        left_out = spans.conditional or (spans.robust and spans.compiled * 2 < spans.count)
        yield replace(finding, severity="note") if left_out and not at_limit else finding
        at_limit = []
    for each in at_limit:
        evidence = (
            f"compiled {each.count} times, in {duration(each.seconds)}, which is the limit: it now runs uncompiled"
        )
        yield COMPILES.finding(str(each.place), evidence)


BREAKS = Rule(
    "TL452",
    "warning",
    "graph breaks split the compiled code",
    "At a graph break, compiled code ends, Python runs the line, and another compiled function begins. Nothing is "
    "fused across a break, and each part is called on its own, so the timed code is only partly compiled.",
    "Move printing, .item() and branches that depend on values out of the compiled function. "
    "TORCH_LOGS=graph_breaks shows the reason of each break.",
    "https://docs.pytorch.org/docs/stable/user_guide/torch_compiler/torch.compiler_troubleshooting.html",
)
MOST_BREAKS = 5


def breaks(trace: Trace) -> Iterable[Finding]:
    """Lines of the script interrupt its compiled code; a note if nothing of it is timed."""
    if not trace.compiled or not (trace.breaks or trace.graph_breaks):
        return
    lines = [str(notice.place) for notice in trace.breaks]
    if lines:
        more = f" and {len(lines) - MOST_BREAKS} more" if len(lines) > MOST_BREAKS else ""
        evidence = f"{counted(len(lines), 'graph break')}, at {', '.join(lines[:MOST_BREAKS])}{more}"
    else:
        evidence = f"torch.compile counted {counted(trace.graph_breaks, 'graph break')}"
    finding = BREAKS.finding(lines[0] if lines else str(trace.compiled[0].place), evidence)
    yield finding if trace.spans else replace(finding, severity="note")


NOT_MIXED = Rule(
    "TL444",
    "warning",
    "mixed precision is not in effect",
    'autocast applies to one kind of device: autocast("cuda") does nothing for a model on the CPU or on MPS. A '
    "GradScaler that finds infinite gradients skips the optimizer's step.",
    "Pass the type of the model's device to autocast: torch.autocast(device.type). If all steps are skipped, find out "
    "which gradients are not finite.",
    "https://docs.pytorch.org/docs/stable/amp.html",
)


def not_mixed(trace: Trace) -> Iterable[Finding]:
    """The script requests autocast for another kind of device, or its scaler skips every step."""
    kinds = {device.partition(":")[0] for device in trace.devices}
    requested = {each.words for each in trace.autocasts}
    for each in trace.autocasts:
        if kinds and each.words not in kinds and not requested & kinds:
            evidence = f'autocast("{each.words}") was requested, but training is on {", ".join(sorted(kinds))}'
            yield NOT_MIXED.finding(str(each.place), evidence)
    for scaled in trace.scaled:
        if scaled.steps >= SEVERAL_STEPS and scaled.skipped == scaled.steps:
            evidence = f"the GradScaler skipped all {scaled.steps} optimizer steps"
            yield replace(NOT_MIXED.finding(str(scaled.place), evidence), severity="error")


SEVERAL_STEPS = 3

RULES = (grows, two_speeds, disturbed, compiles, breaks, not_mixed)
