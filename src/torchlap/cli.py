"""The commands: the only place that prints or exits.

Figures go to the standard output; what happens meanwhile, and errors, to the standard error. What a command needs is
imported inside it, so that `--help` answers at once.
"""

import io
import os
import re
import shlex
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn, Self

import typer

from torchlap import __version__
from torchlap.errors import (
    EXIT_FINE,
    EXIT_INTERRUPTED,
    EXIT_RUN_FILE,
    EXIT_SOME_CELLS_FAILED,
    RunFileError,
    TorchlapError,
    UsageError,
)

if TYPE_CHECKING:
    from rich.console import Console

    from torchlap.api import Listener, Options
    from torchlap.checks import Verification
    from torchlap.records import Event, Header, Run
    from torchlap.session import Status
    from torchlap.versus import Named

EPILOG = (
    "Exit codes: 0 every cell has a figure or was too slow for the budget; 1 some cells failed or are void; 2 the "
    "command asks for something that does not exist; 3 torch or torchvision cannot be used; 4 the run file cannot "
    "be written or read; 130 interrupted."
)
DOCTOR_EPILOG = (
    "Exit codes: 0 all is well; 1 it works, but something changes results; 2 the accelerator or torch cannot be used, "
    "or the command asks for something that does not exist; 4 the system refused a file or memory; 130 interrupted."
)
REPORT_EPILOG = (
    "Exit codes: 0 shown; 2 there is no such run; 4 a run file cannot be read, or the page or picture not written; 130 "
    "interrupted."
)
COMPARE_EPILOG = (
    "Exit codes: 0 compared; 1 with --fail-if-slower, a cell is slower; 2 there is no such run, or nothing to compare; "
    "4 a run file cannot be read; 130 interrupted."
)
AUDIT_EPILOG = (
    "Exit codes: 0 nothing is wrong; 1 a finding is an error; 2 there is no such script; 3 torch cannot be used; "
    "otherwise "
    "the script's own, 128 and the number where a signal ended it; 130 interrupted."
)
VERIFY_EPILOG = (
    "Exit codes: 0 all that was checked is right; 1 numbers are wrong, or could not be checked; 2 the command asks for "
    "something that does not exist; 3 torch or torchvision cannot be used; 4 the system refused a file or memory; 130 "
    "interrupted."
)
FALLBACK_WIDTH = 80
MOST_WHOLE_RUNS = 20
"""Of more, `report` prints a line each."""

app = typer.Typer(
    rich_markup_mode=None, pretty_exceptions_enable=False, context_settings={"help_option_names": ["-h", "--help"]}
)


class Format(StrEnum):
    """How figures are written."""

    table = "table"
    markdown = "markdown"
    csv = "csv"
    json = "json"


class Data(StrEnum):
    """Which images."""

    mnist_1k = "mnist-1k"
    mnist = "mnist"
    synthetic = "synthetic"


class Through(StrEnum):
    """How images reach the device."""

    resident = "resident"
    loader = "loader"


class Weights(StrEnum):
    """What a model starts from."""

    random = "random"
    pretrained = "pretrained"


