"""`torchlap tune`."""

import shlex
import signal
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from torchlap.cli import options as given
from torchlap.cli.console import color, errors_in_one_sentence, interrupt_on, say, width, write_out
from torchlap.cli.output_file import check_target, write_file
from torchlap.errors import (
    EXIT_FINE,
    EXIT_INTERRUPTED,
    EXIT_RUN_FILE,
    EXIT_SOME_CELLS_FAILED,
    TorchlapError,
    UsageError,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from torchlap.measuring.plan import Options
    from torchlap.schema.effort import Allowed, Tuning
    from torchlap.schema.events import Event, Header, Run

EPILOG = (
    "Exit codes: 0 the search ended, whether or not a recipe is faster; 1 the plain step failed, or the code of the "
    "answer did not run; 2 invalid arguments; 3 torch or torchvision is unusable; 4 a file cannot be written or read; "
    "130 interrupted, the ladder so far is shown and can be continued with --resume."
)


class Effort(StrEnum):
    """How thoroughly to search."""

    quick = "quick"
    full = "full"


Model = Annotated[
    str | None,
    typer.Argument(metavar="MODEL", help="A torchvision model, timm:NAME, hf:NAME, or path/to/file.py:function."),
]
Device = Annotated[str, typer.Option("--devices", help="One device, like cuda:0. [default: the first accelerator]")]
BatchSize = Annotated[str | None, typer.Option("--batch", help="One batch size. [default: 64]")]
Phase = Annotated[str | None, typer.Option(help="train or eval. [default: train]")]
EffortOption = Annotated[Effort, typer.Option("--effort", help="quick: 3 minutes; full: 10 minutes, and more words.")]
Budget = Annotated[str | None, typer.Option(help="Stop after this time instead: 90s, 5m, 1h.")]
Allow = Annotated[
    str | None,
    typer.Option(
        metavar="WORDS",
        help="What the answer may change: precision, shape (the vocabulary), batch; several joined by commas. "
        "[default: nothing]",
    ),
]
Write = Annotated[Path | None, typer.Option(metavar="FILE", help="Write the code of the answer to this file.")]


def tune(
    model: Model = None,
    devices: Device = "all",
    batch: BatchSize = None,
    seq: given.Seq = None,
    items: given.Items = None,
    unit: given.Unit = "",
    phase: Phase = None,
    data: given.DataOption = given.Data.mnist_1k,
    data_through: given.ThroughOption = given.Through.resident,
    workers: given.Workers = None,
    effort: EffortOption = Effort.quick,
    budget: Budget = None,
    allow: Allow = None,
    energy: given.Energy = False,
    no_verify: given.NoVerify = False,
    hang_limit: given.HangLimit = "120s",
    write: Write = None,
    force: given.Force = False,
    out: given.Out = None,
    resume: given.Resume = None,
    output: given.ReportFormatOption = given.ReportFormat.text,
) -> None:
    """Find the fastest settings that still compute the same, and print the code that sets them."""
    from msgspec.structs import replace

    from torchlap.schema.effort import Tuning

    with errors_in_one_sentence():
        tuning = Tuning(effort.value, _allowed(allow))
        options = given.workload_options(
            models=[model] if model is not None else None,
            devices=devices,
            batch=batch,
            seq=seq,
            phase=phase,
            recipe="fp32",
            data=data,
            budget=budget,
            hang_limit=hang_limit,
            workers=given.loader_workers(data_through, workers),
        )
        counting = {"items": items, "unit": unit}
        options = replace(options, **counting, verify=not no_verify, energy=energy, out=out, resume=resume)
        _check_resume(options, tuning)
        inputs = [Path(model.rpartition(":")[0])] if model and ":" in model else []
        if write is not None:
            check_target(write, inputs=inputs, force=force)
        interrupt_on(signal.SIGTERM, signal.SIGHUP)
        code, run, path = _searched(options, tuning, lambda run, path: write_out(_formatted(run, output, path)))
        if run is None:
            raise typer.Exit(code)
        printed = write_out(_formatted(run, output, path))
        if write is not None and code != EXIT_INTERRUPTED:
            _write(run, write, inputs, force=force)
        raise typer.Exit(code if printed else EXIT_RUN_FILE)


def _allowed(text: str | None) -> "tuple[Allowed, ...]":
    from typing import cast, get_args

    from torchlap.cli.words import split_words
    from torchlap.schema.effort import Allowed

    words = split_words(text) if text is not None else []
    known = get_args(Allowed)
    wrong = [word for word in words or [text or ""] if word not in known]
    if text is not None and wrong:
        raise UsageError(f"Invalid --allow {wrong[0]!r}: choose from {', '.join(known)}.")
    return cast("tuple[Allowed, ...]", tuple(dict.fromkeys(words)))


def _check_resume(options: "Options", tuning: "Tuning") -> None:
    """A resumed search goes on as it was planned."""
    from torchlap.measuring.plan import Options
    from torchlap.schema.effort import Tuning

    planned = Options(resume=options.resume, hang_seconds=options.hang_seconds)
    if options.resume is not None and (options != planned or tuning != Tuning()):
        raise UsageError("--resume continues a search with its own settings: omit the model and the other options.")


def _searched(
    options: "Options", tuning: "Tuning", show: "Callable[[Run, Path], object]"
) -> "tuple[int, Run | None, Path | None]":
    """Search, with a line of progress: the exit code, the run so far, and its file; `show` it before an error."""
    from msgspec.structs import replace

    from torchlap.api.progress import shown
    from torchlap.api.tune import tune as search
    from torchlap.schema.events import Run

    header: list[tuple[Header, Path]] = []
    events: list[Event] = []
    interrupted = False
    with shown() as listener:
        try:
            search(
                options,
                tuning,
                replace(listener, opened=lambda first, path: header.append((first, path)), event=events.append),
            )
        except KeyboardInterrupt:
            interrupted = True
        except TorchlapError:
            if header:
                show(Run(header[0][0], tuple(events)), header[0][1])
            raise
    if not header:
        say("Interrupted: nothing was measured.")
        return EXIT_INTERRUPTED, None, None
    run, path = Run(header[0][0], tuple(events)), header[0][1]
    if interrupted:
        say(f"Interrupted: continue with torchlap tune --resume {shlex.quote(str(path))}.")
        return EXIT_INTERRUPTED, run, path
    return _exit_code(run), run, path


def _exit_code(run: "Run") -> int:
    from torchlap.reports.tune.ladder import answer_code, run_result

    code = answer_code(run)
    failed = run_result(run, 0).failure is not None or (code is not None and code.code and code.reason)
    return EXIT_SOME_CELLS_FAILED if failed else EXIT_FINE


def _formatted(run: "Run", output: given.ReportFormat, path: Path | None) -> str:
    from torchlap.reports.run.terminal import machine
    from torchlap.reports.tune import ladder

    match output:
        case given.ReportFormat.text:
            head = machine(run, width(), color=color())
            return head + ladder.as_text(run, path, width(), color=color())
        case given.ReportFormat.markdown:
            return ladder.as_markdown(run)
        case given.ReportFormat.json:
            return ladder.as_json(run, path)


def _write(run: "Run", path: Path, inputs: list[Path], *, force: bool) -> None:
    """Write the code of the answer, and say so; or why there is none."""
    from torchlap.reports.tune.ladder import answer_code

    code = answer_code(run)
    if code is None or not code.code:
        say(f"{path} was not written: there is no code for this model and recipe.")
        return
    write_file(path, code.code.encode(), inputs=inputs, force=force)
