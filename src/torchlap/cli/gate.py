"""`torchlap gate`."""

import signal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from torchlap.cli import options as given
from torchlap.cli.compare import EXIT_CODES, Inconclusive, OnInconclusive
from torchlap.cli.console import errors_in_one_sentence, interrupt_on, write_out
from torchlap.cli.output_file import check_target, write_file
from torchlap.cli.run import shown
from torchlap.errors import EXIT_FINE, EXIT_INCONCLUSIVE, EXIT_RUN_FILE, UsageError

if TYPE_CHECKING:
    from torchlap.judge.compare import Compared, Gate
    from torchlap.measuring.plan import Options
    from torchlap.schema.events import Run

EPILOG = (
    "Exit codes: 0 no cell is slower; 1 a cell is certainly slower, in two runs, or has no valid result; 2 invalid "
    "arguments; 3 torch or torchvision is unusable; 4 the run file or the comment cannot be written; 6 inconclusive "
    "(with --inconclusive fail); 130 interrupted."
)
Limit = Annotated[str, typer.Option(help="Fail if a cell is certainly slower by more than this.")]
Comment = Annotated[
    Path | None, typer.Option(help="Write a Markdown comment for the pull request or merge request to this file.")
]


def gate(
    models: given.Models = None,
    against: given.Against = "",
    arm: given.Arms = None,
    devices: given.Devices = "all",
    batch: given.Batch = None,
    seq: given.Seq = None,
    phase: given.Phases = None,
    recipe: given.Recipes = "fp32",
    budget: given.Budget = None,
    hang_limit: given.HangLimit = "120s",
    out: given.Out = None,
    fail_if_slower: Limit = "5%",
    inconclusive: Inconclusive = OnInconclusive.passes,
    comment: Comment = None,
) -> None:
    """Check a change for slow-downs: both sides take turns in one run, which is repeated before the gate fails."""
    from msgspec.structs import replace

    from torchlap.cli import words
    from torchlap.reports import gate as reports
    from torchlap.schema.arm import parse_arms

    with errors_in_one_sentence():
        limit = words.parse_share(fail_if_slower, "limit")
        options = given.workload_options(
            models=models,
            devices=devices,
            batch=batch,
            seq=seq,
            phase=phase,
            recipe=recipe,
            budget=budget,
            hang_limit=hang_limit,
        )
        options = replace(options, arms=parse_arms(arm or ()), against=against, out=out, explain=False)
        if not (options.arms or options.against):
            raise UsageError("Give the two sides: --against REVISION, or --arm twice.")
        if comment is not None:
            check_target(comment)
        interrupt_on(signal.SIGTERM, signal.SIGHUP)
        code, outcome, found = _decide(options, limit)
        failed = code != EXIT_FINE
        printed = write_out(f"\n{reports.sentence(outcome, limit, len(found), failed=failed)}\n")
        if comment is not None:
            write_file(comment, reports.comment(outcome, limit, found, failed=failed).encode())
        raise typer.Exit(code or (_code(outcome, inconclusive) if printed else EXIT_RUN_FILE))


def _code(outcome: "Gate", inconclusive: OnInconclusive) -> int:
    code = EXIT_CODES[outcome]
    return EXIT_FINE if code == EXIT_INCONCLUSIVE and inconclusive is OnInconclusive.passes else code


def _decide(options: "Options", limit: float) -> "tuple[int, Gate, list[tuple[Run, Compared]]]":
    """Measure, and once more unless the first run passes: an exit code, 0 unless cells failed, and what was found.

    A cell is slower only if it is so in both runs.
    """
    from msgspec.structs import replace

    from torchlap.judge.compare import gate as outcome_of
    from torchlap.judge.compare import repeated

    code, first = _measured(options)
    outcome = outcome_of(first[1], limit)
    if code or outcome == "pass":
        return code, outcome, [first]
    if options.out is not None:
        options = replace(options, out=options.out.with_stem(f"{options.out.stem}-again"))
    code, second = _measured(options)
    return code, repeated(first[1], second[1], limit), [first, second]


def _measured(options: "Options") -> "tuple[int, tuple[Run, Compared]]":
    """A run with its exit code, and its arms compared."""
    from torchlap.judge.compare import compare
    from torchlap.runs.find import Named

    code, run = shown(options, given.Format.table, why=False)
    if run is None:
        raise typer.Exit(code)
    return code, (run, compare([Named("this run", run)], across="arm"))
