"""Parts of a report as text for a terminal."""

import io
from collections.abc import Iterable

from rich.console import Console, RenderableType
from rich.padding import Padding
from rich.text import Text

NARROWEST = 20


def rendered(parts: Iterable[RenderableType], width: int, *, color: bool) -> str:
    """The parts as text, wrapped to the width except for `Text.no_wrap`, such as a command to paste."""
    file = io.StringIO()
    console = Console(
        file=file,
        width=max(NARROWEST, width),
        force_terminal=color,
        no_color=not color,
        highlight=False,
        emoji=False,
    )
    for part in parts:
        console.print(part, soft_wrap=isinstance(part, Text) and bool(part.no_wrap))
    return "\n".join(line.rstrip() for line in file.getvalue().splitlines()) + "\n"


def indented(text: str | Text, columns: int = 2) -> Padding:
    """Text that stays indented where it wraps."""
    return Padding(Text(text) if isinstance(text, str) else text, (0, 0, 0, columns))


def heading(text: str) -> Text:
    """A heading, after an empty line."""
    return Text(f"\n{text}", style="bold")


def labeled(label: str, text: str, style: str = "bold") -> Text:
    """A label in this style, a colon, and plain text."""
    return Text(f"{label}: ", style=style).append(text, style=f"not {style}")
