"""The report of `torchlap compare`: for a terminal, for a pull request (Markdown), for a script (JSON)."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from typing import get_args

import msgspec
from rich.console import RenderableType
from rich.text import Text

from torchlap.judge.compare import Change, Compared, Verdict
from torchlap.judge.compare.between import BETWEEN_RUNS, BETWEEN_RUNS_IN_GUESTS, BETWEEN_STARTS
from torchlap.reports.kit.json_format import as_ascii
from torchlap.reports.kit.table import Column, Field, Table, build, fitting
from torchlap.reports.kit.table import as_markdown as markdown_table
from torchlap.reports.kit.terminal import indented, rendered
from torchlap.reports.kit.text import clean, escape
from torchlap.reports.kit.units import number, with_interval, with_limits
from torchlap.reports.run.rows import MOST_CELLS
from torchlap.runs.starts import LEAST_STARTS
from torchlap.stats import Interval

SCHEMA = 3
MOST_EXAMPLES = 3
UNCERTAIN = "yellow"
VERDICT_STYLES = {"faster": "green", "slower": "red", "same": ""}


def headline(compared: Compared) -> str:
    """How many cells have each verdict, in a sentence per column."""
    first = compared.columns[0].label
    sentences = []
    for column in compared.columns[1:]:
        counts = Counter(change.verdict for change in _changes(compared, column.label))
        words = [f"{counts[verdict]} {verdict}" for verdict in get_args(Verdict) if counts[verdict]]
        sentences.append(f"{column.label} vs. {first}: {', '.join(words) or 'no cells in common'}.")
    return clean(" ".join(sentences))


def _changes(compared: Compared, label: str) -> list[Change]:
    return [change for change in compared.changes if change.column == label]


def _table(changes: Sequence[Change], *, intervals: bool = True) -> Table:
    """The cells; with or without the intervals of both sides, which need a wide terminal."""
    return build(changes, list(_columns(changes, intervals=intervals)))


def _columns(changes: Sequence[Change], *, intervals: bool) -> Iterator[tuple[Column, Callable[[Change], Field | str]]]:
    yield Column("model"), lambda change: change.model
    yield Column("batch", "right"), lambda change: str(change.batch)
    if {change.phase for change in changes} != {"train"}:
        yield Column("phase"), lambda change: change.phase
    if {change.recipe for change in changes} != {"fp32"}:
        yield Column("recipe"), lambda change: change.recipe
    yield Column("device"), _device
    mixed = len(_units(changes)) > 1
    yield (
        Column("before"),
        lambda change: _figure(
            change.before, change.before_interval if intervals else None, f" {change.before_unit}/s" if mixed else ""
        ),
    )
    yield (
        Column("after"),
        lambda change: _figure(
            change.after, change.after_interval if intervals else None, f" {change.unit}/s" if mixed else ""
        ),
    )
    yield Column("ratio"), _ratio
    yield Column("verdict"), lambda change: Field(_verdict(change), style=VERDICT_STYLES.get(change.verdict, UNCERTAIN))


def _verdict(change: Change) -> str:
    """With the findings that rule out another one."""
    return f"{change.verdict} ({', '.join(change.codes)})" if change.codes else change.verdict


def _device(change: Change) -> str:
    same = change.before_device == change.device
    return change.device if same else f"{change.before_device}, {change.device}"


def _units(changes: Sequence[Change]) -> set[str]:
    """What the figures of these cells count."""
    return {unit for change in changes for unit in (change.before_unit, change.unit)}


def _figure(value: float | None, interval: Interval | None, unit: str) -> str:
    if interval is not None:
        return with_interval(interval, unit)
    return f"{number(value, 0.01 * value)}{unit}" if value else ""


def _ratio(change: Change) -> str:
    if change.interval is not None:
        certain = change.verdict != "inconclusive"  # a tilde never carries a verdict
        return with_limits(change.interval, "x") if certain else with_interval(change.interval, "x")
    if not change.ratio:
        return ""
    about = "~" if change.verdict == "inconclusive" else "about "
    return f"{about}{number(change.ratio, 0.01 * change.ratio)}x"


def as_text(compared: Compared, width: int, *, color: bool) -> str:
    """For a terminal."""
    return rendered(_parts(compared, width), width, color=color)


def _parts(compared: Compared, width: int) -> Iterator[RenderableType]:
    yield Text(headline(compared), style="bold")
    yield from map(indented, _remarks(compared))
    for column in compared.columns[1:]:
        changes = _changes(compared, column.label)
        if changes:
            yield Text(f"\n{_caption(compared, column.label)}")
            shown = changes[:MOST_CELLS]
            in_columns = fitting(_table(shown), width) or fitting(_table(shown, intervals=False), width)
            yield from [in_columns] if in_columns else _list(shown)
            if len(changes) > MOST_CELLS:
                yield Text(f"The first {MOST_CELLS} of {len(changes)} cells are shown.")
    reasons = list(_reasons(compared))
    yield from map(indented, reasons)
    yield Text(f"\n{_legend(compared)}" if reasons else _legend(compared))


def _caption(compared: Compared, label: str) -> str:
    units = _units(_changes(compared, label))
    rate = f"{units.pop()}/s" if len(units) == 1 else "items/s"
    return clean(f"{label} (after) vs. {compared.columns[0].label} (before), {rate}")


def _list(changes: Sequence[Change]) -> Iterator[RenderableType]:
    """The table for a narrow terminal."""
    for change in changes:
        ratio = f"{_ratio(change)}, " if _ratio(change) else ""
        yield indented(clean(f"{change.model}, batch {change.batch}, {_device(change)}: {ratio}{_verdict(change)}"))


def _remarks(compared: Compared) -> Iterator[str]:
    """What to know before any figure: what differs, and what torchlap did not measure."""
    for column in compared.columns:
        if column.differences:
            yield clean(f"Differences ({column.label}): {'; '.join(column.differences)}.")
    published = {column.published: column.label for column in reversed(compared.columns) if column.published}
    yield from (clean(f"Published, not measured by torchlap ({label}): {text}") for text, label in published.items())
    differences = Counter(text for change in compared.changes for text in change.differences)
    if differences:
        of = len(compared.changes)
        counted = (text if count == of else f"{text} ({count} of {of})" for text, count in differences.items())
        yield clean(f"Differences (cells): {'; '.join(counted)}.")


def _reasons(compared: Compared) -> Iterator[str]:
    """Why cells are inconclusive, and which have no counterpart."""
    reasons = Counter((change.verdict, change.reason) for change in compared.changes if change.ground is None)
    for (verdict, reason), count in reasons.items():
        yield clean(f"{count} {verdict} ({reason}).")
    if compared.unmatched:
        examples = "; ".join(compared.unmatched[:MOST_EXAMPLES])
        more = (
            f"; and {len(compared.unmatched) - MOST_EXAMPLES} more" if len(compared.unmatched) > MOST_EXAMPLES else ""
        )
        yield clean(f"Cells without a counterpart: {examples}{more}.")


def _legend(compared: Compared) -> str:
    band = f"{compared.band:.0%}"
    words = (
        "Ratio: after / before, so 2x is twice as fast. "
        f"Faster or slower: the whole 95% interval differs by more than {band}; same: the whole interval is within "
        f"{band}."
    )
    return " ".join([words, *_included({change.between for change in compared.changes if change.interval})])


def _included(between: AbstractSet[float]) -> Iterator[str]:
    """What intervals contain for how processes or runs of one program differ."""
    if BETWEEN_STARTS in between:
        yield f"Arms that were started fewer than {LEAST_STARTS} times: {BETWEEN_STARTS:.0%} for another process."
    if BETWEEN_RUNS in between:
        yield f"Intervals between separate runs include {BETWEEN_RUNS:.0%} for normal run-to-run variation."
    if BETWEEN_RUNS_IN_GUESTS in between:
        yield (
            f"Those of CPUs in virtual machines include {BETWEEN_RUNS_IN_GUESTS:.0%}, because other guests differ from "
            "hour to hour: measure both sides in one run instead (torchlap gate, or run --arm)."
        )


def as_markdown(compared: Compared) -> str:
    """To paste into a pull request."""
    lines = [f"**{escape(headline(compared))}**", "", *(f"- {escape(line)}" for line in _remarks(compared))]
    for column in compared.columns[1:]:
        changes = _changes(compared, column.label)
        if changes:
            lines += ["", f"{escape(_caption(compared, column.label))}:", "", *markdown_table(_table(changes))]
    lines += ["", *(f"- {escape(line)}" for line in _reasons(compared)), "", escape(_legend(compared))]
    return "\n".join(lines) + "\n"


def as_json(compared: Compared, exit_code: int) -> str:
    """One JSON object, in ASCII; docs/compare.md has its schema."""
    fields = msgspec.to_builtins(compared)
    return as_ascii({"schema": SCHEMA, "exit_code": exit_code, "headline": headline(compared), **fields})
