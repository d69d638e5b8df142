"""The audit, for Python: of a script, or of the experiment of 2022 with its ladder of repairs."""

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
"""What the last two rungs may take."""


def audit_script(
    script: str | Path, arguments: Sequence[str] = (), *, stop_after: float | None = None, quiet: bool = False
) -> ScriptRun:
    """Run a training script and watch how it times itself; `torchlap.examine(it.trace)` says what is wrong.

    Args:
        script: its path.
        arguments: its own.
        stop_after: seconds, after which it is interrupted as by Ctrl-C; None to let it run.
        quiet: what it prints goes to the standard error.

    Raises:
        UsageError: when there is no such script.
        InstallError: when torch or torchvision cannot be used.
    """
    check_installation()
    return running.run(str(script), arguments, stop_after=stop_after, quiet=quiet)


def write_fixes(script: str | Path, run: ScriptRun) -> tuple[Path, tuple[str, ...]] | None:
    """Write a copy of a script with the mechanical repairs beside it; None if there are none.

    Args:
        script: its path.
        run: what `audit_script` returned for it.

    Returns:
        The copy, and the codes of the findings that it repairs.

    Raises:
        UsageError: when the copy would replace a file that torchlap did not write.
    """
    path = Path(script)
    text, codes = patched(path.read_text(encoding="utf-8"), examine(run.trace), run.trace)
    if not codes:
        return None
    copy = path.with_name(f"{path.stem}.fixed.py")
    if copy.exists() and not copy.read_text(encoding="utf-8").startswith(FIXED):
        raise UsageError(f"{copy} exists: move it away, so that --fix-suggestions can write the repaired copy.")
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
    """Run the experiment of 2022 as it was, watched, then repaired one flaw at a time, on the CPU and an accelerator.

    Args:
        models: which of its five.
        budget_seconds: what the last two rungs, which torchlap measures itself, may take.
        images: of an epoch on an accelerator.
        out: the run file of the last two rungs; in the user's data folder when left out.
        quiet: what the experiment prints goes to the standard error.
        watch: whom to tell meanwhile what is being done.

    Raises:
        UsageError: for a model that is none of its five.
        InstallError: when torch or torchvision cannot be used.
        TorchlapError: when the experiment fails.
    """
    for model in models:
        if model not in MODELS:
            raise UsageError(f"{model!r} was not in the experiment; choose from {', '.join(MODELS)}.")
    names = tuple(device.name for device in devices())[:2]
    audited, published = ladder.published(names, models, images, quiet=quiet)
    if audited.interrupted:
        raise KeyboardInterrupt
    rungs = ladder.repaired(names, models, images, watch)
    watch("the experiment of 2022, measured by torchlap")
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
