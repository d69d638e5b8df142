"""The main result of a run in one sentence per device: at the end of a report, and on top of a page."""

from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType

from torchlap.judge.compare import SAME_BAND
from torchlap.judge.compare.between import between_arms
from torchlap.judge.measurement import pair_disturbances
from torchlap.reports import scale
from torchlap.reports.kit.text import clean
from torchlap.reports.kit.units import is_vague, number, with_interval
from torchlap.reports.run.rows import Results, Row
from torchlap.reports.tune import ladder
from torchlap.runs.scaling import sizes
from torchlap.runs.tuning import tuned
from torchlap.stats import Interval, widened

NO_NAMES: Mapping[str, str] = MappingProxyType({})


def headline(results: Results, names: Mapping[str, str] = NO_NAMES) -> str:
    """How much faster each device or recipe is than the baseline; the throughputs if nothing was compared.

    The answer of a search, or of several ranks, is that of their own commands.

    Args:
        results: of a run.
        names: what to call devices, if not cuda:0 or cpu.
    """
    run, search = results.run, tuned(results.run)
    if search is not None:
        return ladder.headline(search, run.header.plan)
    if run.header.plan.scaling:
        models = {device.model for device in run.header.facts.devices if device.kind != "cpu"}
        model = models.pop() if len(models) == 1 else ""
        return clean(" ".join(scale.headline(size, model) for size in sizes(run)))
    compared = _by_arm(results, names) if results.run.header.plan.arms else _speed_ups(results.rows, names)
    sentences = list(compared) or list(_throughputs(results, names))
    if not sentences and any(row.result.estimate and not row.void for row in results.rows):
        return "No result is certain enough yet."
    return " ".join(sentences) or "No results."


def _speed_ups(rows: Sequence[Row], names: Mapping[str, str]) -> Iterator[str]:
    """A sentence for each device and recipe that was compared with the baseline."""
    baseline = next((row for row in rows if row.result.is_baseline), None)
    if baseline is None:
        return
    variants: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        if row.result.speed_up is not None and not row.void and not is_vague(row.result.speed_up):
            variants.setdefault((row.device, row.recipe), []).append(row)
    for (device, recipe), compared in variants.items():
        same_recipe, same_device = recipe == baseline.recipe, device == baseline.device
        if same_device and not same_recipe:
            name, other = recipe, baseline.recipe
        else:
            name, other = names.get(device, device), names.get(baseline.device, baseline.device)
            name = name if same_recipe else f"{name} in {recipe}"
        ratios = [row.result.speed_up for row in compared if row.result.speed_up]
        yield f"{name} is {_range_of_ratios(compared)} as fast as {other}{_certainty(ratios)}."


def _by_arm(results: Results, names: Mapping[str, str]) -> Iterator[str]:
    """A sentence for every arm that was compared with the first; for each device, if there are several."""
    rows, first = results.rows, results.rows[0].arm
    arms: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        if row.result.speed_up is not None and not row.void and not is_vague(row.result.speed_up):
            arms.setdefault((row.arm, row.device), []).append(row)
    several = len({device for _, device in arms}) > 1
    for (arm, device), compared in arms.items():
        where = f" on {names.get(device, device)}" if several else ""
        ratios = [widened(row.result.speed_up, between_arms(row.result)) for row in compared if row.result.speed_up]
        ratio = with_interval(ratios[0], "x") if len(ratios) == 1 else _range_of_ratios(compared)
        codes = _disturbed(results, arm, device)
        but = f", but this was disturbed ({', '.join(codes)}): measure again" if codes else ""
        yield f"{arm} is {ratio} as fast as {first}{where}{_certainty(ratios)}{but}."


def _disturbed(results: Results, arm: str, device: str) -> tuple[str, ...]:
    """The codes of what disturbed the ratio of an arm on a device."""
    found = [
        finding.code
        for group in results.groups
        for cell in group.cells
        if clean(cell.cell.arm) == arm and clean(cell.cell.device) == device
        for finding in pair_disturbances(cell, group.conditions)
    ]
    return tuple(dict.fromkeys(found))


def _range_of_ratios(rows: Sequence[Row]) -> str:
    values = [row.result.speed_up.value for row in rows if row.result.speed_up]
    return _range(values, "x")


def _range(values: Sequence[float], unit: str = "") -> str:
    """From the least to the most."""
    low, high = (f"{number(value, 0.1 * value)}{unit}" for value in (min(values), max(values)))
    return low if low == high else f"{low} to {high}"


def _certainty(intervals: Sequence[Interval]) -> str:
    """In how many comparisons the whole interval is on one side of 1, or so close around it that both are the same."""
    faster = sum(interval.low > 1 for interval in intervals)
    slower = sum(interval.high < 1 for interval in intervals)
    if faster == len(intervals):
        return f" ({len(intervals)} of {len(intervals)} comparisons)" if len(intervals) > 1 else ""
    same = sum(1 / (1 + SAME_BAND) <= interval.low <= 1 <= interval.high <= 1 + SAME_BAND for interval in intervals)
    unclear = len(intervals) - faster - slower - same
    counts = {"faster": faster, "slower": slower, "the same": same, "inconclusive": unclear}
    if len(intervals) == 1:
        return "".join(f" ({word})" for word, count in counts.items() if count)
    return f" ({', '.join(f'{count} {word}' for word, count in counts.items() if count)})"


def _is_known(row: Row, *, published: bool) -> bool:
    """Whether a row has a throughput that is certain enough for a sentence, or a published one without an interval."""
    interval = row.result.throughput
    return not row.void and (not is_vague(interval) if interval else published and bool(row.result.estimate))


def _throughputs(results: Results, names: Mapping[str, str]) -> Iterator[str]:
    """If nothing was compared: the throughputs of the first device that has any."""
    known = [row for row in results.rows if _is_known(row, published=bool(results.run.header.published))]
    measured = [row for row in known if row.device == known[0].device]
    if not measured:
        return
    rates: dict[str, list[float]] = {}
    for row in measured:
        rates.setdefault(row.unit, []).append(row.result.estimate or 0.0)
    ranges = [f"{_range(values)} {unit}/s" for unit, values in rates.items()]
    varies = ", depending on model and batch size" if any(" to " in text for text in ranges) else ""
    verb = "trains" if measured[0].phase == "train" else "evaluates"
    device = names.get(measured[0].device, measured[0].device)
    yield clean(f"{device} {verb} {' and '.join(ranges)}{varies}.")
