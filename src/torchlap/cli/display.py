"""What the user sees during a run: the machine, a progress line on the standard error, then the figures."""

from pathlib import Path
from typing import TYPE_CHECKING, Self

from torchlap.cli.console import color, error_console, say, width, write_out
from torchlap.cli.options import Format

if TYPE_CHECKING:
    from torchlap.api.run import Listener
    from torchlap.measuring.context import Status
    from torchlap.schema.events import Event, Header, Run


class Display:
    """A live view of one run."""

    def __init__(self, output: Format, *, why: bool) -> None:
        self._output, self._why = output, why
        self._header: Header | None = None
        self._events: list[Event] = []
        self.path: Path | None = None

    def __enter__(self) -> Self:
        from rich.progress import BarColumn, Progress, TextColumn

        self._console = error_console()
        self._progress = Progress(
            TextColumn("{task.completed}/{task.total}"),
            BarColumn(bar_width=12),
            TextColumn("{task.description}", markup=False),
            console=self._console,
            transient=True,
            disable=not self._console.is_terminal,
        )
        self._task = self._progress.add_task("starting", total=None)
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def listener(self) -> "Listener":
        """The callbacks for `torchlap.measure`."""
        from torchlap.api.run import Listener

        return Listener(opened=self._opened, event=self._event, status=self._status)

    def _opened(self, header: "Header", path: Path) -> None:
        from torchlap.reports.run import terminal

        self._header, self.path = header, path
        if self._output is Format.table and self.run:
            write_out(terminal.machine(self.run, width(), color=color()))
        self._progress.update(self._task, total=len(header.plan.groups))

    def _event(self, event: "Event") -> None:
        from torchlap.schema.events import GroupFinished

        self._events.append(event)
        if isinstance(event, GroupFinished) and not self._console.is_terminal and self.run:
            say(progress_line(self.run, event.group))

    def _status(self, status: "Status") -> None:
        from torchlap.reports.kit.text import clean

        left = f"at most {int(status.left_seconds) // 60}:{int(status.left_seconds) % 60:02} left"
        self._progress.update(self._task, completed=status.done, description=f"{left} · {clean(status.doing)}")

    @property
    def run(self) -> "Run | None":
        """The run so far; None before it has begun."""
        from torchlap.schema.events import Run

        return Run(self._header, tuple(self._events)) if self._header else None

    def show_figures(self) -> None:
        """Print the figures that there are, in the requested format."""
        self._progress.stop()
        if self.run is not None:
            write_out(formatted(self.run, self._output, why=self._why, path=self.path))


def formatted(run: "Run", output: Format, *, why: bool, path: Path | None = None) -> str:
    """A run in a format; of the table, the part below the machine."""
    from torchlap.reports.run import plain, terminal

    match output:
        case Format.table:
            return terminal.report(run, path, width(), color=color(), why=why)
        case Format.markdown:
            return plain.as_markdown(run, why=why)
        case Format.csv:
            return plain.as_csv(run)
        case Format.json:
            return plain.as_json(run, path)


def progress_line(run: "Run", number: int) -> str:
    """One finished group in one line, for a log."""
    from torchlap.reports.run.rows import judged

    group = run.header.plan.groups[number]
    rows = [row for row in judged(run).rows if row.result.cell in group.cells]
    cells = ", ".join(f"{row.device} {row.recipe} {row.throughput}" for row in rows)
    workload = group.cells[0].workload
    return f"{rows[0].model}, batch {workload.batch}, {workload.phase}: {cells}"