Models = Annotated[
    list[str] | None, typer.Argument(metavar="MODEL", help="torchvision names, or path/to/file.py:function.")
]
Devices = Annotated[
    str,
    typer.Option(help="Devices, like cpu,cuda:0,mps; all for every one. The CPU, or else the first, is the baseline."),
]
Batch = Annotated[str | None, typer.Option(help="Batch sizes, like 4,64. [default: the suite's]")]
PhaseOption = Annotated[str | None, typer.Option("--phase", help="train, eval or train,eval. [default: the suite's]")]
SuiteOption = Annotated[str, typer.Option("--suite", help="Which workloads: quick, experiment-2022.")]
RecipeOption = Annotated[
    str,
    typer.Option(
        "--recipe",
        help="How they are run: fp32, tf32, bf16 or fp16, joined by + with contiguous, channels_last, compile, fused; "
        "several with commas, like fp32,bf16+channels_last.",
    ),
]
DataOption = Annotated[Data, typer.Option("--data", help="Images: the embedded 1,000 digits, all of MNIST, or random.")]
ThroughOption = Annotated[
    Through, typer.Option("--data-through", help="Data resident on the device, or through a DataLoader.")
]
Workers = Annotated[str | None, typer.Option(help="DataLoader processes, with --data-through loader. [default: 4]")]
WeightsOption = Annotated[Weights, typer.Option("--weights", help="pretrained downloads torchvision's weights.")]
Target = Annotated[str, typer.Option("--precision-target", help="Stop when every interval is this narrow either way.")]
NoVerify = Annotated[
    bool, typer.Option("--no-verify", help="Leave out the look whether accelerators' numbers are right.")
]
WhyOption = Annotated[
    bool | None,
    typer.Option("--why/--no-why", help="Show where each step's time goes; or do not look. [default: one word a cell]"),
]
Budget = Annotated[str | None, typer.Option(help="Stop after this time: 90s, 5m, 1h. [default: the suite's]")]
HangLimit = Annotated[str, typer.Option("--hang-limit", help="A worker silent for so long counts as hanging.")]
Out = Annotated[Path | None, typer.Option(help="The run file to write. [default: in the user's data folder]")]
Resume = Annotated[Path | None, typer.Option(help="Continue this run file; it says what to measure.")]
FormatOption = Annotated[Format, typer.Option("--format", help="How the figures are written to the standard output.")]


class ReportFormat(StrEnum):
    """How the doctor's report is written."""

    text = "text"
    markdown = "markdown"
    json = "json"


VerifyDevices = Annotated[
    str, typer.Option("--devices", help="Like cpu,cuda:0,mps; all for every accelerator, or the CPU where none is.")
]
ReportBug = Annotated[
    Path | None, typer.Option("--report-bug", help="Write a script here that shows the first fault with torch alone.")
]
NoSuite = Annotated[bool, typer.Option("--no-suite", help="Leave out the operator suite.")]
Thorough = Annotated[
    bool, typer.Option("--thorough", help="Every element, and the operator suite with its large sizes.")
]
ReportFormatOption = Annotated[
    ReportFormat, typer.Option("--format", help="markdown to paste into a bug report, json for a script.")
]


@app.callback(invoke_without_command=True, epilog=EPILOG)
def torchlap(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Show the version and exit.")] = False,  # noqa: FBT002
) -> None:
    """Measure how fast PyTorch trains on this machine, and whether the number can be believed.

    Without a command it runs the default suite: torchlap run.
    """
    if version:
        print(f"torchlap {__version__}")
    elif context.invoked_subcommand is None:
        run()


@app.command(epilog=EPILOG)
def run(
    models: Models = None,
    devices: Devices = "all",
    batch: Batch = None,
    phase: PhaseOption = None,
    suite: SuiteOption = "quick",
    recipe: RecipeOption = "fp32",
    data: DataOption = Data.mnist_1k,
    data_through: ThroughOption = Through.resident,
    workers: Workers = None,
    weights: WeightsOption = Weights.random,
    precision_target: Target = "2%",
    budget: Budget = None,
    hang_limit: HangLimit = "120s",
    no_verify: NoVerify = False,  # noqa: FBT002  a flag of the command line
    why: WhyOption = None,
    out: Out = None,
    resume: Resume = None,
    output: FormatOption = Format.table,
) -> None:
    """Train real models on every device and print the speed-up with its interval."""
    from torchlap import suites  # noqa: PLC0415  see the module's docstring
    from torchlap.api import Options  # noqa: PLC0415

    with _one_sentence():
        loader_workers = _loader_workers(data_through, workers)
        options = Options(
            models=tuple(models or ()),
            devices=devices,
            batches=suites.parse_batches(batch) if batch is not None else None,
            phases=suites.parse_phases(phase) if phase is not None else None,
            recipes=tuple(suites.parse_recipe(word, loader_workers) for word in suites.split_words(recipe) or [recipe]),
            suite=suite,
            data=data.value,
            weights=weights.value,
            precision_target=suites.parse_target(precision_target),
            budget_seconds=suites.parse_seconds(budget, "budget") if budget is not None else None,
            out=out,
            resume=resume,
            hang_seconds=suites.parse_seconds(hang_limit, "time limit"),
            verify=not no_verify,
            explain=why is not False,
        )
        _nothing_beside_resume(options)
        _measure(options, output, why=bool(why))


