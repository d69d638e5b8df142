"""The audit in Python: of a script, or of the 2022 experiment with its ladder of repairs."""

from collections.abc import Callable, Sequence
from pathlib import Path

from torchlap.api.run import measure
from torchlap.api.workbench import check_installation, devices
from torchlap.errors import UsageError
from torchlap.judge.script import examine
from torchlap.judge.script.fixes import patched
from torchlap.measuring import ladder
from torchlap.measuring.plan import Options
from torchlap.processes import script as running
from torchlap.schema.ladder import BATCHES, IMAGES, MODELS, Ladder
from torchlap.schema.trace import ScriptRun

FIXED = "# Repaired by torchlap audit: "
"""The first line of a repaired copy begins with it."""

LADDER_SECONDS = 150.0
"""Time for the last two rungs."""


def audit_script(
    script: str | Path, arguments: Sequence[str] = (), *, stop_after: float | None = None, quiet: bool = False
) -> ScriptRun:
    """Run a training script and watch how it times itself; pass the result's `trace` to `torchlap.examine` to judge it.

    Args:
        script: the path of the script.
        arguments: the script's own command-line arguments.
        stop_after: interrupt the script after this many seconds, as Ctrl-C would; None lets it finish.
        quiet: send what the script prints to the standard error.

    Raises:
        UsageError: if the script does not exist.
        InstallError: when torch or torchvision cannot be used.
    """
    check_installation()
    return running.run(str(script), arguments, stop_after=stop_after, quiet=quiet)


def write_fixes(script: str | Path, run: ScriptRun) -> tuple[Path, tuple[str, ...]] | None:
    """Write a repaired copy of a script next to it; None if no finding has a mechanical repair.

    Args:
        script: the path of the script.
        run: the result of `audit_script` for that script.

    Returns:
        The path of the copy, and the codes of the findings that it repairs.

    Raises:
        UsageError: if the copy would replace a file that torchlap did not write.
    """
    path = Path(script)
    text, codes = patched(path.read_text(encoding="utf-8"), examine(run.trace), run.trace)
    if not codes:
        return None
    copy = path.with_name(f"{path.stem}.fixed.py")
    if copy.exists() and not copy.read_text(encoding="utf-8").startswith(FIXED):
        raise UsageError(f"{copy} exists, but torchlap did not write it: move or rename it, then try again.")
    copy.write_text(f"{FIXED}{path.name} ({', '.join(codes)})\n{text}", encoding="utf-8")
    return copy, codes


def audit_experiment(
    models: Sequence[str] = MODELS,
    *,
    budget_seconds: float = LADDER_SECONDS,
    images: int = IMAGES,
    out: Path | None = None,
    quiet: bool = False,
    watch: Callable[[str], None] = lambda _: None,
) -> Ladder:
    """Audit the 2022 experiment as published, then repair one flaw at a time, on the CPU and the first accelerator.

    Args:
        models: which of the experiment's five models to run.
        budget_seconds: time for the last two rungs, which torchlap measures itself.
        images: images per epoch on the accelerator.
        out: the run file of the last two rungs; by default in the user's data folder.
        quiet: send what the experiment prints to the standard error.
        watch: called with what is being done.

    Raises:
        UsageError: for a model that is not part of the experiment.
        InstallError: if torch or torchvision cannot be used.
        TorchlapError: if the experiment fails.
    """
    for model in models:
        if model not in MODELS:
            raise UsageError(f"{model!r} is not one of the experiment's models: choose from {', '.join(MODELS)}.")
    names = tuple(device.name for device in devices())[:2]
    audited, published = ladder.published(names, models, images, quiet=quiet)
    if audited.interrupted:
        raise KeyboardInterrupt
    rungs = ladder.repaired(names, models, images, watch)
    watch("the 2022 experiment, measured by torchlap")
    measured = measure(
        Options(
            models=tuple(models),
            out=out,
            devices=",".join(names),
            batches=BATCHES,
            budget_seconds=budget_seconds,
        )
    )
    return Ladder(audited, names, tuple(models), (published, *rungs), measured)
