"""The report of `torchlap compare`: for a terminal, for a pull request (Markdown), for a script (JSON)."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import get_args

import msgspec
from rich.box import SIMPLE_HEAD
from rich.console import Console, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from torchlap.judge.compare import Change, Compared, Verdict
from torchlap.reports.run.plain import as_ascii, escape
from torchlap.reports.run.rows import clean, number, with_interval
from torchlap.reports.run.terminal import rendered

SCHEMA = 1
NUMBERS = ("batch",)
VERDICT_STYLES = {"faster": "green", "slower": "red", "same": "default", "cannot tell": "yellow"}


def headline(compared: Compared) -> str:
    """How many cells are faster, slower, the same, or cannot be told, in a sentence a column."""
    first = compared.columns[0].label
    told = []
    for column in compared.columns[1:]:
        counts = Counter(each.verdict for each in compared.changes if each.column == column.label)
        words: list[str] = [f"{counts[word]} {word}" for word in get_args(Verdict) if counts[word]]
        told.append(f"{column.label} beside {first}: {', '.join(words) or 'no cells in common'}.")
    return clean(" ".join(told))


def _heads(changes: Sequence[Change]) -> dict[str, bool]:
    """The columns, and whether what they tell varies or is not the usual."""
    usual = {"phase": {"train"}, "recipe": {"fp32"}}
    shown = {name: {getattr(each, name) for each in changes} != value for name, value in usual.items()}
    return {
        "model": True,
        "batch": True,
        **shown,
        "device": True,
        "before": True,
        "after": True,
        "ratio": True,
        "verdict": True,
    }


def _fields(change: Change, heads: Iterable[str]) -> list[str]:
    same = change.before_device == change.device
    texts = {
        "model": change.model,
        "batch": str(change.batch),
        "phase": change.phase,
        "recipe": change.recipe,
        "device": change.device if same else f"{change.before_device}, {change.device}",
        "before": _figure(change.before),
        "after": _figure(change.after),
        "ratio": _ratio(change),
        "verdict": change.verdict,
    }
    return [clean(texts[head]) for head in heads]


def _figure(value: float | None) -> str:
    return number(value, 0.01 * value) if value else ""


def _ratio(change: Change) -> str:
    if change.interval is not None:
        return with_interval(change.interval, "x")
    return f"~{number(change.ratio, 0.01 * change.ratio)}x" if change.ratio else ""


def as_text(compared: Compared, width: int, color: bool) -> str:  # noqa: FBT001  a terminal's two properties
    """For a terminal."""
    return rendered(_parts(compared, width), width, color)


def _parts(compared: Compared, width: int) -> Iterator[RenderableType]:
    yield Text(headline(compared), style="bold")
    yield from (Padding(Text(line), (0, 0, 0, 2)) for line in _remarks(compared))
    for column in compared.columns[1:]:
        changes = [each for each in compared.changes if each.column == column.label]
        if not changes:
            continue
        yield Text(f"\n{clean(column.label)} (after) beside {clean(compared.columns[0].label)} (before), images/s")
        table = _table(changes)
        fits = Console(width=10_000).measure(table).maximum <= width
        yield from [table] if fits else _list(changes)
    yield from (Padding(Text(line), (0, 0, 0, 2)) for line in _reasons(compared))
    yield Text(_legend(compared))


def _table(changes: Sequence[Change]) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    heads = [head for head, shown in _heads(changes).items() if shown]
    for head in heads:
        table.add_column(head, justify="right" if head in NUMBERS else "left", no_wrap=True)
    for change in changes:
        *words, verdict = _fields(change, heads)
        table.add_row(*map(Text, words), Text(verdict, style=VERDICT_STYLES[change.verdict]))
    return table


def _list(changes: Sequence[Change]) -> Iterator[RenderableType]:
    for change in changes:
        heads = [head for head, shown in _heads(changes).items() if shown]
        told = dict(zip(heads, _fields(change, heads), strict=True))
        where = ", ".join([told["model"], f"batch {told['batch']}", told["device"]])
        ratio = f"{told['ratio']}, " if told["ratio"] else ""
        yield Padding(Text(f"{where}: {ratio}{told['verdict']}"), (0, 0, 0, 2))


def _remarks(compared: Compared) -> Iterator[str]:
    """What is to be known before any figure: what differs, and what is somebody else's."""
    for column in compared.columns:
        if column.unlike:
            yield clean(f"Not alike ({column.label}): {'; '.join(column.unlike)}.")
    published = {column.published: column.label for column in reversed(compared.columns) if column.published}
    yield from (clean(f"Published, not measured by torchlap ({label}): {text}") for text, label in published.items())
    ways = dict.fromkeys(text for change in compared.changes for text in change.unlike)
    if ways:
        yield clean(f"Not alike (cells): {'; '.join(ways)}.")


def _reasons(compared: Compared) -> Iterator[str]:
    """Why cells cannot be told, and which have no partner."""
    reasons = Counter(each.why for each in compared.changes if each.interval is None and each.why)
    for why, count in reasons.items():
        yield clean(f"{count} cannot be told: {why}.")
    if compared.alone:
        some = ", ".join(compared.alone[:3])
        more = f" and {len(compared.alone) - 3} more" if len(compared.alone) > 3 else ""  # noqa: PLR2004  the three
        yield clean(f"Without a partner: {some}{more}.")


def _legend(compared: Compared) -> str:
    band = f"{compared.band:.0%}"
    return (
        f"\nFaster and slower: by more than {band}, with the whole 95% interval; the same: within {band}. Ratios of "
        "separate runs allow for what two runs of one program differ by."
    )


def as_markdown(compared: Compared) -> str:
    """To paste into a pull request."""
    lines = [f"**{escape(headline(compared))}**", ""]
    lines += [f"- {escape(line)}" for line in _remarks(compared)]
    for column in compared.columns[1:]:
        changes = [each for each in compared.changes if each.column == column.label]
        heads = [head for head, shown in _heads(changes).items() if shown]
        lines += ["", f"{escape(clean(column.label))} beside {escape(clean(compared.columns[0].label))}, images/s:", ""]
        lines += [f"| {' | '.join(heads)} |", "|" + "---|" * len(heads)]
        lines += [f"| {' | '.join(map(escape, _fields(change, heads)))} |" for change in changes]
    lines += ["", *(f"- {escape(line)}" for line in _reasons(compared)), escape(_legend(compared).strip())]
    return "\n".join(lines) + "\n"


def as_json(compared: Compared, exit_code: int) -> str:
    """One JSON object, in ASCII; docs/compare.md has its schema."""
    told = msgspec.to_builtins(compared)
    return as_ascii({"schema": SCHEMA, "exit_code": exit_code, "headline": headline(compared), **told})
