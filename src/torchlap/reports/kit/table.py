"""One table for every format: columns and rows as data, for a terminal, as Markdown, or by table.html.j2 as HTML."""

from collections.abc import Callable, Iterable, Sequence
from typing import Literal, TypeVar

from msgspec import Struct
from msgspec.structs import replace
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from torchlap.reports.kit.text import clean, escape

UNLIMITED_WIDTH = 10_000


class Column(Struct, frozen=True):
    """A column of a table.

    Attributes:
        is_spare: left out where a terminal (the leftmost first) or a phone is too narrow.
        is_constant: the same in every row, so that a phone leaves it out.
        wraps: long text may take several lines.
    """

    head: str
    align: Literal["left", "right"] = "left"
    is_spare: bool = False
    is_constant: bool = False
    wraps: bool = False


class Field(Struct, frozen=True):
    """One field of a table.

    Attributes:
        sort_by: what a page sorts by instead of the text; empty sorts last.
        is_void: struck through.
        style: rich's name of a color or style, for a terminal.
        link: where a page links to.
    """

    text: str
    sort_by: str | None = None
    is_void: bool = False
    style: str = ""
    link: str = ""


class Table(Struct, frozen=True):
    """Columns and rows.

    Attributes:
        grouped_columns: in a terminal, this many columns from the left are blank where they repeat the row above.
    """

    columns: tuple[Column, ...]
    rows: tuple[tuple[Field, ...], ...]
    grouped_columns: int = 0


Item = TypeVar("Item")


def build(
    items: Iterable[Item], columns: Sequence[tuple[Column, Callable[[Item], Field | str]]], grouped_columns: int = 0
) -> Table:
    """A table with a row for each item.

    Args:
        items: what the rows show.
        columns: each with the function that reads its field from an item.
        grouped_columns: see `Table`.
    """
    rows = tuple(tuple(_field(read(item)) for _, read in columns) for item in items)
    return Table(tuple(column for column, _ in columns), rows, grouped_columns)


def _field(value: Field | str) -> Field:
    return Field(clean(value)) if isinstance(value, str) else replace(value, text=clean(value.text))


def as_rich(table: Table) -> RichTable:
    """The table for a terminal."""
    rich = RichTable(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for column in table.columns:
        rich.add_column(Text(column.head), justify=column.align, no_wrap=not column.wraps)
    above: tuple[str, ...] = ()
    for row in table.rows:
        texts = tuple(field.text for field in row)
        shown = [
            "" if place < table.grouped_columns and texts[: place + 1] == above[: place + 1] else text
            for place, text in enumerate(texts)
        ]
        styles = ["strike" if field.is_void else field.style for field in row]
        rich.add_row(*(Text(text, style=style) for text, style in zip(shown, styles, strict=True)))
        above = texts
    return rich


def fitting(table: Table, width: int) -> RichTable | None:
    """The table for a terminal of this width, without spare columns that do not fit; None if the others do not fit."""
    spare = [place for place, column in enumerate(table.columns) if column.is_spare]
    for count in range(len(spare) + 1):
        rich = as_rich(_without(table, spare[:count]))
        if Console(width=UNLIMITED_WIDTH).measure(rich).maximum <= width:
            return rich
    return None


def _without(table: Table, places: Sequence[int]) -> Table:
    kept = [place for place in range(len(table.columns)) if place not in places]
    columns = tuple(table.columns[place] for place in kept)
    return Table(columns, tuple(tuple(row[place] for place in kept) for row in table.rows), table.grouped_columns)


def as_markdown(table: Table) -> list[str]:
    """The table as lines of Markdown."""
    dividers = ["---:" if column.align == "right" else "---" for column in table.columns]
    rows = [[_struck(field) for field in row] for row in table.rows]
    heads = [escape(column.head) for column in table.columns]
    return [f"| {' | '.join(row)} |" for row in (heads, dividers, *rows)]


def _struck(field: Field) -> str:
    text = escape(field.text)
    return f"~~{text}~~" if field.is_void and text else text
