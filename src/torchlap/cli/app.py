"""The commands, put together. What a command needs is imported inside it, so that `--help` answers at once."""

import io
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from torchlap import __version__
from torchlap.cli import (
    audit,
    collect,
    compare,
    doctor,
    explain,
    gate,
    report,
    run,
    scale,
    submit,
    train,
    tune,
    upgrade,
    usage,
    verify,
)
from torchlap.cli.console import say
from torchlap.cli.streams import drop_output, open_closed_streams
from torchlap.errors import EXIT_FINE, EXIT_RUN_FILE, EXIT_USAGE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from typer._click.core import Command, Context

PARSER_ERROR: type[Exception] = typer.BadParameter.__mro__[2]
"""Every error of typer's parser; typer has no public name for it."""


class Commands(TyperGroup):
    """The commands; an invalid command line is answered in one sentence."""

    def get_command(self, ctx: "Context", cmd_name: str) -> "Command | None":
        """The command with this name.

        Raises:
            Exit: when there is none.
        """
        command = super().get_command(ctx, cmd_name)
        if command is None and not ctx.resilient_parsing and not cmd_name.startswith("-"):
            say(f"torchlap: {usage.unknown_command(cmd_name, tuple(self.commands))}")
            raise typer.Exit(EXIT_USAGE)
        return command

    def main(
        self,
        args: "Sequence[str] | None" = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,  # noqa: FBT001  likewise
        windows_expand_args: bool = True,  # noqa: FBT001  likewise
        **extra: Any,  # noqa: ANN401  likewise
    ) -> Any:  # noqa: ANN401  likewise
        """Run the command line and exit with its code; without `standalone_mode`, return it."""
        try:
            code = super().main(args, prog_name, complete_var, False, windows_expand_args, **extra)
        except PARSER_ERROR as error:
            say(_sentence(error))
            code = EXIT_USAGE
        except typer.Abort as error:
            say(f"torchlap: a file or an input ended early ({error.__cause__}): start it again.")
            code = EXIT_RUN_FILE
        if standalone_mode:
            sys.exit(code)
        return code


def _sentence(error: Any) -> str:  # noqa: ANN401  a typer parser's error, which has no public type
    """What is wrong with a command line, and where its options are listed."""
    context = getattr(error, "ctx", None)
    name = context.command_path if context else "torchlap"
    more = f"; see {name} -h" if context else ""
    return f"{name}: {usage.plain(error.format_message())}{more}."


app = typer.Typer(
    cls=Commands,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback(invoke_without_command=True, epilog=run.EPILOG)
def torchlap(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Show the version and exit.")] = False,
) -> None:
    """Measure how fast PyTorch trains on this machine, and whether the result can be trusted.

    Without a command it runs the default suite: torchlap run.
    """
    if version:
        print(f"torchlap {__version__}")
    elif context.invoked_subcommand is None:
        run.run()


app.command(epilog=run.EPILOG, short_help="Measure how fast each device trains.")(run.run)
app.command(epilog=doctor.EPILOG, short_help="Check whether the accelerator works.")(doctor.doctor)
app.command(epilog=verify.EPILOG, short_help="Check whether devices compute correct results.")(verify.verify)
app.command(epilog=tune.EPILOG, short_help="Find the fastest settings that still compute the same.")(tune.tune)
app.command(epilog=train.EPILOG, short_help="Measure the time until a model reaches an accuracy.")(train.train)
app.command(epilog=report.EPILOG, short_help="Show earlier runs as a table, page or picture.")(report.report)
app.command(epilog=explain.EPILOG, short_help="Show what a finding means.")(explain.explain)
app.command(epilog=compare.EPILOG, short_help="Show which cells got faster or slower between runs.")(compare.compare)
app.command(epilog=gate.EPILOG, short_help="Check a change for slow-downs, in CI.")(gate.gate)
app.command(epilog=upgrade.EPILOG, short_help="Compare two releases of torch on your models.")(upgrade.upgrade)
app.command(epilog=scale.EPILOG, short_help="Measure how training scales over devices.")(scale.scale)
app.command(epilog=collect.EPILOG, short_help="Put many machines' runs into one site.")(collect.collect)
app.command(epilog=submit.EPILOG, short_help="Prepare a run for a public collection.")(submit.submit)
app.command(
    epilog=audit.EPILOG,
    short_help="Find timing mistakes in a training script.",
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True, "allow_interspersed_args": False},
)(audit.audit)


def main() -> None:
    """Run the command line; a reader that stops reading (`| head`) is not an error, and any text can be printed."""
    open_closed_streams()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        try:
            app(prog_name="torchlap")
        finally:
            if sys.stdout:
                sys.stdout.flush()
    except BrokenPipeError:
        drop_output()
        sys.exit(EXIT_FINE)
    except OSError as error:
        drop_output()
        say(f"torchlap: cannot write to the standard output ({error.strerror}): write it to another place.")
        sys.exit(EXIT_RUN_FILE)