@app.command(epilog=DOCTOR_EPILOG)
def doctor(output: ReportFormatOption = ReportFormat.text, hang_limit: HangLimit = "120s") -> None:
    """Find out whether the accelerator works, and what would make it slow or wrong."""
    from torchlap import api, suites  # noqa: PLC0415  see the module's docstring
    from torchlap.doctor import exit_code  # noqa: PLC0415
    from torchlap.reports import check_up  # noqa: PLC0415

    with _one_sentence():
        for number in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, _interrupt)
        limit = suites.parse_seconds(hang_limit, "time limit")
        with _doing() as watch:
            seen = api.check_up(limit, watch)
        writers: dict[ReportFormat, Callable[[], str]] = {
            ReportFormat.text: lambda: check_up.as_text(seen, _width(), color=_color()),
            ReportFormat.markdown: lambda: check_up.as_markdown(seen),
            ReportFormat.json: lambda: check_up.as_json(seen),
        }
        _show(writers[output](), exit_code(seen.findings))


@app.command(epilog=VERIFY_EPILOG)
def verify(
    models: Models = None,
    devices: VerifyDevices = "all",
    batch: Batch = None,
    phase: PhaseOption = None,
    recipe: RecipeOption = "fp32",
    data: DataOption = Data.mnist_1k,
    weights: WeightsOption = Weights.random,
    budget: Budget = None,
    hang_limit: HangLimit = "120s",
    thorough: Thorough = False,  # noqa: FBT002  a flag of the command line
    no_suite: NoSuite = False,  # noqa: FBT002
    report_bug: ReportBug = None,
    output: ReportFormatOption = ReportFormat.text,
) -> None:
    """Find out whether devices compute right numbers: each operator of a step beside float64 on the CPU."""
    from torchlap import api, suites  # noqa: PLC0415  see the module's docstring
    from torchlap.reports import numbers  # noqa: PLC0415

    with _one_sentence():
        signal.signal(signal.SIGTERM, _interrupt)
        options = api.Options(
            models=tuple(models or ()),
            devices=devices,
            batches=suites.parse_batches(batch) if batch is not None else None,
            phases=suites.parse_phases(phase) if phase is not None else None,
            recipes=tuple(suites.parse_recipe(word, None) for word in suites.split_words(recipe) or [recipe]),
            data=data.value,
            weights=weights.value,
            budget_seconds=suites.parse_seconds(budget, "budget") if budget is not None else None,
            hang_seconds=suites.parse_seconds(hang_limit, "time limit"),
        )
        with _doing() as watch:
            seen = api.verify(options, suite=not no_suite, thorough=thorough, watch=watch)
        if seen.interrupted:
            _say("Interrupted: what was checked until then is told.")
        if report_bug is not None:
            _write_bug_report(seen, report_bug)
        writers: dict[ReportFormat, Callable[[], str]] = {
            ReportFormat.text: lambda: numbers.as_text(seen, _width(), color=_color()),
            ReportFormat.markdown: lambda: numbers.as_markdown(seen),
            ReportFormat.json: lambda: numbers.as_json(seen),
        }
        _show(writers[output](), numbers.exit_code(seen))


Runs = Annotated[
    list[str],
    typer.Argument(metavar="RUN...", help="Run files, folders of them, or references that come with torchlap."),
]


