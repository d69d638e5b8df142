"""`torchlap submit`."""

import re
from pathlib import Path
from typing import Annotated

import typer

from torchlap import __version__
from torchlap.cli.console import errors_in_one_sentence, say, show
from torchlap.errors import EXIT_FINE, EXIT_SOME_CELLS_FAILED, RunFileError, UsageError

EPILOG = (
    "Exit codes: 0 prepared; 1 nothing in the run would be accepted; 2 invalid arguments; 4 the run file cannot be "
    "read, or the files cannot be written; 130 interrupted."
)
OWNER = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,37}[A-Za-z0-9])?")
"""What GitHub allows as a name."""

FOLDER = "submissions"
"""Of a collection, in its repository."""

Run = Annotated[Path, typer.Argument(metavar="RUN", help="The run file to publish.")]
Owner = Annotated[str, typer.Option(help="Your GitHub name, which becomes the folder of the file.")]
Out = Annotated[Path, typer.Option(help="Write the file and the text of the pull request into this folder.")]


def submit(run: Run, owner: Owner = "YOUR-NAME", out: Out = Path("torchlap-submission")) -> None:
    """Prepare a run for a public collection: show exactly what would be published. Nothing is sent."""
    from torchlap.api.collect import prepare
    from torchlap.reports.submit import as_text, pull_request

    with errors_in_one_sentence():
        if not OWNER.fullmatch(owner):
            raise UsageError(f"Invalid owner {owner!r}: use your GitHub name.")
        prepared = prepare(run)
        text = as_text(prepared.run, prepared.submission, len(prepared.content))
        if not prepared.submission.entries:
            show(f"{text}Nothing was written.\n", EXIT_SOME_CELLS_FAILED)
        request = pull_request(prepared.submission, root=FOLDER, owner=owner, name=prepared.name, version=__version__)
        target, words = out / FOLDER / owner / prepared.name, out / "pull-request.md"
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(prepared.content)
            words.write_text(request, encoding="utf-8")
        except OSError as error:
            raise RunFileError(f"Cannot write {out} ({error.strerror or error}): choose another folder.") from None
        say(f"Wrote {target}, which is what would be published, and {words}. Nothing was sent: docs/collect.md.")
        show(text, EXIT_FINE)
