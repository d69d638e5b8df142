"""What accepted figures say together: copies, outliers, reproductions, the spread of a chip, and its history."""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Container, Iterable, Sequence
from heapq import nlargest
from math import exp, log
from statistics import median

from msgspec import Struct
from msgspec.structs import replace

from torchlap.judge.collection.accept import Entry, Key, Machine, Submission
from torchlap.judge.compare.between import BETWEEN_RUNS
from torchlap.judge.findings import Finding, Rule
from torchlap.stats import plain

ABOVE_CHIP = Rule(
    "TL805",
    "error",
    "faster than the chip",
    "The step's matrix products would run faster than anything that other owners measured this chip to reach.",
    "Measure again with --why, so that the file has the peaks of its own device.",
)
COPY = Rule(
    "TL807",
    "error",
    "copy of another file",
    "Two measurements never have the same laps. Only the file that started first, by name if both did, is kept.",
    "Send a run of your own.",
)
OUTLIER = Rule(
    "TL810",
    "warning",
    "outlier among machines of the same chip",
    "The figure is far from that of the other machines with this chip. It may be right: other clocks, power limits, "
    "cooling or drivers. It is shown and marked, and left out of the spread.",
    "See the machine's page; run torchlap doctor on it if it is yours.",
)

LEAST_OWNERS = 3
"""So many other owners must have measured a chip's peak before it refuses anything."""

PEAK_SLACK = 1.1
LEAST_MACHINES = 5
"""Fewer machines do not show what is far from the others."""

OUTLIER_FACTOR, OUTLIER_DEVIATIONS = 1.25, 5.0
"""An outlier is further from the median than both: this factor, and so many deviations (1.4826 times the median
absolute deviation of the logarithms)."""

NARROW = 0.1
"""An interval with a larger half-width agrees with anything, so it reproduces nothing."""

Point = tuple[float, float, str]
"""The widened limits of an interval, and its owner."""


class Collection(Struct, frozen=True, kw_only=True):
    """All accepted entries, their machines by id, how many files there were, and what was refused."""

    entries: tuple[Entry, ...]
    machines: dict[str, Machine]
    files: int
    refused: tuple[Finding, ...]


class Spread(Struct, frozen=True, kw_only=True):
    """One kind of work on one chip: the median over machines, and the slowest and the fastest of them.

    Each machine counts once, with the median of its figures; outliers are counted, but left out.
    """

    chip: str
    key: Key
    label: str
    machines: int
    owners: int
    value: float
    low: float
    high: float
    outliers: int = 0


def put_together(submissions: Iterable[Submission], newest: Container[str] = ()) -> Collection:
    """Check the files against each other, and mark what that shows.

    Args:
        submissions: the files, in any order.
        newest: names of files that came last, whatever they say about their start: if one is a copy, it is refused.
    """
    files = sorted(
        submissions, key=lambda each: (each.file in newest, not _is_maintained(each), each.started, each.file)
    )
    refused = [finding for each in files for finding in each.refused]
    kept = list(_without_copies(files, refused))
    entries = list(_below_the_peaks(kept, refused))
    machines = {each.machine.id: each.machine for each in kept if each.machine and each.entries}
    marked = _mark_outliers(_mark_reproduced(entries))
    used = {entry.machine for entry in marked}
    return Collection(
        entries=tuple(marked),
        machines={name: machine for name, machine in machines.items() if name in used},
        files=len(files),
        refused=tuple(sorted(refused, key=lambda finding: (finding.code, finding.where))),
    )


def _is_maintained(submission: Submission) -> bool:
    return any(entry.maintained for entry in submission.entries)


def _without_copies(files: Iterable[Submission], refused: list[Finding]) -> Iterable[Submission]:
    firsts: dict[str, str] = {}
    for each in files:
        first = firsts.setdefault(each.digest, each.file) if each.entries else each.file
        if first == each.file:
            yield each
        else:
            refused.append(COPY.finding(each.file, f"its laps are those of {first}"))


def _below_the_peaks(files: Sequence[Submission], refused: list[Finding]) -> Iterable[Entry]:
    """The entries without those that are faster than the peak of their chip, as other owners measured it."""
    reached: dict[tuple[str, str], dict[str, float]] = defaultdict(dict)
    flops: dict[tuple[object, ...], list[int]] = defaultdict(list)
    for each in files:
        for chip, rates in each.peaks.items():
            for precision, rate in rates.items():
                owners = reached[chip, precision]
                owners[each.owner] = max(rate, owners.get(each.owner, 0.0))
        for entry in each.entries:
            if entry.flops:
                flops[_work(entry)].append(entry.flops)
    operations = {work: median(counts) for work, counts in flops.items()}
    fastest = {place: nlargest(2, ((rate, owner) for owner, rate in rates.items())) for place, rates in reached.items()}
    for each in files:
        for entry in each.entries:
            place = (entry.chip, entry.key[3].partition("+")[0])
            measured = reached.get(place, {})
            others = len(measured) - (entry.owner in measured)
            peak = next((rate for rate, owner in fastest.get(place, ()) if owner != entry.owner), 0.0)
            rate = operations.get(_work(entry), 0) * entry.low / entry.key[1]
            if others >= LEAST_OWNERS and rate > PEAK_SLACK * peak:
                evidence = f"{plain(rate)} FLOP/s, at most {plain(peak)} on {entry.chip}"
                refused.append(ABOVE_CHIP.finding(f"{entry.file}: {_words(entry)}", evidence))
            else:
                yield entry


