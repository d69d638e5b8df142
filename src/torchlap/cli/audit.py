"""`torchlap audit`."""

import signal
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from torchlap import __version__
from torchlap.cli import options as given
from torchlap.cli.console import color, errors_in_one_sentence, interrupt_on, say, show, show_as, spinner, width
from torchlap.errors import EXIT_FINE, EXIT_INTERRUPTED, UsageError

EPILOG = (
    "Exit codes: 0 no errors found; 1 a finding is an error; 2 no such script; 3 torch is unusable; 5 nothing "
    "was audited; 130 interrupted; otherwise the script's own, or 128 plus the number of the signal that ended it."
)
Script = Annotated[str | None, typer.Argument(metavar="SCRIPT [ARGS]...", help="A training script.")]
StopAfter = Annotated[str | None, typer.Option(help="Interrupt the script after this time: 60s, 5m.")]
Fix = Annotated[
    bool, typer.Option("--fix-suggestions", help="Also write a repaired copy next to the script, and run it.")
]
Models = Annotated[
    str | None, typer.Option("--models", help="Without a script: which models of the experiment to run.")
]
Budget = Annotated[str, typer.Option("--budget", help="Without a script: time for torchlap's own measurement.")]
Out = Annotated[Path | None, typer.Option(help="Without a script: the run file of torchlap's own measurement.")]


def audit(
    context: typer.Context,
    script: Script = None,
    stop_after: StopAfter = None,
    fix_suggestions: Fix = False,
    models: Models = None,
    budget: Budget = "150s",
    out: Out = None,
    output: given.AuditFormatOption = given.AuditFormat.text,
) -> None:
    """Run a training script and report timing mistakes by file and line.

    Without a script: run the 2022 experiment, audit it, then repair one flaw at a time.
    """
    from torchlap.cli import words

    with errors_in_one_sentence():
        interrupt_on(signal.SIGTERM, signal.SIGHUP)
        limit = words.parse_seconds(stop_after, "time limit") if stop_after is not None else None
        if script is None:
            if fix_suggestions:
                raise UsageError("--fix-suggestions needs a script: name one, or omit the option.")
            if limit is not None:
                raise UsageError("--stop-after needs a script: name one, or omit the option.")
            _audit_experiment(models, words.parse_seconds(budget, "budget"), out, output)
        if models is not None or out is not None:
            raise UsageError("--models and --out apply only to the 2022 experiment: omit them, or omit the script.")
        _name_own_options(context, str(script))
        if fix_suggestions:
            if output is not given.AuditFormat.text:
                raise UsageError("--fix-suggestions writes text: omit --format.")
            _audit_and_fix(str(script), context.args, limit)
        _audit_script(str(script), context.args, limit, output)


def _name_own_options(context: typer.Context, script: str) -> None:
    """Say that options of this command after the script's name go to the script, unless the script knows them."""
    own = {option for parameter in context.command.params for option in parameter.opts}
    given_late = [word for word in context.args if word.partition("=")[0] in own]
    if not given_late:
        return
    try:
        text = Path(script).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return  # the audit refuses such a script
    for option in dict.fromkeys(word.partition("=")[0] for word in given_late):
        if option not in text:
            say(f"{option} is passed to {Path(script).name}: options of torchlap audit go before the script's name.")


def _audit_script(script: str, arguments: list[str], limit: float | None, output: given.AuditFormat) -> NoReturn:
    from torchlap.api.audit import audit_script
    from torchlap.reports import audit as reports
    from torchlap.reports import code_scanning

    result = audit_script(script, arguments, stop_after=limit, quiet=output is not given.AuditFormat.text)
    folder = Path(script).parent.as_posix()
    inside = "" if folder == "." else folder
    writers = {
        given.AuditFormat.text: lambda: reports.as_text(result, width(), color=color()),
        given.AuditFormat.markdown: lambda: reports.as_markdown(result),
        given.AuditFormat.json: lambda: reports.as_json(result, __version__),
        given.AuditFormat.sarif: lambda: code_scanning.as_sarif(result, __version__, inside),
        given.AuditFormat.github: lambda: code_scanning.as_annotations(result, inside),
    }
    show_as(output, writers, EXIT_INTERRUPTED if result.interrupted else reports.exit_code(result))


def _audit_and_fix(script: str, arguments: list[str], limit: float | None) -> NoReturn:
    from torchlap.api.audit import audit_script, write_fixes
    from torchlap.reports import audit as reports

    result = audit_script(script, arguments, stop_after=limit)
    report = reports.as_text(result, width(), color=color())
    written = write_fixes(script, result)
    if written is None:
        show(
            f"{report}\nNo repaired copy was written: no finding has a mechanical repair.\n", reports.exit_code(result)
        )
    copy, codes = written
    repaired = audit_script(copy, arguments, stop_after=limit, quiet=True)
    show(f"{report}\n{reports.as_comparison(result, repaired, copy, codes)}", reports.exit_code(result))


def _audit_experiment(models: str | None, budget: float, out: Path | None, output: given.AuditFormat) -> NoReturn:
    from torchlap.api.audit import audit_experiment
    from torchlap.cli import words
    from torchlap.reports import ladder as reports
    from torchlap.schema.ladder import MODELS

    chosen = words.split_words(models) if models is not None else MODELS
    if output in (given.AuditFormat.sarif, given.AuditFormat.github):
        raise UsageError(f"--format {output} needs a script: name one, or choose text, markdown or json.")
    quiet = output is not given.AuditFormat.text
    with spinner() as watch:
        result = audit_experiment(chosen, budget_seconds=budget, out=out, quiet=quiet, watch=watch)
    writers = {
        given.AuditFormat.text: lambda: reports.as_text(result, width(), color=color()),
        given.AuditFormat.markdown: lambda: reports.as_markdown(result),
        given.AuditFormat.json: lambda: reports.as_json(result, __version__),
    }
    show_as(output, writers, EXIT_FINE)
