"""`torchlap run`."""

import shlex
import signal
from typing import TYPE_CHECKING

import typer

from torchlap.cli import options as given
from torchlap.cli.console import errors_in_one_sentence, interrupt_on, say
from torchlap.cli.display import Display
from torchlap.errors import (
    EXIT_FINE,
    EXIT_INTERRUPTED,
    EXIT_RUN_FILE,
    EXIT_SOME_CELLS_FAILED,
    TorchlapError,
    UsageError,
)

if TYPE_CHECKING:
    from pathlib import Path

    from torchlap.measuring.plan import Options
    from torchlap.reports.run.rows import ExtraColumn
    from torchlap.runs.energy import Prices
    from torchlap.schema.events import Run

EPILOG = (
    "Exit codes: 0 every cell has a result, or was too slow for the budget; 1 some cells failed or are void; 2 invalid "
    "arguments; 3 torch or torchvision is unusable; 4 the run file cannot be written or read, or the standard output "
    "cannot be written; 130 interrupted."
)


def run(
    models: given.Models = None,
    devices: given.Devices = "all",
    batch: given.Batch = None,
    seq: given.Seq = None,
    items: given.Items = None,
    unit: given.Unit = "",
    phase: given.Phases = None,
    suite: given.Suite = "quick",
    recipe: given.Recipes = "fp32",
    data: given.DataOption = given.Data.mnist_1k,
    data_through: given.ThroughOption = given.Through.resident,
    workers: given.Workers = None,
    weights: given.WeightsOption = given.Weights.random,
    precision_target: given.Target = "2%",
    budget: given.Budget = None,
    hang_limit: given.HangLimit = "120s",
    no_verify: given.NoVerify = False,
    why: given.Why = None,
    columns: given.Columns = None,
    energy: given.Energy = False,
    price_kwh: given.PriceKwh = None,
    price_hour: given.PriceHour = None,
    isolate: given.Isolate = False,
    arm: given.Arms = None,
    against: given.Against = "",
    out: given.Out = None,
    resume: given.Resume = None,
    output: given.FormatOption = given.Format.table,
) -> None:
    """Train real models on every device and print each speed-up with its interval."""
    from msgspec.structs import replace

    from torchlap.schema.arm import parse_arms

    with errors_in_one_sentence():
        options = given.workload_options(
            models=models,
            devices=devices,
            batch=batch,
            seq=seq,
            phase=phase,
            recipe=recipe,
            data=data,
            weights=weights,
            budget=budget,
            hang_limit=hang_limit,
            precision_target=precision_target,
            workers=given.loader_workers(data_through, workers),
            items=items,
            unit=unit,
        )
        files = {"suite": suite, "out": out, "resume": resume}
        looks = {"verify": not no_verify, "explain": why is not False, "isolate": isolate, "energy": energy}
        options = replace(options, **files, **looks, arms=parse_arms(arm or ()), against=against)
        extra = given.extra_columns(columns, output)
        if extra and why is False:
            raise UsageError("--columns utilization needs the analysis that --no-why skips: omit one of them.")
        if price_kwh is not None and not energy and resume is None:
            raise UsageError("--price-kwh needs the energy of the devices: add --energy.")
        measured(options, output, why=bool(why), columns=extra, prices=given.prices(price_kwh, price_hour))


def _check_resume(options: "Options") -> None:
    """A resumed run is measured as it was planned."""
    from torchlap.measuring.plan import Options

    planned = Options(resume=options.resume, hang_seconds=options.hang_seconds, isolate=options.isolate)
    if options.resume is not None and options != planned:
        raise UsageError("--resume continues a run with its own settings: omit the models and the other options.")


def measured(
    options: "Options",
    output: given.Format,
    *,
    why: bool,
    columns: "tuple[ExtraColumn, ...]" = (),
    prices: "Prices | None" = None,
) -> None:
    """Measure with a live display, print the figures, exit with the code that says how it went."""
    raise typer.Exit(shown(options, output, why=why, columns=columns, prices=prices)[0])


def shown(
    options: "Options",
    output: given.Format,
    *,
    why: bool,
    columns: "tuple[ExtraColumn, ...]" = (),
    prices: "Prices | None" = None,
) -> "tuple[int, Run | None]":
    """Measure with a live display, and print the figures: the code that says how it went, and the run."""
    from torchlap.api.run import measure

    _check_resume(options)
    interrupt_on(signal.SIGTERM, signal.SIGHUP)
    with Display(output, why=why, columns=columns, prices=prices) as display:
        try:
            measure(options, display.listener())
        except KeyboardInterrupt:
            display.show_figures()
            path = display.path or options.resume
            say(f"Interrupted: {_remedy(options, path)}.")
            raise typer.Exit(EXIT_INTERRUPTED) from None
        except TorchlapError:
            display.show_figures()
            raise
        display.show_figures()
    return _exit_code(display.run) if display.printed else EXIT_RUN_FILE, display.run


def _remedy(options: "Options", path: "Path | None") -> str:
    """What to do after an interruption."""
    if path is None:
        return "nothing was measured"
    if options.against:
        return f"results up to that point are in {path}; the files of {options.against} were removed"
    return f"continue with torchlap run --resume {shlex.quote(str(path))}"


def _exit_code(run: "Run | None") -> int:
    from torchlap.judge.measurement import findings, void
    from torchlap.runs.figures import cells, figures
    from torchlap.schema.base import OUT_OF_TIME

    if run is None:
        return EXIT_FINE
    failed = any(cell.failure and cell.failure.kind not in OUT_OF_TIME for cell in cells(figures(run)))
    return EXIT_SOME_CELLS_FAILED if failed or void(findings(run)) else EXIT_FINE