def _work(entry: Entry) -> tuple[object, ...]:
    """What determines the floating-point operations of a step."""
    model, batch, phase, _, seq, _ = entry.key
    return model, batch, phase, seq, entry.parameters


def _words(entry: Entry) -> str:
    model, batch, *_ = entry.key
    return f"{model}, batch {batch}, {entry.chip}, {entry.key[3]}"


def _mark_reproduced(entries: Sequence[Entry]) -> list[Entry]:
    """Mark the entries that agree with another owner's: the same work, chip and release of torch."""
    groups: dict[tuple[Key, str, str], list[Entry]] = defaultdict(list)
    for entry in entries:
        if not entry.published and entry.owner and log(entry.high / entry.low) / 2 <= NARROW:
            groups[entry.key, entry.chip, release(entry.torch)].append(entry)
    agreeing = {id(entry) for group in groups.values() for entry in _agreeing(group)}
    return [replace(entry, reproduced=True) if id(entry) in agreeing else entry for entry in entries]


def _agreeing(group: Sequence[Entry]) -> Iterable[Entry]:
    """The entries whose interval overlaps another owner's, each widened by the variation between runs."""
    if len({entry.owner for entry in group}) < 2:  # noqa: PLR2004  another owner
        return
    factor = exp(BETWEEN_RUNS / 2)
    points: list[Point] = sorted((entry.low / factor, entry.high * factor, entry.owner) for entry in group)
    lows = [low for low, _, _ in points]
    tops = _highest_by_two_owners(points)
    for entry in group:
        (first, first_owner), (second, _) = tops[bisect_right(lows, entry.high * factor) - 1]
        if (second if first_owner == entry.owner else first) >= entry.low / factor:
            yield entry


def _highest_by_two_owners(points: Sequence[Point]) -> list[tuple[tuple[float, str], tuple[float, str]]]:
    """For each beginning of the list, its highest limit, and the highest of another owner."""
    first, second = (0.0, ""), (0.0, "")
    tops = []
    for _, high, owner in points:
        if owner == first[1]:
            first = max(first, (high, owner))
        elif high > first[0]:
            first, second = (high, owner), first
        elif high > second[0]:
            second = (high, owner)
        tops.append((first, second))
    return tops


def _mark_outliers(entries: Sequence[Entry]) -> list[Entry]:
    """Mark the entries of machines that are far from the others of their chip."""
    far: dict[tuple[Key, str, str], float] = {}
    for (key, chip), machines in _by_work_and_chip(entries).items():
        if len(machines) < LEAST_MACHINES:
            continue
        logs = {machine: log(median(entry.value for entry in group)) for machine, group in machines.items()}
        center = median(logs.values())
        deviation = 1.4826 * median(abs(value - center) for value in logs.values())
        limit = max(log(OUTLIER_FACTOR), OUTLIER_DEVIATIONS * deviation)
        far |= {(key, chip, name): exp(each - center) for name, each in logs.items() if abs(each - center) > limit}
    return [
        replace(entry, outlier=far[place])
        if far and not entry.published and (place := (entry.key, entry.chip, entry.machine)) in far
        else entry
        for entry in entries
    ]


def _by_work_and_chip(entries: Iterable[Entry]) -> dict[tuple[Key, str], dict[str, list[Entry]]]:
    """The measured entries by work and chip, then by machine."""
    groups: dict[tuple[Key, str], dict[str, list[Entry]]] = defaultdict(lambda: defaultdict(list))
    for entry in entries:
        if not entry.published:
            groups[entry.key, entry.chip][entry.machine].append(entry)
    return groups


def release(version: str) -> str:
    """The release of a version: 2.11 for 2.11.0+cu130."""
    return ".".join(version.partition("+")[0].split(".")[:2])


def spreads(entries: Iterable[Entry]) -> list[Spread]:
    """The spread of each kind of work on each chip, the most measured first."""
    found = [
        _spread(chip, key, chip, [entry for group in machines.values() for entry in group])
        for (key, chip), machines in _by_work_and_chip(entries).items()
    ]
    return sorted(found, key=lambda spread: (-spread.machines, spread.key, spread.chip))


def history(entries: Iterable[Entry]) -> list[Spread]:
    """The spread of each kind of work on each chip by release of torch, which is the label; the oldest first."""
    groups: dict[tuple[Key, str, str], list[Entry]] = defaultdict(list)
    for entry in entries:
        if not entry.published and entry.torch:
            groups[entry.key, entry.chip, release(entry.torch)].append(entry)
    found = [_spread(chip, key, version, group) for (key, chip, version), group in groups.items()]
    return sorted(found, key=lambda spread: (spread.key, spread.chip, _version_order(spread.label)))


def _version_order(version: str) -> tuple[int, ...]:
    return tuple(int(part) if part.isdecimal() and len(part) < 9 else 0 for part in version.split("."))  # noqa: PLR2004


def _spread(chip: str, key: Key, label: str, entries: Sequence[Entry]) -> Spread:
    machines: dict[str, list[Entry]] = defaultdict(list)
    for entry in entries:
        if not entry.outlier:
            machines[entry.machine].append(entry)
    outliers = {entry.machine for entry in entries if entry.outlier} - set(machines)
    values = [median(entry.value for entry in group) for group in machines.values()] or [
        median(entry.value for entry in entries)
    ]
    return Spread(
        chip=chip,
        key=key,
        label=label,
        machines=len(machines),
        owners=len({entry.owner for group in machines.values() for entry in group}),
        value=median(values),
        low=min(values),
        high=max(values),
        outliers=len(outliers),
    )
