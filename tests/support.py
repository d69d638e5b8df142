"""What the tests share: where things are, and one template of workers that outlives the runs that close it."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from typer.testing import Result

from torchlap.processes.start import Launcher
from torchlap.processes.worker import Worker

TESTS = Path(__file__).parent
ROOT = TESTS.parent
HELPERS = TESTS / "helpers"
"""Scripts that tests start in a process of their own."""

SIMULATED = TESTS / "simulated"
OWN = TESTS / "own" / "models.py"
Command = Callable[..., Result]


def environment() -> dict[str, str]:
    """This process's environment, with the simulated accelerator where torch finds it."""
    return os.environ | {"PYTHONPATH": str(SIMULATED)}


@cache
def answer(helper: str, *arguments: str) -> Any:
    """What a script of `helpers` prints, decoded."""
    command = [sys.executable, "-W", "ignore", str(HELPERS / helper), *arguments]
    return json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


class Shared:
    """A launcher that outlives the runs that close it, because importing torch takes seconds."""

    def __init__(self, inner: Launcher) -> None:
        self._inner = inner
        self.start_up_seconds = 0.0

    def start(self) -> Worker:
        return self._inner.start()

    def close(self) -> None:
        return
