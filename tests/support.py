"""What the tests share: where things are, and one template of workers that outlives the runs that close it."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import psutil
from typer.testing import CliRunner, Result

from torchlap import figures
from torchlap.cli.app import app
from torchlap.processes.start import Launcher
from torchlap.processes.worker import Worker
from torchlap.runs.figures import CellResult
from torchlap.schema.events import Run

TESTS = Path(__file__).parent
ROOT = TESTS.parent
HELPERS = TESTS / "helpers"
"""Scripts that tests start in a process of their own."""

SIMULATED = TESTS / "simulated"
OWN = TESTS / "own" / "models.py"
"""Models as a user would write them."""

Command = Callable[..., Result]

PATIENCE_SECONDS = 120.0
"""Only a test that would otherwise wait forever fails by this limit, however busy the machine is."""


def invoke(*words: object) -> Result:
    """Run a command line in this process."""
    return CliRunner().invoke(app, [str(word) for word in words], prog_name="torchlap")


def own(function: str, file: str = "models.py") -> str:
    """The name of a model in one of the tests' own files."""
    return f"{OWN.with_name(file)}:{function}"


def known(function: str) -> str:
    """The name of a workload whose bottleneck is known."""
    return own(function, "known.py")


def only_cell(run: Run) -> CellResult:
    """The figures of a run with one cell."""
    ((cell,),) = (group.cells for group in figures(run))
    return cell


def step_seconds(run: Run) -> list[float]:
    """Seconds a step of each cell that has a figure."""
    cells = [cell for group in figures(run) for cell in group.cells]
    return [cell.cell.workload.batch / cell.throughput.value for cell in cells if cell.throughput]


def wait_until(condition: Callable[[], object], what: str) -> None:
    """Wait for something that happens in another process."""
    end = monotonic() + PATIENCE_SECONDS
    while not condition():
        assert monotonic() < end, f"waited in vain for {what}"
        sleep(0.02)


def has_ended(pid: int) -> bool:
    """Wait for the end of a process; nobody may have reaped it yet."""

    def ended() -> bool:
        try:
            return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return True

    wait_until(ended, f"the end of process {pid}")
    return True


def environment(**variables: str) -> dict[str, str]:
    """This process's environment, with the simulated accelerator where torch finds it, and one thread.

    This checkout's own code comes first on the path: another one may be installed.
    """
    made = os.environ | {"PYTHONPATH": str(SIMULATED), "OMP_NUM_THREADS": "1"} | variables
    return made | {"PYTHONPATH": os.pathsep.join(filter(None, (str(ROOT / "src"), made["PYTHONPATH"])))}


@cache
def answers(*helpers: str, arguments: tuple[str, ...] = ()) -> list[Any]:
    """What scripts of `helpers` print, one after the other in one process, decoded."""
    code = f"import runpy; [runpy.run_path(path) for path in {[str(HELPERS / helper) for helper in helpers]}]"
    command = [sys.executable, "-W", "ignore", "-c", code, *arguments]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return [json.loads(line) for line in printed.splitlines()]


class Shared:
    """A launcher that outlives the runs that close it, because importing torch takes seconds."""

    def __init__(self, inner: Launcher) -> None:
        self._inner = inner
        self.start_up_seconds = 0.0

    def start(self) -> Worker:
        return self._inner.start()

    def renew(self) -> None:
        return

    def close(self) -> None:
        return
