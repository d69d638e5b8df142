"""`torchlap doctor`."""

import signal
from typing import Annotated

import typer

from torchlap.cli import options as given
from torchlap.cli.console import color, errors_in_one_sentence, interrupt_on, show, show_as, spinner, width
from torchlap.errors import UsageError

EPILOG = (
    "Exit codes: 0 no problems found; 1 usable, but something affects results; 2 the accelerator or torch is unusable, "
    "or the arguments are invalid; 4 a file or memory is unavailable; 130 interrupted."
)
Fix = Annotated[
    bool, typer.Option("--fix", help="Print the commands that repair what was found, for a shell; run none of them.")
]


def doctor(
    output: given.ReportFormatOption = given.ReportFormat.text, hang_limit: given.HangLimit = "120s", fix: Fix = False
) -> None:
    """Check whether the accelerator works, and what would make it slow or wrong."""
    from torchlap.api.doctor import check_up
    from torchlap.cli import words
    from torchlap.cli.first_aid import Second
    from torchlap.judge.machine import exit_code
    from torchlap.reports import doctor as reports
    from torchlap.reports.first_aid import as_commands

    if Second.current is not None:
        Second.current.ready()
    with errors_in_one_sentence():
        interrupt_on(signal.SIGTERM, signal.SIGHUP)
        if fix and output is not given.ReportFormat.text:
            raise UsageError("--fix prints commands for a shell: omit --format.")
        limit = words.parse_seconds(hang_limit, "time limit")
        with spinner() as watch:
            result = check_up(limit, watch)
        if fix:
            show(as_commands(result.findings), exit_code(result.findings))
        writers = {
            given.ReportFormat.text: lambda: reports.as_text(result, width(), color=color()),
            given.ReportFormat.markdown: lambda: reports.as_markdown(result),
            given.ReportFormat.json: lambda: reports.as_json(result),
        }
        show_as(output, writers, exit_code(result.findings))
