"""`torchlap explain`."""

from typing import Annotated

import typer

from torchlap.cli.console import errors_in_one_sentence, show
from torchlap.errors import EXIT_FINE, UsageError

EPILOG = "Exit codes: 0 success; 2 no such finding; 4 the standard output cannot be written."
Code = Annotated[str, typer.Argument(metavar="CODE", help="The code of a finding, like TL202.")]


def explain(code: Code) -> None:
    """Show what a finding means, why it matters and how to fix it."""
    from torchlap.reports.explain import as_markdown, rule_of

    with errors_in_one_sentence():
        rule = rule_of(code)
        if rule is None:
            raise UsageError(f"No finding has the code {code!r}: use a code like TL202, as reports show it.")
        show(as_markdown(rule), EXIT_FINE)
