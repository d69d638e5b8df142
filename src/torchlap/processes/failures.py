"""How a worker can fail, in one sentence each."""

import re
import signal
import sys
from pathlib import Path

from torchlap.errors import InstallError
from torchlap.machine.import_trials import hidden_by_python_path, hiding_files
from torchlap.machine.packages import installer
from torchlap.schema.base import FailureKind
from torchlap.schema.commands import command

LONGEST_CAUSE = 300
ERROR_LINE = re.compile(r"[A-Za-z_][\w.]*(Error|Exception|Exit|Interrupt)\b")
"""How the last part of a traceback begins; an error may have more lines."""


NO_PACKAGE = re.compile(r"No module named '(torch|torchvision)'")
"""A module of torch that is missing, such as torch.backends, is another fault: then torch is incomplete."""


class CellFailedError(Exception):
    """A worker could not do what was requested, and is gone. Becomes a `torchlap.schema.events.Failure`."""

    def __init__(self, kind: FailureKind, reason: str, detail: str = "") -> None:
        super().__init__(reason)
        self.kind, self.reason, self.detail = kind, reason, detail


class ImportFailedError(InstallError):
    """A worker could not import torch and torchvision; `output` is the end of what it printed."""

    def __init__(self, kind: FailureKind, reason: str, output: str) -> None:
        self.kind, self.output = kind, output
        self.cause = import_cause(kind, reason, output)
        super().__init__(
            f"{self.cause}{hiding(output, Path.cwd())} Run torchlap doctor for details, or reinstall: "
            f"{command(installer(), sys.executable, 'reinstall')}."
        )


def hiding(output: str, folder: Path) -> str:
    """Sentences that name the files, in PYTHONPATH or in a folder, that hide a module and are in a traceback.

    Workers do without the working folder, unless something, such as a `.pth` file, puts it back.
    """
    clauses = dict.fromkeys((*hidden_by_python_path(), *hiding_files([folder])))
    return "".join(f" {clause}: rename it." for clause in clauses if clause.split(" hides ")[0] in output)


def import_cause(kind: FailureKind, reason: str, output: str) -> str:
    """Why the process that imports torch ended, in one sentence.

    Args:
        kind: how it ended.
        reason: the same in words.
        output: the end of what it printed.
    """
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    frames = [line for line in lines if line.startswith('File "') and "<frozen" not in line and " in " in line]
    if kind == "hang" or "Fatal Python error" in output:
        where = f" It stopped at {frames[0]}." if frames else ""
        return f"Importing torch and torchvision {'hangs' if kind == 'hang' else 'crashes'}: {reason}{where}"
    starts = [number for number, line in enumerate(output.splitlines()) if ERROR_LINE.match(line)]
    last = " ".join(output.splitlines()[starts[-1] :])[:LONGEST_CAUSE].strip() if starts else (lines or [reason])[-1]
    if "torchvision::nms" in output:
        return f"Torch and torchvision come from different builds ({last})."
    if NO_PACKAGE.search(output):
        return f"Torch or torchvision is not installed ({last})."
    return f"Importing torch and torchvision failed ({last})."


def how_it_ended(status: int, doing: str) -> str:
    """How a worker ended, in one sentence; a negative status is a signal."""
    if status < 0:
        name = signal.Signals(-status).name if -status in set(signal.Signals) else f"signal {-status}"
        return f"The worker was killed by {name} ({doing})."
    return f"The worker exited with status {status} ({doing})."
