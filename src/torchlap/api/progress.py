"""A line of progress for `torchlap.measure`: in a terminal or a notebook, and nowhere else.

It is written only when a new activity begins, by the thread that measures: a spinner of its own would disturb the laps.
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from torchlap.api.run import Listener
from torchlap.measuring.session import Status
from torchlap.reports.kit.text import clean


def status_line(status: Status) -> str:
    """What is being done, how much is done, and how much time is left."""
    seconds = int(status.left_seconds)
    left = f"at most {seconds // 60}:{seconds % 60:02} left"
    return f"{status.done}/{status.of} groups · {left} · {clean(status.doing)}"


@contextmanager
def shown() -> Iterator[Listener]:
    """A listener that shows the line; it disappears at the end."""
    if _in_notebook():
        with _in_cell() as update:
            yield Listener(status=lambda status: update(status_line(status)))
    elif sys.stderr and sys.stderr.isatty():
        with _in_terminal() as update:
            yield Listener(status=lambda status: update(status_line(status)))
    else:
        yield Listener()


def _in_notebook() -> bool:
    """Whether this process is the kernel of a notebook, rather than IPython in a terminal."""
    ipython: Any = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    return type(shell).__name__ == "ZMQInteractiveShell"


@contextmanager
def _in_cell() -> Iterator[Callable[[str], None]]:
    """Below the cell; needs no widgets."""
    display: Any = sys.modules["IPython"].display.display
    line = display({"text/plain": "starting"}, raw=True, display_id=True)
    try:
        yield lambda text: line.update({"text/plain": text}, raw=True)
    finally:
        line.update({"text/plain": ""}, raw=True)


@contextmanager
def _in_terminal() -> Iterator[Callable[[str], None]]:
    from rich.console import Console  # noqa: PLC0415  only a run that shows something needs it
    from rich.live import Live  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    with Live(Text("starting"), console=Console(stderr=True), transient=True, auto_refresh=False) as live:
        yield lambda text: live.update(Text(text, no_wrap=True, overflow="ellipsis"), refresh=True)