@app.command(epilog=REPORT_EPILOG)
def report(
    runs: Runs,
    why: Annotated[bool, typer.Option("--why", help="Show where each step's time goes.")] = False,  # noqa: FBT002  a flag
    output: FormatOption = Format.table,
    html: Annotated[Path | None, typer.Option(help="Write one page with charts here, which needs no network.")] = None,
    png: Annotated[Path | None, typer.Option(help="Write a picture of one run's speed-ups here.")] = None,
) -> None:
    """Show runs that were measured before, or references, as torchlap run shows them."""
    from torchlap import api  # noqa: PLC0415  see the module's docstring
    from torchlap.reports import terminal  # noqa: PLC0415

    with _one_sentence():
        if (html or png) and (output is not Format.table or why):
            raise UsageError("--html and --png write files that have it all: leave out --format and --why.")
        named = api.find_runs(*runs)
        if len(named) > 1 and (png or output in (Format.csv, Format.json)):
            what = "--png" if png else f"--format {output}"
            raise UsageError(f"{what} is of one run: name one, or use --html or torchlap compare.")
        if html or png:
            _draw(named, html, png)
            return
        if len(named) > MOST_WHOLE_RUNS and output is Format.table:
            _show(terminal.overview(named, _width(), color=_color()), EXIT_FINE)
        for each in named:
            text = _written(each.run, output, why=why)
            if output is Format.table:
                heading = f"{each.name}\n" * (len(named) > 1)
                text = heading + terminal.machine(each.run, _width(), color=_color()) + text
            if not _print(text, "the report is lost"):
                raise typer.Exit(EXIT_RUN_FILE)


def _draw(named: "list[Named]", html: Path | None, png: Path | None) -> None:
    """Write a page, a picture or both, whole or not at all."""
    from torchlap.reports import charts, page, rows  # noqa: PLC0415  see the module's docstring

    if html is not None:
        _write(html, page.as_html(named, __version__).encode())
    if png is not None:
        _write(png, charts.headline_png(rows.judged(named[0].run)))


def _write(path: Path, content: bytes) -> None:
    """Replace a file by another in one step: a full disk leaves what was there.

    Raises:
        RunFileError: when it cannot be written.
    """
    part = path.with_name(f".{path.name}.part")
    try:
        part.write_bytes(content)
        part.replace(path)
    except OSError as error:
        with suppress(OSError):
            part.unlink()
        raise RunFileError(f"{path} cannot be written ({error.strerror}): name another file.") from None
    _say(f"Written: {path}")


def _written(run: "Run", output: Format, *, why: bool, path: Path | None = None) -> str:
    """A run in a format; of the table, what comes after the machine."""
    from torchlap.reports import plain, terminal  # noqa: PLC0415  see the module's docstring

    if output is Format.table:
        return terminal.report(run, path, _width(), color=_color(), why=why)
    if output is Format.markdown:
        return plain.as_markdown(run, why=why)
    return plain.as_csv(run) if output is Format.csv else plain.as_json(run, path)


class Pivot(StrEnum):
    """What makes the columns of a comparison."""

    files = "files"
    devices = "devices"
    torch = "torch"
    machine = "machine"


Band = Annotated[str, typer.Option(help="Within this, either way, is the same.")]
FailIfSlower = Annotated[
    str | None, typer.Option(help="Exit with 1 when a cell is slower by more than this, with certainty: 5%.")
]
AcrossOption = Annotated[Pivot, typer.Option("--across", help="What is compared: each file, or what runs differ in.")]


@app.command(epilog=COMPARE_EPILOG)
def compare(
    runs: Runs,
    band: Band = "5%",
    fail_if_slower: FailIfSlower = None,
    across: AcrossOption = Pivot.files,
    output: ReportFormatOption = ReportFormat.text,
) -> None:
    """Put runs beside the first of them: each cell is faster, slower, the same, or cannot be told."""
    from torchlap import api, suites  # noqa: PLC0415  see the module's docstring
    from torchlap.reports import comparison  # noqa: PLC0415
    from torchlap.versus import slower_by  # noqa: PLC0415

    with _one_sentence():
        limit = suites.parse_target(fail_if_slower, "limit") if fail_if_slower is not None else None
        seen = api.compare(*runs, across=across.value, band=suites.parse_target(band, "band"))
        slower = limit is not None and bool(slower_by(seen, limit))
        code = EXIT_SOME_CELLS_FAILED if slower else EXIT_FINE
        writers: dict[ReportFormat, Callable[[], str]] = {
            ReportFormat.text: lambda: comparison.as_text(seen, _width(), color=_color()),
            ReportFormat.markdown: lambda: comparison.as_markdown(seen),
            ReportFormat.json: lambda: comparison.as_json(seen, code),
        }
        _show(writers[output](), code)


