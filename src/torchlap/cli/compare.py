"""`torchlap compare`."""

from enum import StrEnum
from typing import Annotated

import typer

from torchlap.cli import options as given
from torchlap.cli.console import color, errors_in_one_sentence, say, show_as, width, without_collections
from torchlap.errors import EXIT_FINE, EXIT_INCONCLUSIVE, EXIT_SOME_CELLS_FAILED

EPILOG = (
    "Exit codes: 0 success; 1 a cell is slower (with --fail-if-slower); 2 no such run, or nothing to compare; 4 a "
    "run file cannot be read; 6 inconclusive (with --inconclusive fail); 130 interrupted."
)
EXIT_CODES = {"pass": EXIT_FINE, "slower": EXIT_SOME_CELLS_FAILED, "inconclusive": EXIT_INCONCLUSIVE}
"""The exit code for each result of the gate."""


class Pivot(StrEnum):
    """What makes the columns of a comparison."""

    files = "files"
    devices = "devices"
    torch = "torch"
    machine = "machine"
    recipe = "recipe"
    arm = "arm"


class OnInconclusive(StrEnum):
    """What the gate does if it is uncertain whether a cell is slower."""

    passes = "pass"
    fails = "fail"


Band = Annotated[
    str, typer.Option(help="Call a cell the same if the whole interval of its ratio is within this much of 1.")
]
FailIfSlower = Annotated[
    str | None, typer.Option(help="Exit with code 1 if a cell is certainly slower by more than this, like 5%.")
]
Inconclusive = Annotated[
    OnInconclusive,
    typer.Option(
        "--inconclusive", help="With --fail-if-slower: whether uncertain cells pass, or fail with exit code 6."
    ),
]
Across = Annotated[
    Pivot, typer.Option("--across", help="Compare by file, device model, torch version, machine, recipe or arm.")
]


def compare(
    runs: given.Runs,
    band: Band = "5%",
    fail_if_slower: FailIfSlower = None,
    inconclusive: Inconclusive = OnInconclusive.passes,
    across: Across = Pivot.files,
    output: given.ReportFormatOption = given.ReportFormat.text,
) -> None:
    """Compare runs with the first one: each cell is faster, slower, the same, or inconclusive."""
    from torchlap.api.runs import compare as compare_runs
    from torchlap.cli import words
    from torchlap.judge.compare import gate
    from torchlap.reports import compare as reports

    with errors_in_one_sentence(), without_collections():
        limit = words.parse_share(fail_if_slower, "limit") if fail_if_slower is not None else None
        compared = compare_runs(*runs, across=across.value, band=words.parse_share(band, "band"), warn=say)
        code = EXIT_CODES[gate(compared, limit) if limit is not None else "pass"]
        if code == EXIT_INCONCLUSIVE and inconclusive is OnInconclusive.passes:
            code = EXIT_FINE
        writers = {
            given.ReportFormat.text: lambda: reports.as_text(compared, width(), color=color()),
            given.ReportFormat.markdown: lambda: reports.as_markdown(compared),
            given.ReportFormat.json: lambda: reports.as_json(compared, code),
        }
        show_as(output, writers, code)
