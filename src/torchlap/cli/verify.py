"""`torchlap verify`."""

import signal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from torchlap.cli import options as given
from torchlap.cli.console import color, errors_in_one_sentence, interrupt_on, say, show_as, spinner, width
from torchlap.cli.output_file import check_target, write_file

if TYPE_CHECKING:
    from torchlap.judge.numerics import Verification

EPILOG = (
    "Exit codes: 0 all checked results are correct; 1 results are wrong, or could not be checked; 2 invalid "
    "arguments; 3 torch or torchvision is unusable; 4 a file or memory is unavailable; 130 interrupted."
)
ReportBug = Annotated[
    Path | None, typer.Option("--report-bug", help="Write a script that reproduces the first fault with torch alone.")
]
NoSuite = Annotated[bool, typer.Option("--no-suite", help="Skip the operator suite.")]
Thorough = Annotated[
    bool, typer.Option("--thorough", help="Check every element, and run the operator suite at its large sizes, too.")
]
Seed = Annotated[
    int, typer.Option("--seed", min=0, help="Random seed that chooses what to check; the same seed repeats a check.")
]


def verify(
    models: given.Models = None,
    devices: given.VerifyDevices = "all",
    batch: given.VerifyBatch = None,
    items: given.Items = None,
    unit: given.Unit = "",
    phase: given.Phases = None,
    recipe: given.Recipes = "fp32",
    data: given.DataOption = given.Data.mnist_1k,
    weights: given.WeightsOption = given.Weights.random,
    budget: given.VerifyBudget = None,
    hang_limit: given.HangLimit = "120s",
    thorough: Thorough = False,
    seed: Seed = 0,
    no_suite: NoSuite = False,
    report_bug: ReportBug = None,
    force: given.Force = False,
    output: given.ReportFormatOption = given.ReportFormat.text,
) -> None:
    """Check whether devices compute correct results: each operator of a step against float64 on the CPU."""
    from torchlap.api.numerics import verify as check
    from torchlap.reports import verify as reports

    with errors_in_one_sentence():
        interrupt_on(signal.SIGTERM, signal.SIGHUP)
        inputs = [Path(model.rpartition(":")[0]) for model in models or () if model.count(":")]
        if report_bug is not None:
            check_target(report_bug, inputs=inputs, force=force)
        options = given.workload_options(
            models=models,
            devices=devices,
            batch=batch,
            phase=phase,
            recipe=recipe,
            data=data,
            weights=weights,
            budget=budget,
            hang_limit=hang_limit,
            items=items,
            unit=unit,
        )
        with spinner() as watch:
            result = check(options, suite=not no_suite, thorough=thorough, seed=seed, watch=watch)
        if result.interrupted:
            say("Interrupted: results up to that point follow.")
        if report_bug is not None:
            _write_bug_report(result, report_bug, inputs, force=force)
        writers = {
            given.ReportFormat.text: lambda: reports.as_text(result, width(), color=color()),
            given.ReportFormat.markdown: lambda: reports.as_markdown(result),
            given.ReportFormat.json: lambda: reports.as_json(result),
        }
        show_as(output, writers, reports.exit_code(result))


def _write_bug_report(result: "Verification", path: Path, inputs: list[Path], *, force: bool) -> None:
    """Write the script of the first fault, and say what was done."""
    scripts = [checked.numerics.script for checked in result.cells if checked.numerics.script]
    if not scripts:
        say("No script was written: no reproducible fault found.")
        return
    write_file(path, scripts[0].encode(), inputs=inputs, force=force)
    say("It reproduces the first fault with torch alone.")
