"""Options that several commands share, each declared once."""

import re
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from torchlap.errors import UsageError

if TYPE_CHECKING:
    from torchlap.measuring.plan import Options
    from torchlap.reports.run.rows import ExtraColumn
    from torchlap.runs.energy import Prices

MOST_WORKERS, USUAL_WORKERS = 256, 4


class Format(StrEnum):
    """How figures are written."""

    table = "table"
    markdown = "markdown"
    csv = "csv"
    json = "json"
    bencher = "bencher"
    github_action_benchmark = "github-action-benchmark"
    pytorch_oss = "pytorch-oss"


OF_ONE_RUN = tuple(form for form in Format if form not in (Format.table, Format.markdown))
"""Formats for programs, which cannot hold several runs one after the other."""


class ReportFormat(StrEnum):
    """How a report in words is written."""

    text = "text"
    markdown = "markdown"
    json = "json"


class AuditFormat(StrEnum):
    """How the report about a script is written."""

    text = "text"
    markdown = "markdown"
    json = "json"
    sarif = "sarif"
    github = "github"


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
    list[str] | None,
    typer.Argument(metavar="MODEL", help="A torchvision model, timm:NAME, hf:NAME, or path/to/file.py:function."),
]
Runs = Annotated[
    list[str],
    typer.Argument(metavar="RUN", help="Run files, folders of run files, or references bundled with torchlap."),
]
Devices = Annotated[
    str,
    typer.Option(
        help="Devices, like cpu,cuda:0,mps, or all. The baseline is the CPU if included, or else the first device."
    ),
]
VerifyDevices = Annotated[
    str,
    typer.Option(
        "--devices", help="Devices, like cpu,cuda:0,mps. all means every accelerator, or the CPU if there is none."
    ),
]
Batch = Annotated[str | None, typer.Option(help="Batch sizes, like 4,64. [default: the suite's]")]
VerifyBatch = Annotated[
    str | None, typer.Option("--batch", help="Batch sizes, like 4,64. [default: the smallest of the default suite, 4]")
]
Seq = Annotated[int | None, typer.Option(min=1, help="Tokens per sequence for hf: models. [default: 1024 or 128]")]
Items = Annotated[
    int | None, typer.Option(min=1, help="Number of items in a batch of your own model. [default: its rows]")
]
Unit = Annotated[str, typer.Option(help="What your own model processes, like tokens. [default: images or samples]")]
Phases = Annotated[str | None, typer.Option("--phase", help="train, eval or train,eval. [default: the suite's]")]


def _list_suites(suite: str) -> str:
    """Show the suites instead, on request."""
    if suite == "list":
        typer.echo(_suites())
        raise typer.Exit
    return suite


def _suites() -> str:
    """The suites, their purpose and their workloads."""
    from torchlap.schema.suites import SUITES

    lines = []
    for name, suite in SUITES.items():
        lines.append(f"{name}: {suite.purpose} ({suite.budget_seconds:.0f} s)")
        for model in suite.models:
            batches = ", ".join(map(str, suite.batches_of(model)))
            seq = f", {suite.seq_of[model]} tokens" if model in suite.seq_of else ""
            lines.append(f"    {model}, batch {batches}{seq}, {' and '.join(suite.phases)}")
    return "\n".join(lines)


