"""`torchlap doctor`."""

import signal

from torchlap.cli import options as given
from torchlap.cli.console import color, errors_in_one_sentence, interrupt_on, show_as, spinner, width

EPILOG = (
    "Exit codes: 0 no problems found; 1 usable, but something affects results; 2 the accelerator or torch is unusable, "
    "or the arguments are invalid; 4 a file or memory is unavailable; 130 interrupted."
)


def doctor(output: given.ReportFormatOption = given.ReportFormat.text, hang_limit: given.HangLimit = "120s") -> None:
    """Check whether the accelerator works, and what would make it slow or wrong."""
    from torchlap.api.doctor import check_up
    from torchlap.cli import words
    from torchlap.judge.machine import exit_code
    from torchlap.reports import doctor as reports

    with errors_in_one_sentence():
        interrupt_on(signal.SIGTERM, signal.SIGHUP)
        limit = words.parse_seconds(hang_limit, "time limit")
        with spinner() as watch:
            result = check_up(limit, watch)
        writers = {
            given.ReportFormat.text: lambda: reports.as_text(result, width(), color=color()),
            given.ReportFormat.markdown: lambda: reports.as_markdown(result),
            given.ReportFormat.json: lambda: reports.as_json(result),
        }
        show_as(output, writers, exit_code(result.findings))
