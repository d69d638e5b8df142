"""What the user sees during a run: the machine, a table that fills in, then the report."""

from pathlib import Path
from typing import TYPE_CHECKING, Self

from torchlap.cli.console import color, error_console, say, width, write_out
from torchlap.cli.options import Format

if TYPE_CHECKING:
    from torchlap.api.run import Listener
    from torchlap.measuring.context import Status
    from torchlap.reports.run.rows import ExtraColumn
    from torchlap.runs.energy import Prices
    from torchlap.schema.events import Event, Header, Run


SPARE_LINES = 3
"""Of the terminal's height, that the table leaves for the line of progress and the prompt."""


class Display:
    """A live view of one run."""

    def __init__(
        self,
        output: Format,
        *,
        why: bool,
        columns: "tuple[ExtraColumn, ...]" = (),
        prices: "Prices | None" = None,
    ) -> None:
        self._output, self._why, self._columns, self._prices = output, why, columns, prices
        self._header: Header | None = None
        self._events: list[Event] = []
        self._said: set[int] = set()
        """Groups whose line was printed, where the output is no terminal."""
        self._table = ""
        self.path: Path | None = None
        self.printed = True
        """Whether the standard output took everything so far."""

    def __enter__(self) -> Self:
        from rich.live import Live

        self._console = error_console()
        self._live = Live(console=self._console, transient=True, auto_refresh=False)
        if self._console.is_terminal:
            self._live.start()
            self._show("starting")
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def listener(self) -> "Listener":
        """The callbacks for `torchlap.measure`."""
        from torchlap.api.run import Listener

        return Listener(opened=self._opened, event=self._event, status=self._status)

    def _opened(self, header: "Header", path: Path) -> None:
        from torchlap.reports.run import terminal

        self._header, self.path = header, path
        if self._output is Format.table and self.run:
            self.printed = write_out(terminal.machine(self.run, width(), color=color()))

    def _event(self, event: "Event") -> None:
        from torchlap.schema.events import GroupFinished, GroupStarted

        self._events.append(event)
        if not isinstance(event, GroupStarted | GroupFinished) or not self.run:
            return
        if self._console.is_terminal:
            self._fill_in()  # between groups: drawing during a lap would disturb it
        elif isinstance(event, GroupFinished) and event.group not in self._said:
            self._said.add(event.group)  # later visits make its figures more precise: the table has them
            say(progress_line(self.run, event.group))

    def log(self, line: str) -> None:
        """Print a line where the output is no terminal."""
        if not self._console.is_terminal:
            say(line)

    def _fill_in(self) -> None:
        """Compute the table so far."""
        from torchlap.reports.run import terminal

        if self.run:
            self._table = terminal.so_far(self.run, self._console.width, self._console.height - SPARE_LINES)

    def _status(self, status: "Status") -> None:
        from torchlap.api.progress import status_line

        self._show(status_line(status))

    def _show(self, line: str) -> None:
        from rich.text import Text

        if self._console.is_terminal:
            self._live.update(Text(f"{self._table}{line}", no_wrap=True, overflow="ellipsis"), refresh=True)

    @property
    def run(self) -> "Run | None":
        """The run so far; None before it has begun."""
        from torchlap.schema.events import Run

        return Run(self._header, tuple(self._events)) if self._header else None

    def show_figures(self) -> None:
        """Print the figures that there are, in the requested format."""
        self._live.stop()
        if self.run is not None:
            text = formatted(
                self.run, self._output, why=self._why, path=self.path, columns=self._columns, prices=self._prices
            )
            self.printed &= write_out(text)


def formatted(
    run: "Run",
    output: Format,
    *,
    why: bool,
    path: Path | None = None,
    columns: "tuple[ExtraColumn, ...]" = (),
    prices: "Prices | None" = None,
) -> str:
    """A run in a format; of the table, the part below the machine."""
    from torchlap.reports.run import plain, terminal
    from torchlap.runs.energy import Prices

    if run.header.plan.training and (text := _of_training(run, output, path)) is not None:
        return text
    paid = prices or Prices()
    match output:
        case Format.table:
            return terminal.report(run, path, width(), color=color(), why=why, columns=columns, prices=paid)
        case Format.markdown:
            return plain.as_markdown(run, why=why, columns=columns, prices=paid)
        case Format.csv:
            return plain.as_csv(run, paid)
        case Format.json:
            return plain.as_json(run, path, paid)
        case _:
            return _exported(run, output)


def _of_training(run: "Run", output: Format, path: Path | None) -> str | None:
    """A run of `torchlap train` in a format; None for one that has no place for it."""
    from torchlap.reports.training import formats

    match output:
        case Format.table:
            return formats.as_text(run, path, width(), color=color())
        case Format.markdown:
            return formats.as_markdown(run)
        case Format.csv:
            return formats.as_csv(run)
        case Format.json:
            return formats.as_json(run, path)
        case _:
            return None


def _exported(run: "Run", output: Format) -> str:
    """A run for a history that is kept elsewhere; what that cannot hold is named on the standard error."""
    from torchlap.reports.run import exports

    if missing := exports.left_out(run):
        say(missing)
    writers = {
        Format.bencher: exports.as_bencher,
        Format.github_action_benchmark: exports.as_github_action_benchmark,
        Format.pytorch_oss: exports.as_pytorch_oss,
    }
    return writers[output](run)


def progress_line(run: "Run", number: int) -> str:
    """One finished group in one line, for a log."""
    from torchlap.reports.run.labels import variant
    from torchlap.reports.run.rows import judged

    group = run.header.plan.groups[number]
    rows = [row for row in judged(run).rows if row.result.cell in group.cells]
    cells = ", ".join(f"{variant(row)} {row.throughput}" for row in rows)
    workload = group.cells[0].workload
    return f"{rows[0].model}, batch {workload.batch}, {workload.phase}: {cells}"
