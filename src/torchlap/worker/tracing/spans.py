"""Find the timed spans: which clock readings the script subtracted from each other, and what it made of the times."""

from collections import deque
from collections.abc import Iterable, Sequence

from msgspec import Struct

from torchlap.schema.trace import Place
from torchlap.worker.tracing.labels import Difference
from torchlap.worker.tracing.log import Log, Read, Site, Span
from torchlap.worker.tracing.names import trees
from torchlap.worker.tracing.syntax import Flow

MOST_OPEN = 64
"""Start readings that were not yet subtracted."""


class Timed(Struct):
    """The spans of one subtraction, in the order of their ends."""

    difference: Difference
    spans: list[Span]


class Divided(Struct):
    """A ratio of times: of which spans, where, and where it was shown as a percentage."""

    place: Place
    above: list[Span]
    below: list[Span]
    printed: Place | None


def find(log: Log) -> tuple[list[Timed], list[Divided]]:
    """All spans of the script so far, and all ratios of their times."""
    reads = list(log.reads)
    innermost = {read.chain[0] for read in reads if read.chain}
    outer = {site for read in reads for site in read.chain[1:]}
    flow = Flow(trees({file for file, _, _ in innermost | outer} | log.files), innermost, outer)
    timed = {
        site: Timed(difference, _paired(difference, reads, log) or _by_events(difference, log))
        for site, difference in flow.differences.items()
    }
    divided = [
        Divided(
            _place(log, ratio.file, ratio.line),
            _spans_of(ratio.above, timed),
            _spans_of(ratio.below, timed),
            _place(log, ratio.file, ratio.printed) if ratio.printed else None,
        )
        for ratio in flow.ratios.values()
    ]
    return list(timed.values()), divided


def _spans_of(sites: Iterable[Site], timed: dict[Site, Timed]) -> list[Span]:
    return [span for site in sorted(sites) for span in timed[site].spans]


def _place(log: Log, file: str, line: int) -> Place:
    return Place(log.name_of(file) or log.script.name, line)


def _by_events(difference: Difference, log: Log) -> list[Span]:
    place = _place(log, difference.file, difference.line)
    return [span for span in log.event_spans if span.place == place]


def _paired(difference: Difference, reads: Sequence[Read], log: Log) -> list[Span]:
    """Each end with the start that its variable held: the last one of the same call, or else the last open one."""
    place = _place(log, difference.file, difference.line)
    spans: list[Span] = []
    opened: deque[Read] = deque(maxlen=MOST_OPEN)
    last: Read | None = None
    delayed: list[Read] = []
    for read in reads:
        is_end = not difference.ends.isdisjoint(read.chain)
        if is_end:
            start = _start(opened, read) or last
            if start is not None and start.clock.removesuffix("_ns") == read.clock.removesuffix("_ns"):
                spans.append(Span(start, read, place, read.value - start.value))
                last = start
            opened.extend(delayed)
            delayed.clear()
        if not is_end and not difference.delayed.isdisjoint(read.chain):
            delayed = [read]
        elif not difference.starts.isdisjoint(read.chain):
            for known in [each for each in opened if (each.frame, each.chain) == (read.frame, read.chain)]:
                opened.remove(known)
            opened.append(read)
    return _from_first_to_last(spans) if difference.whole else spans


def _from_first_to_last(spans: list[Span]) -> list[Span]:
    """One span for all that a function call reads."""
    joined: dict[tuple[int, int], Span] = {}
    for span in spans:
        first = joined.get((span.end.frame, span.end.function), span)
        seconds = span.end.value - first.start.value
        joined[span.end.frame, span.end.function] = Span(first.start, span.end, span.place, seconds)
    return list(joined.values())


def _start(opened: deque[Read], end: Read) -> Read | None:
    """Takes out the start for this end."""
    same = [read for read in opened if read.frame == end.frame]
    start = same[-1] if same else opened[-1] if opened else None
    if start is not None:
        opened.remove(start)
    return start