StopAfter = Annotated[str | None, typer.Option(help="Interrupt the script after this time: 60s, 5m.")]
LadderModels = Annotated[
    str | None, typer.Option("--models", help="Without a script: which of the experiment's models.")
]
LadderBudget = Annotated[str, typer.Option("--budget", help="Without a script: what the ladder's last rungs may take.")]


@app.command(
    epilog=AUDIT_EPILOG,
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True, "allow_interspersed_args": False},
)
def audit(
    context: typer.Context,
    script: Annotated[str | None, typer.Argument(metavar="[SCRIPT [ARGS]...]", help="A training script.")] = None,
    stop_after: StopAfter = None,
    models: LadderModels = None,
    budget: LadderBudget = "150s",
    out: Annotated[Path | None, typer.Option(help="Without a script: the run file of the ladder's last rungs.")] = None,
    output: ReportFormatOption = ReportFormat.text,
) -> None:
    """Run a training script and tell, by file and line, whether its timing is honest.

    Without a script: the experiment of 2022, audited and then repaired one flaw at a time.
    """
    from torchlap import suites  # noqa: PLC0415  see the module's docstring

    with _one_sentence():
        signal.signal(signal.SIGTERM, _interrupt)
        limit = suites.parse_seconds(stop_after, "time limit") if stop_after is not None else None
        if script is None:
            if limit is not None:
                raise UsageError("--stop-after is for a script: name one, or leave it out.")
            _audit_experiment(models, suites.parse_seconds(budget, "budget"), out, output)
        if models is not None or out is not None:
            raise UsageError("--models and --out are for the experiment of 2022: leave them out, or the script.")
        _audit_script(str(script), context.args, limit, output)


def _audit_script(script: str, arguments: list[str], limit: float | None, output: ReportFormat) -> NoReturn:
    from torchlap import auditing  # noqa: PLC0415  see the module's docstring
    from torchlap.reports import audit as report_of  # noqa: PLC0415

    seen = auditing.audit_script(script, arguments, stop_after=limit, quiet=output is not ReportFormat.text)
    writers: dict[ReportFormat, Callable[[], str]] = {
        ReportFormat.text: lambda: report_of.as_text(seen, _width(), color=_color()),
        ReportFormat.markdown: lambda: report_of.as_markdown(seen),
        ReportFormat.json: lambda: report_of.as_json(seen, __version__),
    }
    _show(writers[output](), EXIT_INTERRUPTED if seen.interrupted else report_of.exit_code(seen))


def _audit_experiment(models: str | None, budget: float, out: Path | None, output: ReportFormat) -> NoReturn:
    from torchlap import auditing, suites  # noqa: PLC0415  see the module's docstring
    from torchlap.audit.ladder import MODELS  # noqa: PLC0415
    from torchlap.reports import ladder  # noqa: PLC0415

    chosen = suites.split_words(models) if models is not None else MODELS
    quiet = output is not ReportFormat.text
    with _doing() as watch:
        seen = auditing.audit_experiment(chosen, budget_seconds=budget, out=out, quiet=quiet, watch=watch)
    writers: dict[ReportFormat, Callable[[], str]] = {
        ReportFormat.text: lambda: ladder.as_text(seen, _width(), color=_color()),
        ReportFormat.markdown: lambda: ladder.as_markdown(seen),
        ReportFormat.json: lambda: ladder.as_json(seen, __version__),
    }
    _show(writers[output](), EXIT_FINE)


