"""`torchlap upgrade`."""

import signal
from typing import Annotated

import typer

from torchlap.cli import options as given
from torchlap.cli.console import errors_in_one_sentence, interrupt_on, spinner, write_out
from torchlap.cli.run import shown
from torchlap.errors import EXIT_RUN_FILE

EPILOG = (
    "Exit codes: 0 every cell has a result, or was too slow for the budget; 1 some cells failed or are void; 2 invalid "
    "arguments; 3 a release cannot be installed, or its torch is unusable; 4 the run file cannot be written; 130 "
    "interrupted."
)
Models = Annotated[
    list[str],
    typer.Argument(metavar="MODEL", help="Names of torchvision, timm:NAME, hf:NAME, or path/to/file.py:function."),
]
To = Annotated[str, typer.Option("--to", metavar="RELEASE", help="The new release, like 2.15 or 'torch==2.15.*'.")]
From = Annotated[
    str, typer.Option("--from", metavar="RELEASE", help="The old release. [default: the torch that is installed]")
]
Pythons = Annotated[
    list[str] | None,
    typer.Option(
        "--python", metavar="PATH", help="Existing Pythons instead of releases: give it twice, the old first."
    ),
]


def upgrade(
    models: Models,
    to: To = "",
    before: From = "",
    python: Pythons = None,
    devices: given.Devices = "all",
    batch: given.Batch = None,
    seq: given.Seq = None,
    phase: given.Phases = None,
    recipe: given.Recipes = "fp32",
    precision_target: given.Target = "2%",
    budget: given.Budget = None,
    hang_limit: given.HangLimit = "120s",
    out: given.Out = None,
    output: given.FormatOption = given.Format.table,
) -> None:
    """Compare two releases of torch on your models: both take turns in one run, and nothing installed is changed."""
    from msgspec.structs import replace

    from torchlap.api.upgrade import releases
    from torchlap.reports import upgrade as reports

    with errors_in_one_sentence():
        options = given.workload_options(
            models=models,
            devices=devices,
            batch=batch,
            seq=seq,
            phase=phase,
            recipe=recipe,
            data=given.Data.mnist_1k,
            weights=given.Weights.random,
            budget=budget,
            hang_limit=hang_limit,
            precision_target=precision_target,
        )
        interrupt_on(signal.SIGTERM)
        with spinner() as report:
            arms = releases(to, before, python or (), report)
        code, run = shown(replace(options, arms=arms, out=out), output, why=False)
        writers = {given.Format.table: reports.as_text, given.Format.markdown: reports.as_markdown}
        if run is not None and output in writers and not write_out(writers[output](run)):
            raise typer.Exit(EXIT_RUN_FILE)
        raise typer.Exit(code)
