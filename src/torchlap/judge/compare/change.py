"""One cell before and after: the ratio, the verdict, and what else differs between the two."""

from typing import Literal

from msgspec import Struct
from msgspec.structs import replace

from torchlap.judge.compare.between import between_arms, between_runs
from torchlap.judge.compare.cells import setting_differences, workload_differences
from torchlap.judge.compare.pairs import Item
from torchlap.judge.measurement import disturbances, pair_disturbances
from torchlap.stats import Interval, unpaired_ratio, widened

Verdict = Literal["faster", "slower", "same", "inconclusive"]

PUBLISHED_FACTOR = 1.5
"""A published figure has no spread: nearer than this it says nothing."""

PAIRED = "paired"


class Change(Struct, frozen=True, kw_only=True):
    """A cell before and after.

    Attributes:
        before: items per second, like `after`; None for a cell without a result.
        before_interval: the interval of `before`, like `after_interval`; None for a figure without a spread.
        ratio: how many times as fast `after` is; None if a side has no result.
        interval: of the ratio; None if a side has no spread.
        reason: what the verdict is based on, if not on the interval alone.
        unit: what `after` counts; `before_unit`, what `before` counts.
        codes: findings about a side that rule out a verdict.
        differences: how the two cells differ, although they are compared.
        between: what the interval contains for how processes or runs of one program differ, a half-width on the log
            scale.
    """

    column: str
    model: str
    batch: int
    phase: str
    recipe: str
    before_device: str
    device: str
    before: float | None
    after: float | None
    ratio: float | None
    interval: Interval | None
    verdict: Verdict
    before_interval: Interval | None = None
    after_interval: Interval | None = None
    before_unit: str = "images"
    unit: str = "images"
    reason: str = ""
    codes: tuple[str, ...] = ()
    differences: tuple[str, ...] = ()
    between: float = 0.0

    @property
    def ground(self) -> Interval | None:
        """The interval, if a verdict may be based on it: the same workload on both sides, and no disturbance."""
        return self.interval if self.reason in ("", PAIRED) else None


class Outcome(Struct, frozen=True):
    """A ratio, its verdict, and the reason if the verdict is not based on the interval alone."""

    ratio: float | None = None
    interval: Interval | None = None
    reason: str = ""
    codes: tuple[str, ...] = ()
    verdict: Verdict = "inconclusive"
    between: float = 0.0


def change_of(before: Item, after: Item, band: float) -> Change:
    """Compare two cells; a ratio whose whole interval is within `band` of 1 is the same."""
    workload = tuple(workload_differences(before, after))
    outcome = _outcome(before, after, workload, band)
    cell = before.cell.cell
    recipe = str(replace(cell.recipe, workers=None))
    return Change(
        column=after.label,
        model=cell.workload.model,
        batch=cell.workload.batch,
        phase=cell.workload.phase,
        recipe=recipe if before.row[3] else f"{recipe}, {replace(after.cell.cell.recipe, workers=None)}",
        before_device=cell.device,
        device=after.cell.cell.device,
        before_unit=cell.workload.unit,
        unit=after.cell.cell.workload.unit,
        before=before.cell.estimate,
        after=after.cell.estimate,
        before_interval=before.cell.throughput,
        after_interval=after.cell.throughput,
        ratio=outcome.ratio,
        interval=outcome.interval,
        verdict=outcome.verdict,
        reason=outcome.reason,
        codes=outcome.codes,
        between=outcome.between,
        differences=(*workload, *setting_differences(before, after)),
    )


def _outcome(before: Item, after: Item, workload: tuple[str, ...], band: float) -> Outcome:
    """How many times as fast, with its interval if there is one, and the reason if it allows no verdict."""
    for item in (before, after):
        if item.void:
            return Outcome(reason=f"{item.named.name}: void ({item.void})", codes=(item.void,))
        if item.cell.estimate is None:
            kind = item.cell.failure.kind.replace("_", " ") if item.cell.failure else "not measured"
            return Outcome(reason=f"{item.named.name}: {kind}")
    old, new = before.cell, after.cell
    if before.named is after.named and old.is_baseline and new.speed_up:
        return _of_turns(after, new.speed_up, workload, band)
    if not (old.throughput and new.throughput):
        return _without_spread(before, after)
    of_runs = [(item.cell, item.named.run.header.facts) for item in (before, after)]
    between = 0.0 if before.named is after.named else between_runs(*of_runs)
    interval = unpaired_ratio(new.throughput, old.throughput, between)
    if workload:
        return Outcome(interval.value, interval, f"not the same workload: {'; '.join(workload)}", between=between)
    reason, codes = _disturbed(before, after)
    verdict = "inconclusive" if reason else _verdict(interval, band)
    return Outcome(interval.value, interval, reason, codes, verdict, between)


def _of_turns(after: Item, speed_up: Interval, workload: tuple[str, ...], band: float) -> Outcome:
    """Two cells that took turns in one run; the arms of a run are the two sides of a change, so they must be alike."""
    between = between_arms(after.cell) if after.cell.cell.arm else 0.0
    ratio = widened(speed_up, between)
    if workload and after.cell.cell.arm:
        return Outcome(ratio.value, ratio, f"not the same workload: {'; '.join(workload)}", between=between)
    disturbed = list(pair_disturbances(after.cell, after.conditions))
    if disturbed:
        reason = "; ".join(f"{finding.title} ({finding.code}: {finding.evidence})" for finding in disturbed)
        codes = tuple(dict.fromkeys(finding.code for finding in disturbed))
        return Outcome(ratio.value, ratio, reason, codes, between=between)
    return Outcome(ratio.value, ratio, PAIRED, verdict=_verdict(ratio, band), between=between)


def _without_spread(before: Item, after: Item) -> Outcome:
    item = after if before.cell.throughput else before
    old, new = before.cell.estimate, after.cell.estimate
    why = "published without a spread" if item.named.run.header.published else "a single lap, so no spread"
    reason = f"{item.named.name}: {why}"
    if not (new and old):
        return Outcome(reason=reason)
    one_is_published = bool(before.named.run.header.published) != bool(after.named.run.header.published)
    return Outcome(new / old, reason=reason, verdict=_of_published(new / old) if one_is_published else "inconclusive")


def _disturbed(before: Item, after: Item) -> tuple[str, tuple[str, ...]]:
    """What disturbed the measurement of a side, and the codes of those findings."""
    reasons, codes = [], []
    for item in (before, after):
        for finding in disturbances(item.cell, item.conditions, item.named.run.header.facts):
            reasons.append(f"{item.named.name}: {finding.title} ({finding.code}: {finding.evidence})")
            codes.append(finding.code)
    return "; ".join(reasons), tuple(dict.fromkeys(codes))


def _verdict(interval: Interval, band: float) -> Verdict:
    """Faster or slower only if the whole interval is beyond the band; the same only if it is within."""
    if interval.low > 1 + band:
        return "faster"
    if interval.high < 1 / (1 + band):
        return "slower"
    return "same" if interval.low >= 1 / (1 + band) and interval.high <= 1 + band else "inconclusive"


def _of_published(ratio: float) -> Verdict:
    """Of a measured figure and a published one."""
    if ratio > PUBLISHED_FACTOR:
        return "faster"
    return "slower" if ratio < 1 / PUBLISHED_FACTOR else "inconclusive"