def _write_bug_report(seen: "Verification", path: Path) -> None:
    """Write the script of the first fault, and say what was done."""
    scripts = [each.numbers.script for each in seen.cells if each.numbers.script]
    if not scripts:
        _say("No script was written: no operator was wrong that a script could show.")
        return
    try:
        with path.open("x") as file:
            file.write(scripts[0])
    except OSError as error:
        raise RunFileError(f"{path} cannot be written ({error.strerror}): name another with --report-bug.") from None
    _say(f"A script that shows the first fault with torch alone: {path}")


@contextmanager
def _doing() -> Iterator[Callable[[str], None]]:
    """Show what is being done, where the standard error is a terminal."""
    with _error_console().status("reading the machine", spinner="line") as status:
        yield status.update


def _error_console() -> "Console":
    """Where to tell what goes on; to nobody, where the standard error is closed."""
    from rich.console import Console  # noqa: PLC0415  see the module's docstring

    return Console(stderr=True) if sys.stderr else Console(file=Path(os.devnull).open("w"))


def _loader_workers(through: Through, workers: str | None) -> int | None:
    if through is Through.resident:
        if workers is not None:
            raise UsageError("--workers counts DataLoader processes: give it together with --data-through loader.")
        return None
    if workers is None:
        return 4
    if not (re.fullmatch(r"[0-9]{1,3}", workers) and int(workers) <= 256):  # noqa: PLR2004  more help no loader
        raise UsageError(f"{workers!r} is no number of workers: give a whole number from 0 to 256.")
    return int(workers)


def _nothing_beside_resume(options: "Options") -> None:
    """A resumed run is measured as it was planned."""
    from torchlap.api import Options  # noqa: PLC0415  see the module's docstring

    planned = Options(resume=options.resume, hang_seconds=options.hang_seconds)
    if options.resume is not None and options != planned:
        raise UsageError("--resume continues a run as it was planned: leave out the models and the other options.")


def _measure(options: "Options", output: Format, *, why: bool) -> None:
    """Measure with a live display, print the figures, exit with the code that says how it went."""
    from torchlap.api import measure  # noqa: PLC0415  see the module's docstring

    signal.signal(signal.SIGTERM, _interrupt)
    with _Display(output, why=why) as display:
        try:
            measure(options, display.listener())
        except KeyboardInterrupt:
            display.show_figures()
            path = display.path or options.resume
            where = f"continue with torchlap run --resume {shlex.quote(str(path))}" if path else "nothing was measured"
            _say(f"Interrupted: {where}.")
            raise typer.Exit(EXIT_INTERRUPTED) from None
        except TorchlapError:
            display.show_figures()
            raise
        display.show_figures()
    raise typer.Exit(_exit_code(display.run))


def _interrupt(_signal: int, _frame: object) -> NoReturn:
    raise KeyboardInterrupt


def _exit_code(run: "Run | None") -> int:
    from torchlap.records import OUT_OF_TIME  # noqa: PLC0415  see the module's docstring
    from torchlap.results import figures  # noqa: PLC0415
    from torchlap.trust import judge, void  # noqa: PLC0415

    cells = [cell for comparison in figures(run) for cell in comparison.cells] if run else []
    failed = any(cell.failure and cell.failure.kind not in OUT_OF_TIME for cell in cells)
    return EXIT_SOME_CELLS_FAILED if failed or (run and void(judge(run))) else EXIT_FINE


