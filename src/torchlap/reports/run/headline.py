"""What a run says, in one sentence a device: before the table, and on top of a page."""

from collections.abc import Iterator

from torchlap.reports.run.rows import Judged, Row, clean, number


def headline(seen: Judged) -> str:
    """How much faster each device or recipe is than the baseline, over all comparisons; or what the only one does."""
    told = list(_speed_ups(seen.rows)) or list(_throughputs(seen.rows))
    return " ".join(told) or "Nothing has a figure yet."


def _speed_ups(all_rows: tuple[Row, ...]) -> Iterator[str]:
    """Of each device and recipe that was compared with the baseline's."""
    baseline = next((row for row in all_rows if row.result.is_baseline), None)
    groups: dict[tuple[str, str], list[Row]] = {}
    for row in all_rows:
        if row.result.speed_up is not None and not row.void:
            groups.setdefault((row.device, row.recipe), []).append(row)
    if baseline is None:
        return
    for (device, recipe), mine in groups.items():
        same_recipe, same_device = recipe == baseline.recipe, device == baseline.device
        mine_named = recipe if same_device and not same_recipe else device if same_recipe else f"{device} in {recipe}"
        other = baseline.recipe if same_device and not same_recipe else baseline.device
        yield f"{mine_named} is {_range(mine)} as fast as {other}{_certainty(mine)}."


def _range(mine: list[Row]) -> str:
    """From the least to the most."""
    values = sorted(row.result.speed_up.value for row in mine if row.result.speed_up)
    low, high = (f"{number(value, 0.1 * value)}x" for value in (values[0], values[-1]))
    return low if low == high else f"{low} to {high}"


def _certainty(mine: list[Row]) -> str:
    """In how many of the comparisons the whole interval is on one side."""
    intervals = [row.result.speed_up for row in mine if row.result.speed_up]
    faster = sum(each.low > 1 for each in intervals)
    slower = sum(each.high < 1 for each in intervals)
    if faster == len(intervals):
        return f" ({len(intervals)} of {len(intervals)} comparisons)" if len(intervals) > 1 else ""
    words = [f"{count} {word}" for count, word in ((faster, "faster"), (slower, "slower")) if count]
    words += [f"{len(intervals) - faster - slower} cannot be told"] * (faster + slower < len(intervals))
    return f" ({', '.join(words)})"


def _throughputs(all_rows: tuple[Row, ...]) -> Iterator[str]:
    """Where nothing was compared: what the first device does."""
    mine = [row for row in all_rows if row.result.estimate and not row.void and row.device == all_rows[0].device]
    if not mine:
        return
    values = sorted(row.result.estimate or 0.0 for row in mine)
    low, high = (number(value, 0.1 * value) for value in (values[0], values[-1]))
    what = f"{low} images/s" if low == high else f"{low} to {high} images/s, by model and batch"
    verb = "trains" if mine[0].phase == "train" else "evaluates"
    yield clean(f"{mine[0].device} {verb} {what}.")
