"""From the raw laps of `torchlap scale` to its figures: efficiency, communication, the slowest rank, memory."""

from collections.abc import Sequence
from statistics import median

from msgspec import Struct

from torchlap.runs.figures import LEAST_LAPS, CellResult, Tally, tally
from torchlap.schema.events import Lap, LinkMeasured, RanksChecked, RanksDescribed, Run
from torchlap.schema.ranks import Link, RankFacts, RankNumerics, Scaling
from torchlap.stats import Interval, lap_interval

ALONE, TOGETHER, UNSYNCHRONIZED = 0, 1, 2
"""A group's cells, by their places; one that shards has no third."""


class Share(Struct, frozen=True):
    """A part of something with its interval; it may come out below 0 by noise."""

    value: float
    low: float
    high: float


class SlowestRank(Struct, frozen=True):
    """The rank that takes longest by itself, and how many times as long as the median of the others."""

    rank: int
    factor: Interval


class Communication(Struct, frozen=True, kw_only=True):
    """What exchanging gradients costs.

    Attributes:
        of_step: the part of a synchronized step that an unsynchronized one does not take.
        seconds: the same in seconds.
        all_reduce_seconds: one all-reduce of all gradients by itself.
        bus_bytes_per_second: what it moves over each rank's link, 2 (n - 1) / n of the gradients (nccl-tests,
            doc/PERFORMANCE.md).
        not_hidden: `seconds` over `all_reduce_seconds`: 0 is wholly behind the backward pass, 1 is not at all.
        bytes: of all gradients.
    """

    of_step: Share | None = None
    seconds: float | None = None
    all_reduce_seconds: Interval | None = None
    bus_bytes_per_second: Interval | None = None
    not_hidden: Share | None = None
    bytes: int = 0
    reason: str = ""


class SizeResult(Struct, frozen=True, kw_only=True):
    """What is known about one number of ranks.

    Attributes:
        speed_up: of all ranks over one device.
        efficiency: the same per rank.
        ranks: what each rank is; `alone_facts` is the one device.
        step_seconds: of one device, of all ranks, and of all without synchronization, where they have figures.
        without: how many times as long as on one device a step takes without synchronization.
        ideal: how many times as long it would take if nothing were lost: 1, or less if the batch is divided.
    """

    ranks: int
    alone: CellResult
    together: CellResult
    unsynchronized: CellResult | None
    speed_up: Interval | None
    efficiency: Interval | None
    communication: Communication
    slowest: SlowestRank | None
    facts: tuple[RankFacts, ...]
    alone_facts: RankFacts | None
    numerics: RankNumerics | None
    step_seconds: tuple[float | None, float | None, float | None]
    without: Interval | None
    ideal: float


def scaling_of(run: Run) -> Scaling | None:
    """How the run scales; None for the run of another command."""
    return run.header.plan.scaling


def sizes(run: Run) -> tuple[SizeResult, ...]:
    """The figures of each number of ranks, in the plan's order; none for the run of another command."""
    scaling = scaling_of(run)
    if scaling is None:
        return ()
    confidence = run.header.plan.confidence
    return tuple(
        _size(number, ranks, group, run, confidence)
        for number, (ranks, group) in enumerate(zip(scaling.ranks, tally(run), strict=False))
    )


def _size(number: int, ranks: int, group: Tally, run: Run, confidence: float) -> SizeResult:
    cells = group.result(confidence).cells
    together = cells[TOGETHER]
    described: dict[int, tuple[RankFacts, ...]] = {}
    link, numerics = None, None
    for event in run.events:
        match event:
            case RanksDescribed(group=of, cell=cell, ranks=facts) if of == number:
                described[cell] = facts
            case LinkMeasured(group=of) if of == number:
                link = event.link
            case RanksChecked(group=of) if of == number:
                numerics = event.numerics
            case _:
                pass
    alone_facts = described.get(ALONE, ())
    return SizeResult(
        ranks=ranks,
        alone=cells[ALONE],
        together=together,
        unsynchronized=cells[UNSYNCHRONIZED] if len(cells) > UNSYNCHRONIZED else None,
        speed_up=together.speed_up,
        efficiency=divided(together.speed_up, ranks) if together.speed_up else None,
        communication=_communication(group, link, confidence),
        slowest=_slowest(group, confidence),
        facts=described.get(TOGETHER, ()),
        alone_facts=alone_facts[0] if alone_facts else None,
        numerics=numerics,
        step_seconds=(_step(group, ALONE), _step(group, TOGETHER), _step(group, UNSYNCHRONIZED)),
        without=_paired(group, UNSYNCHRONIZED, ALONE, confidence),
        ideal=together.cell.workload.batch / cells[ALONE].cell.workload.batch,
    )


def divided(interval: Interval, by: float) -> Interval:
    """An interval of a part of a quantity."""
    return Interval(interval.value / by, interval.low / by, interval.high / by, interval.count)


def _step(group: Tally, cell: int) -> float | None:
    laps = group.laps(cell) if cell < len(group.group.cells) else []
    return median(lap.seconds / lap.steps for lap in laps) if laps else None


def _seconds(laps: Sequence[Lap]) -> float:
    return sum(lap.seconds for lap in laps) / sum(lap.steps for lap in laps)


def _paired(group: Tally, cell: int, other: int, confidence: float) -> Interval | None:
    """How many times as long a cell's step takes as another one's, from the rounds in which both have a turn."""
    ratios = [_seconds(turn) / _seconds(of_other) for turn, of_other in group.paired_turns(cell, other)]
    return lap_interval(ratios, confidence) if len(ratios) >= LEAST_LAPS else None


def _communication(group: Tally, link: Link | None, confidence: float) -> Communication:
    of_step, seconds = None, None
    step, rest = _step(group, TOGETHER), _paired(group, UNSYNCHRONIZED, TOGETHER, confidence)
    if rest is not None and step is not None:
        of_step = Share(1 - rest.value, 1 - rest.high, 1 - rest.low)
        seconds = of_step.value * step
    if link is None or len(link.laps) < LEAST_LAPS:
        return Communication(of_step=of_step, seconds=seconds, reason=link.reason if link else "")
    alone = lap_interval([lap.seconds / lap.count for lap in link.laps], confidence)
    moved = 2 * (link.ranks - 1) / link.ranks * link.bytes
    not_hidden = None
    if of_step is not None and step is not None:
        low, high = (bound * step / alone.value for bound in (of_step.low, of_step.high))
        not_hidden = Share(of_step.value * step / alone.value, low, high)
    return Communication(
        of_step=of_step,
        seconds=seconds,
        all_reduce_seconds=alone,
        bus_bytes_per_second=Interval(moved / alone.value, moved / alone.high, moved / alone.low, alone.count),
        not_hidden=not_hidden,
        bytes=link.bytes,
    )


def _slowest(group: Tally, confidence: float) -> SlowestRank | None:
    """From laps without synchronization, in which no rank waits for another."""
    if len(group.group.cells) <= UNSYNCHRONIZED:
        return None
    laps = [lap.rank_seconds for lap in group.laps(UNSYNCHRONIZED) if len(lap.rank_seconds) > 1]
    if len(laps) < LEAST_LAPS or len({len(lap) for lap in laps}) > 1:
        return None
    factors = {rank: [_over_others(lap, rank) for lap in laps] for rank in range(len(laps[0]))}
    slowest = max(factors, key=lambda rank: median(factors[rank]))
    return SlowestRank(slowest, lap_interval(factors[slowest], confidence))


def _over_others(seconds: Sequence[float], rank: int) -> float:
    return seconds[rank] / median([*seconds[:rank], *seconds[rank + 1 :]])