class _Display:
    """What the user sees: the machine, a progress line on the standard error, the figures on the standard output."""

    def __init__(self, output: Format, *, why: bool) -> None:
        self._output, self._why = output, why
        self._header: Header | None = None
        self._events: list[Event] = []
        self.path: Path | None = None

    def __enter__(self) -> Self:
        from rich.progress import BarColumn, Progress, TextColumn  # noqa: PLC0415  see the module's docstring

        self._console = _error_console()
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
        """What the measuring is to call."""
        from torchlap.api import Listener  # noqa: PLC0415  see the module's docstring

        return Listener(opened=self._opened, event=self._event, status=self._status)

    def _opened(self, header: "Header", path: Path) -> None:
        from torchlap.reports import terminal  # noqa: PLC0415  see the module's docstring

        self._header, self.path = header, path
        if self._output is Format.table and self.run:
            _print(terminal.machine(self.run, _width(), color=_color()))
        self._progress.update(self._task, total=len(header.plan.comparisons))

    def _event(self, event: "Event") -> None:
        from torchlap.records import ComparisonFinished  # noqa: PLC0415  see the module's docstring

        self._events.append(event)
        if isinstance(event, ComparisonFinished) and not self._console.is_terminal and self.run:
            _say(_progress_line(self.run, event.comparison))

    def _status(self, status: "Status") -> None:
        from torchlap.reports.rows import clean  # noqa: PLC0415  see the module's docstring

        left = f"{int(status.left_seconds) // 60}:{int(status.left_seconds) % 60:02} left at most"
        self._progress.update(self._task, completed=status.done, description=f"{left} · {clean(status.doing)}")

    @property
    def run(self) -> "Run | None":
        """The run so far; None before it has begun."""
        from torchlap.records import Run  # noqa: PLC0415  see the module's docstring

        return Run(self._header, tuple(self._events)) if self._header else None

    def show_figures(self) -> None:
        """Print the figures there are, in the format asked for."""
        self._progress.stop()
        if self.run is None:
            return
        _print(_written(self.run, self._output, why=self._why, path=self.path))


def _progress_line(run: "Run", number: int) -> str:
    """One finished comparison in one line, for a log."""
    from torchlap.reports.rows import judged  # noqa: PLC0415  see the module's docstring

    comparison = run.header.plan.comparisons[number]
    mine = [row for row in judged(run).rows if row.result.cell in comparison.cells]
    cells = ", ".join(f"{row.device} {row.recipe} {row.throughput}" for row in mine)
    workload = comparison.cells[0].workload
    return f"{mine[0].model}, batch {workload.batch}, {workload.phase}: {cells}"


def _width() -> int:
    """The terminal's columns; 80 where there is no terminal and none are set."""
    import shutil  # noqa: PLC0415  see the module's docstring

    return shutil.get_terminal_size((FALLBACK_WIDTH, 24)).columns


def _color() -> bool:
    """A terminal that may be coloured (https://no-color.org)."""
    return bool(
        sys.stdout and sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    )


def _print(text: str, lost: str = "the figures are in the run file") -> bool:
    """Write figures, and tell whether it worked.

    A reader that stopped reading is no error and no reason to stop; a full disk is told, with what became of the text.
    """
    if not sys.stdout:
        return True
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if not isinstance(error, BrokenPipeError):
            _say(f"The standard output cannot be written ({error.strerror}): {lost}.")
            return False
    return True


def _show(report: str, code: int) -> NoReturn:
    """Print a report that is nowhere else, and exit with the code."""
    raise typer.Exit(code if _print(report, "the report is lost") else EXIT_RUN_FILE)


def _say(text: str) -> None:
    """Tell what happens; where nobody can be told, measuring goes on."""
    if sys.stderr:
        with suppress(OSError):
            print(text, file=sys.stderr, flush=True)


@contextmanager
def _one_sentence() -> Iterator[None]:
    """Turn an expected error into its sentence and its exit code."""
    try:
        yield
    except TorchlapError as error:
        _say(f"torchlap: {error}")
        raise typer.Exit(error.exit_code) from None
    except KeyboardInterrupt:
        _say("Interrupted: nothing was measured.")
        raise typer.Exit(EXIT_INTERRUPTED) from None
    except OSError as error:
        _say(f"torchlap: the system refused what is needed ({error}): free memory, disk space or open files first.")
        raise typer.Exit(EXIT_RUN_FILE) from None


def _open_closed_streams() -> None:
    """Give a closed standard stream the null device: otherwise its number would go to a socket of ours."""
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # it takes the lowest free number, which is this one


def main() -> None:
    """Run the command line; a reader that stops reading (`| head`) is no error, and no text is too odd to print."""
    _open_closed_streams()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        app(prog_name="torchlap")
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(EXIT_FINE)
