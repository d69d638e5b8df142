"""One cell before and after: the ratio, the verdict, and what else differs between the two."""

from collections.abc import Iterator
from typing import Literal

from msgspec import Struct
from msgspec.structs import replace

from torchlap.judge.bottleneck import attention
from torchlap.judge.compare.between import between_arms, between_runs
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


def change_of(before: Item, after: Item, band: float) -> Change:
    """Compare two cells; a ratio whose whole interval is within `band` of 1 is the same."""
    workload = tuple(_workload_differences(before, after))
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
        differences=(*workload, *_setting_differences(before, after)),
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
        return Outcome(interval.value, interval, f"not the same workload: {'; '.join(workload)}")
    reason, codes = _disturbed(before, after)
    return Outcome(interval.value, interval, reason, codes, "inconclusive" if reason else _verdict(interval, band))


def _of_turns(after: Item, speed_up: Interval, workload: tuple[str, ...], band: float) -> Outcome:
    """Two cells that took turns in one run; the arms of a run are the two sides of a change, so they must be alike."""
    if after.cell.cell.arm:
        speed_up = widened(speed_up, between_arms(after.cell))
    if workload and after.cell.cell.arm:
        return Outcome(speed_up.value, speed_up, f"not the same workload: {'; '.join(workload)}")
    disturbed = list(pair_disturbances(after.cell, after.conditions)) if after.cell.cell.arm else []
    if disturbed:
        reason = "; ".join(f"{finding.title} ({finding.code}: {finding.evidence})" for finding in disturbed)
        return Outcome(speed_up.value, speed_up, reason, tuple(dict.fromkeys(one.code for one in disturbed)))
    return Outcome(speed_up.value, speed_up, PAIRED, verdict=_verdict(speed_up, band))


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


def _workload_differences(before: Item, after: Item) -> Iterator[str]:
    """What makes it another workload; empty where a side does not say."""
    units = before.cell.cell.workload.unit, after.cell.cell.workload.unit
    if units[0] != units[1]:
        yield f"{units[0]} vs. {units[1]}"
    items = _items(before), _items(after)
    if before.named.run.header.plan.items != after.named.run.header.plan.items and items[0] != items[1]:
        yield f"{items[0]:g} vs. {items[1]:g} {units[0]} in a batch"
    old, new = before.cell.prepared, after.cell.prepared
    if old is None or new is None or before.named.run.header.published or after.named.run.header.published:
        return
    if old.input_shape != new.input_shape:
        yield f"input {_shape(old.input_shape)} vs. {_shape(new.input_shape)}"
    if old.parameters != new.parameters:
        yield f"{old.parameters:,} vs. {new.parameters:,} parameters"


def _items(item: Item) -> float:
    """How many items a batch has."""
    laps, batch = item.cell.laps, item.cell.cell.workload.batch
    return (laps[-1].items or batch * laps[-1].steps) / laps[-1].steps if laps else batch


def _shape(sizes: tuple[int, ...]) -> str:
    return "x".join(map(str, sizes)) or "unknown"


def _setting_differences(before: Item, after: Item) -> Iterator[str]:
    """What else may have changed the speed."""
    recipes = before.cell.cell.recipe, after.cell.cell.recipe
    ways = ["resident" if recipe.workers is None else f"workers:{recipe.workers}" for recipe in recipes]
    yield from _named("data", *ways)
    yield from _named("model file", *(_file_hash(item) for item in (before, after)))
    plans = before.named.run.header.plan, after.named.run.header.plan
    yield from _named("data", *(plan.data for plan in plans))
    yield from _named("weights", *(plan.weights for plan in plans))
    kernels = [" + ".join(sorted(attention(item.cell.breakdown))) for item in (before, after)]
    if all(kernels):
        yield from _named("attention kernels", *kernels)
    old, new = before.cell.prepared, after.cell.prepared
    if old is None or new is None or before.cell.cell.device != after.cell.cell.device:
        return
    yield from _named("threads", str(old.threads), str(new.threads))
    if recipes[0].memory_format == recipes[1].memory_format:
        yield from _named("memory format", old.memory_format, new.memory_format)
    steady = ["steady" if preparation.steady else "cut short (TL203)" for preparation in (old, new)]
    yield from _named("warm-up", *steady)


def _file_hash(item: Item) -> str:
    """The first digits of the hash of a user's file, as it was when its model was measured."""
    model, arm = item.cell.cell.workload.model, item.cell.cell.arm
    known = [
        each for each in item.named.run.header.plan.identities if (each.model, each.arm) == (model, arm) and each.sha256
    ]
    return known[0].sha256[:8] if known else "unknown"


def _named(what: str, old: str, new: str) -> Iterator[str]:
    if old != new:
        yield f"{what} {old} vs. {new}"