Suite = Annotated[
    str,
    typer.Option(
        "--suite",
        callback=_list_suites,
        help="Workloads to run: quick, vision, transformers, ... ('list' shows all).",
    ),
]
Recipes = Annotated[
    str,
    typer.Option(
        "--recipe",
        help="fp32, tf32, bf16 or fp16, joined by + with contiguous, channels_last, compile, graph, fused and others "
        "(docs/recipes.md). Separate several recipes with commas, like fp32,bf16+channels_last.",
    ),
]
DataOption = Annotated[Data, typer.Option("--data", help="The 1,000 bundled digits, all of MNIST, or random images.")]
ThroughOption = Annotated[
    Through, typer.Option("--data-through", help="Keep the data resident on the device, or use a DataLoader.")
]
Workers = Annotated[
    str | None, typer.Option(help="Number of DataLoader processes, with --data-through loader. [default: 4]")
]
WeightsOption = Annotated[
    Weights, typer.Option("--weights", help="Start from random weights, or download pretrained ones.")
]
Target = Annotated[str, typer.Option("--precision-target", help="Stop when every interval is within +- this much.")]
NoVerify = Annotated[bool, typer.Option("--no-verify", help="Skip checking accelerator results for correctness.")]
Why = Annotated[
    bool | None,
    typer.Option("--why/--no-why", help="Explain bottlenecks, or skip analyzing them. [default: only name them]"),
]
Columns = Annotated[
    str | None, typer.Option(metavar="NAMES", help="Add columns to the table: utilization, a share of the peak.")
]
Energy = Annotated[
    bool, typer.Option("--energy", help="Add joules per item and watts, from the energy meters of the devices.")
]
PriceKwh = Annotated[
    str | None,
    typer.Option(metavar="PRICE", help="Price of a kilowatt-hour: adds the cost of a million items. Needs --energy."),
]
PriceHour = Annotated[
    str | None,
    typer.Option(metavar="PRICE", help="Price of an hour of the machine: adds the cost of a million items."),
]
Isolate = Annotated[bool, typer.Option("--isolate", help="Run each cell in its own process.")]
Budget = Annotated[str | None, typer.Option(help="Stop after this time: 90s, 5m, 1h. [default: the suite's]")]
VerifyBudget = Annotated[str | None, typer.Option("--budget", help="Stop after this time: 90s, 5m, 1h. [default: 1h]")]
HangLimit = Annotated[str, typer.Option("--hang-limit", help="Stop a worker that has been silent this long.")]
Arms = Annotated[
    list[str] | None,
    typer.Option(
        "--arm",
        metavar="NAME=WORDS",
        help="Compare two or more arms in turns: NAME=python:PATH, path:FOLDER, env:VARIABLE=VALUE, recipe:WORDS, or "
        "several of these separated by commas. Repeat for every arm; the first is the baseline.",
    ),
]
Against = Annotated[
    str,
    typer.Option(
        metavar="REVISION",
        help="Compare your own file with that of a git revision, in turns; the revision is the baseline.",
    ),
]
Out = Annotated[Path | None, typer.Option(help="The run file to write. [default: in the user's data folder]")]
Force = Annotated[bool, typer.Option("--force", help="Replace a file that torchlap did not write; never an input.")]
Resume = Annotated[Path | None, typer.Option(help="Continue this run file, with its own settings.")]
FormatOption = Annotated[Format, typer.Option("--format", help="Output format.")]
ReportFormatOption = Annotated[
    ReportFormat, typer.Option("--format", help="text, markdown for a bug report, or json for a script.")
]

AuditFormatOption = Annotated[
    AuditFormat,
    typer.Option("--format", help="text, markdown, json, sarif for code scanning, or github for annotations."),
]


def loader_workers(through: Through, workers: str | None) -> int | None:
    """How many processes the DataLoader has; None without one.

    Raises:
        UsageError: for an invalid number, or one without a DataLoader.
    """
    if through is Through.resident:
        if workers is not None:
            raise UsageError("--workers sets the number of DataLoader processes: add --data-through loader.")
        return None
    if workers is None:
        return USUAL_WORKERS
    if not (re.fullmatch(r"[0-9]{1,3}", workers) and int(workers) <= MOST_WORKERS):
        raise UsageError(f"Invalid number of workers {workers!r}: use a whole number from 0 to {MOST_WORKERS}.")
    return int(workers)


def extra_columns(columns: str | None, output: Format) -> "tuple[ExtraColumn, ...]":
    """The columns that were requested beside the usual ones.

    Raises:
        UsageError: for an unknown column, or a format that has all of them anyway.
    """
    if columns is None:
        return ()
    from torchlap.cli.words import parse_columns

    if output in (Format.csv, Format.json):
        raise UsageError(f"--format {output} has every column: omit --columns.")
    return parse_columns(columns)


def prices(kwh: str | None, hour: str | None) -> "Prices":
    """What energy and time cost.

    Raises:
        UsageError: for anything but positive numbers.
    """
    from torchlap.cli.words import parse_price
    from torchlap.runs.energy import Prices

    return Prices(
        per_kwh=None if kwh is None else parse_price(kwh, "kilowatt-hour"),
        per_hour=None if hour is None else parse_price(hour, "hour"),
    )


def workload_options(
    *,
    models: list[str] | None,
    devices: str,
    batch: str | None,
    phase: str | None,
    recipe: str,
    budget: str | None,
    hang_limit: str,
    data: Data = Data.mnist_1k,
    weights: Weights = Weights.random,
    precision_target: str = "2%",
    workers: int | None = None,
    seq: int | None = None,
    items: int | None = None,
    unit: str = "",
) -> "Options":
    """What to measure, from the words of the command line.

    Raises:
        UsageError: for a word that is not understood.
    """
    from torchlap.cli import words
    from torchlap.measuring.plan import Options
    from torchlap.schema.recipe import parse_recipe

    return Options(
        models=tuple(models or ()),
        devices=devices,
        batches=words.parse_batches(batch) if batch is not None else None,
        seq=seq,
        phases=words.parse_phases(phase) if phase is not None else None,
        recipes=tuple(parse_recipe(word, workers) for word in words.split_words(recipe) or [recipe]),
        data=data.value,
        weights=weights.value,
        budget_seconds=words.parse_seconds(budget, "budget") if budget is not None else None,
        hang_seconds=words.parse_seconds(hang_limit, "time limit"),
        precision_target=words.parse_target(precision_target),
        items=items,
        unit=unit,
    )
