"""`torchlap compare`."""

from enum import StrEnum
from typing import Annotated

import typer

from torchlap.cli import options as given
from torchlap.cli.console import color, errors_in_one_sentence, say, show_as, width
from torchlap.errors import EXIT_FINE, EXIT_SOME_CELLS_FAILED

EPILOG = (
    "Exit codes: 0 success; 1 a cell is slower (with --fail-if-slower); 2 no such run, or nothing to compare; 4 a "
    "run file cannot be read; 130 interrupted."
)


class Pivot(StrEnum):
    """What makes the columns of a comparison."""

    files = "files"
    devices = "devices"
    torch = "torch"
    machine = "machine"


Band = Annotated[str, typer.Option(help="Differences within +- this much count as the same.")]
FailIfSlower = Annotated[
    str | None, typer.Option(help="Exit with code 1 if a cell is certainly slower by more than this, like 5%.")
]
Across = Annotated[Pivot, typer.Option("--across", help="Compare by file, device model, torch version or machine.")]


def compare(
    runs: given.Runs,
    band: Band = "5%",
    fail_if_slower: FailIfSlower = None,
    across: Across = Pivot.files,
    output: given.ReportFormatOption = given.ReportFormat.text,
) -> None:
    """Compare runs with the first one: each cell is faster, slower, the same, or inconclusive."""
    from torchlap.api.runs import compare as compare_runs
    from torchlap.cli import words
    from torchlap.judge.compare import slower_by
    from torchlap.reports import compare as reports

    with errors_in_one_sentence():
        limit = words.parse_target(fail_if_slower, "limit") if fail_if_slower is not None else None
        compared = compare_runs(*runs, across=across.value, band=words.parse_target(band, "band"), warn=say)
        slower = limit is not None and bool(slower_by(compared, limit))
        code = EXIT_SOME_CELLS_FAILED if slower else EXIT_FINE
        writers = {
            given.ReportFormat.text: lambda: reports.as_text(compared, width(), color=color()),
            given.ReportFormat.markdown: lambda: reports.as_markdown(compared),
            given.ReportFormat.json: lambda: reports.as_json(compared, code),
        }
        show_as(output, writers, code)
