"""Parts of a report as text for a terminal."""

import io
from collections.abc import Iterable, Iterator, Sequence

from rich.console import Console, RenderableType
from rich.padding import Padding
from rich.text import Text

from torchlap.judge.findings import Severity
from torchlap.reports.kit.findings import Entry, flat

NARROWEST = 20
SEVERITY_STYLES: dict[Severity, str] = {"note": "cyan", "warning": "yellow", "error": "red"}


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


def in_terminal(shown: Entry, change: Sequence[RenderableType] = ()) -> Iterator[RenderableType]:
    """The entry in full, for a terminal; a command stays in one line, and the change that fixes it follows the fix."""
    code, _, title = shown.head.partition(": ")
    yield Text(f"{code}: ", style=SEVERITY_STYLES[shown.severity]).append(title, style="bold default")
    for label, text in flat(shown):
        if label == "Command":
            yield Text(f"      {text}", no_wrap=True)
        else:
            yield indented(labeled(label, text, "dim"))
        if label == "Fix" and text == shown.fixes[-1]:
            yield from change


def note_in_terminal(shown: Entry) -> RenderableType:
    """A note in one line, for a terminal: its title, and where it applies or how often."""
    count = len(shown.observed)
    where = f"{count} cases" if count > 1 else shown.where or shown.observed[0].rstrip(".")
    return indented(
        Text(f"{shown.code} ", style=SEVERITY_STYLES[shown.severity]).append(f"{shown.title} ({where})", "default")
    )


def brief_in_terminal(shown: Entry) -> RenderableType:
    """The entry as one paragraph, for a terminal."""
    return indented(Text(f"{shown.code} ", style=SEVERITY_STYLES[shown.severity]).append(shown.brief, "default"))
