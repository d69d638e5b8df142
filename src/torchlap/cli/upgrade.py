"""`torchlap upgrade`."""

import signal
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from torchlap.cli import options as given
from torchlap.cli.console import color, errors_in_one_sentence, interrupt_on, spinner, width, write_out
from torchlap.cli.run import shown
from torchlap.errors import EXIT_FINE, EXIT_INCONCLUSIVE, EXIT_RUN_FILE, UsageError

if TYPE_CHECKING:
    from torchlap.measuring.plan import Options
    from torchlap.schema.events import Run

EPILOG = (
    "Exit codes: 0 every cell has a result, or was too slow for the budget; 1 some cells failed or are void; 2 invalid "
    "arguments; 3 a release cannot be installed, or its torch is unusable; 4 the run file cannot be written; 6 "
    "--bisect was inconclusive; 130 interrupted."
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
        "--python",
        metavar="PATH",
        help="Existing Pythons instead of releases: give it twice, the old first; with --bisect, more often.",
    ),
]

Bisect = Annotated[
    bool, typer.Option("--bisect", help="Install releases in between, too, and name the one that changed the speed.")
]


def upgrade(
    models: Models,
    to: To = "",
    before: From = "",
    python: Pythons = None,
    devices: given.Devices = "all",
    batch: given.Batch = None,
    seq: given.Seq = None,
    items: given.Items = None,
    unit: given.Unit = "",
    phase: given.Phases = None,
    recipe: given.Recipes = "fp32",
    precision_target: given.Target = "2%",
    budget: given.Budget = None,
    hang_limit: given.HangLimit = "120s",
    bisect: Bisect = False,
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
            budget=budget,
            hang_limit=hang_limit,
            precision_target=precision_target,
            items=items,
            unit=unit,
        )
        options = replace(options, out=out)
        interrupt_on(signal.SIGTERM, signal.SIGHUP)
        if bisect:
            _bisect(options, to, before, python or [], output)
        with spinner() as report:
            arms = releases(to, before, python or (), report)
        code, run = shown(replace(options, arms=arms), output, why=False)
        text = ""
        if run is not None and output is given.Format.table:
            text = reports.as_text(run, width(), color=color())
        elif run is not None and output is given.Format.markdown:
            text = reports.as_markdown(run)
        raise typer.Exit(code if write_out(text) else EXIT_RUN_FILE)


def _bisect(options: "Options", to: str, before: str, pythons: list[str], output: given.Format) -> NoReturn:
    """Measure pairs of releases until one is found that changed the speed, and exit."""
    from msgspec.structs import replace

    from torchlap.api.bisect import bisect, candidates
    from torchlap.reports.bisect import as_text

    if output not in (given.Format.table, given.Format.markdown):
        raise UsageError(f"--bisect reports several runs: omit --format {output}.")
    codes: list[int] = []

    def measure(asked: "Options") -> "Run":
        if asked.out is not None and codes:
            asked = replace(asked, out=asked.out.with_stem(f"{asked.out.stem}-{len(codes) + 1}"))
        code, run = shown(asked, output, why=False)
        codes.append(code)
        if run is None:
            raise typer.Exit(code)
        return run

    with spinner() as report:
        known = candidates(to, before, pythons, report)
    found = bisect(options, known, measure)
    printed = write_out(as_text(found))
    code = max(codes) or (EXIT_FINE if found.is_narrow else EXIT_INCONCLUSIVE)
    raise typer.Exit(code if printed else EXIT_RUN_FILE)
