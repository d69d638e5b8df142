"""Load runs, and compare them with the first."""

import warnings
from collections.abc import Callable
from pathlib import Path

from torchlap.api import result
from torchlap.api.result import Run
from torchlap.errors import UsageError
from torchlap.judge.compare import SAME_BAND, Across, Compared
from torchlap.judge.compare import compare as compare_runs
from torchlap.runs import file as runfile
from torchlap.runs.find import find_runs
from torchlap.runs.find import reference as bundled


def load(path: str | Path) -> Run:
    """Read a run file.

    Raises:
        RunFileError: if it cannot be read, is damaged, or was written by a newer torchlap.
    """
    return result.of(runfile.load(Path(path)))


def reference(name: str) -> Run:
    """A run that is bundled with torchlap, such as `experiment-2022`.

    Raises:
        UsageError: if there is no reference of that name.
    """
    return result.of(bundled(name))


def compare(
    *runs: str | Path,
    across: Across = "files",
    band: float = SAME_BAND,
    warn: Callable[[str], None] = warnings.warn,
) -> Compared:
    """Compare runs with the first of them.

    Args:
        runs: run files, folders of run files, or names of references; at least two runs, or one across its devices,
            recipes or arms.
        across: what each column stands for: a file, a device, a version of torch, a machine, a recipe, or an arm.
        band: a ratio counts as the same if its whole interval is within this much of 1.
        warn: called with one sentence for each unreadable file in a folder; the file is skipped.

    Raises:
        UsageError: for a run that does not exist, or if there is nothing to compare.
        RunFileError: for a named file that cannot be read.
    """
    named = find_runs(*map(str, runs), warn=warn)
    if across == "files" and len({run.name for run in named}) < len(named):
        raise UsageError("The same run is named twice: name another run to compare it with.")
    if len(named) == 1 and across not in ("devices", "recipe", "arm", "torch"):
        raise UsageError(
            "There is only one run: name another to compare it with, or a reference such as experiment-2022."
        )
    compared = compare_runs(named, across=across, band=band)
    if len(compared.columns) == 1:
        raise UsageError(f"All runs have the same {across}: omit --across, or choose another value for it.")
    if not compared.changes:
        raise UsageError(
            "The runs have no cells in common: choose runs of the same model, batch, phase, recipe, arm and kind of "
            "device."
        )
    return compared
