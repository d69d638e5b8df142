"""`torchlap train`."""

import shlex
import signal
from typing import TYPE_CHECKING, Annotated, Any

import typer

from torchlap.cli import options as given
from torchlap.cli.console import errors_in_one_sentence, interrupt_on, say
from torchlap.cli.display import Display
from torchlap.errors import (
    EXIT_FINE,
    EXIT_INTERRUPTED,
    EXIT_NOT_REACHED,
    EXIT_RUN_FILE,
    EXIT_SOME_CELLS_FAILED,
    TorchlapError,
    UsageError,
)

if TYPE_CHECKING:
    from torchlap.api.train import Training
    from torchlap.measuring.plan import Options
    from torchlap.schema.events import Event, Run

EPILOG = (
    "Exit codes: 0 every training reached the accuracy; 1 a training failed; 2 invalid arguments; 3 torch or "
    "torchvision is unusable; 4 the run file cannot be written or read, or the standard output cannot be written; 7 a "
    "training did not reach the accuracy, or did not fit into the budget; 130 interrupted."
)
Model = Annotated[
    str | None,
    typer.Argument(
        metavar="MODEL",
        help="digits_cnn, a torchvision model, timm:NAME, or path/to/file.py:function with a DataLoader and validation "
        "data. [default: digits_cnn]",
    ),
]
Devices = Annotated[
    str, typer.Option("--devices", help="Devices, like cpu,cuda:0. [default: the first accelerator, or the CPU]")
]
BatchSize = Annotated[str | None, typer.Option("--batch", help="One batch size. [default: 50]")]
Until = Annotated[str | None, typer.Option(help="Accuracy on held-out data that ends a training. [default: 95%]")]
Seeds = Annotated[int | None, typer.Option(help="Train from this many seeds, 0 on. [default: 6]")]
Epochs = Annotated[int | None, typer.Option(min=1, max=10**6, help="Give up after this many epochs. [default: 30]")]
Rate = Annotated[
    str | None,
    typer.Option("--lr", metavar="RATE", help="Learning rate of Adam. [default: 0.002 for digits_cnn, or else 0.0001]"),
]
Every = Annotated[
    int | None,
    typer.Option(
        "--evaluate-every", min=1, max=10**9, metavar="STEPS", help="Steps between evaluations. [default: an epoch]"
    ),
]
Budget = Annotated[str | None, typer.Option(help="Stop after this time: 90s, 5m, 1h. [default: 60s for each cell]")]


def train(
    model: Model = None,
    until: Until = None,
    devices: Devices = "",
    batch: BatchSize = None,
    recipe: given.Recipes = "fp32",
    seeds: Seeds = None,
    epochs: Epochs = None,
    lr: Rate = None,
    evaluate_every: Every = None,
    data: given.DataOption = given.Data.mnist_1k,
    data_through: given.ThroughOption = given.Through.resident,
    workers: given.Workers = None,
    weights: given.WeightsOption = given.Weights.random,
    budget: Budget = None,
    hang_limit: given.HangLimit = "120s",
    out: given.Out = None,
    resume: given.Resume = None,
    output: given.FormatOption = given.Format.table,
) -> None:
    """Measure the seconds until a model reaches an accuracy on held-out data, from several seeds."""
    from msgspec.structs import replace

    with errors_in_one_sentence():
        options = given.workload_options(
            models=[model] if model is not None else None,
            devices=devices,
            batch=batch,
            phase=None,
            recipe=recipe,
            budget=budget,
            hang_limit=hang_limit,
            data=data,
            weights=weights,
            workers=given.loader_workers(data_through, workers),
        )
        options = replace(options, out=out, resume=resume)
        training = _training(until, seeds, epochs, lr, evaluate_every)
        _check(options, training, output)
        raise typer.Exit(_shown(options, training, output))


def _training(
    until: str | None, seeds: int | None, epochs: int | None, lr: str | None, evaluate_every: int | None
) -> "Training":
    """How to train, from the words of the command line."""
    from torchlap.api.train import Training
    from torchlap.cli.words import parse_accuracy, parse_rate

    chosen: dict[str, Any] = {
        "target": parse_accuracy(until) if until is not None else None,
        "seeds": seeds,
        "epochs": epochs,
        "learning_rate": parse_rate(lr) if lr is not None else None,
        "evaluate_steps": evaluate_every,
    }
    return Training(**{name: value for name, value in chosen.items() if value is not None})


def _check(options: "Options", training: "Training", output: given.Format) -> None:
    """Refuse formats that hold throughputs only, and settings for a run that has its own."""
    from torchlap.api.train import Training
    from torchlap.measuring.plan import Options

    if output not in (given.Format.table, given.Format.markdown, given.Format.csv, given.Format.json):
        raise UsageError(f"--format {output} has no place for times to accuracy: use table, markdown, csv or json.")
    planned = Options(
        devices="", resume=options.resume, hang_seconds=options.hang_seconds, budget_seconds=options.budget_seconds
    )
    if options.resume is not None and (options != planned or training != Training()):
        raise UsageError("--resume continues a run with its own settings: give only --budget with it.")


def _shown(options: "Options", training: "Training", output: given.Format) -> int:
    """Train with a live display, and print the figures: the exit code."""
    from msgspec.structs import replace

    from torchlap.api.train import train as train_models
    from torchlap.reports.training.words import ended_line
    from torchlap.schema.training import TrainingEnded

    interrupt_on(signal.SIGTERM, signal.SIGHUP)
    with Display(output, why=False) as display:
        listener = display.listener()

        def event(new: "Event") -> None:
            listener.event(new)
            if isinstance(new, TrainingEnded) and display.run:
                display.log(ended_line(display.run, new))

        try:
            train_models(options, training, replace(listener, event=event))
        except KeyboardInterrupt:
            display.show_figures()
            path = display.path or options.resume
            remedy = (
                f"continue with torchlap train --resume {shlex.quote(str(path))}" if path else "nothing was trained"
            )
            say(f"Interrupted: {remedy}.")
            return EXIT_INTERRUPTED
        except TorchlapError:
            display.show_figures()
            raise
        display.show_figures()
    return _exit_code(display.run) if display.printed else EXIT_RUN_FILE


def _exit_code(run: "Run | None") -> int:
    from torchlap.judge.training import has_failed, is_reached
    from torchlap.runs.training import training_plan, trainings

    if run is None:
        return EXIT_FINE
    cells = trainings(run)
    if has_failed(cells):
        return EXIT_SOME_CELLS_FAILED
    return EXIT_FINE if is_reached(cells, len(training_plan(run).seeds)) else EXIT_NOT_REACHED
