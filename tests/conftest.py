"""What the tests share: one template of workers that knows the simulated accelerator, and the command in process."""

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from torchlap import api
from torchlap.cli import app
from torchlap.isolate import Launcher, Worker, launcher

signal.signal(signal.SIGINT, signal.default_int_handler)
"""A shell that starts the tests in the background has them ignore SIGINT, and so would what they start."""

HERE = Path(__file__).parent
SIMULATED = HERE / "simulated"
OWN = HERE / "own" / "models.py"
Command = Callable[..., Result]


def environment() -> dict[str, str]:
    """This process's environment, with the simulated accelerator where torch finds it."""
    return os.environ | {"PYTHONPATH": str(SIMULATED)}


class Shared:
    """A launcher that outlives the runs that close it, for importing torch takes seconds."""

    def __init__(self, inner: Launcher) -> None:
        self._inner = inner
        self.start_up_seconds = 0.0

    def start(self) -> Worker:
        return self._inner.start()

    def close(self) -> None:
        return


@pytest.fixture(scope="session")
def workers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shared]:
    """A launcher whose workers know the simulated accelerator, beside the CPU, and neither a network nor a cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(SIMULATED))
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        for name in ("http_proxy", "https_proxy"):
            patch.setenv(name, "http://127.0.0.1:9")  # the port named discard, where nobody answers
        inner = launcher()
    yield Shared(inner)
    inner.close()


@pytest.fixture
def torchlap(workers: Shared, monkeypatch: pytest.MonkeyPatch) -> Command:
    """The command line in process, `torchlap("run", ...)`, with workers that are up already."""
    monkeypatch.setattr(api, "launcher", lambda: workers)
    return lambda *words: CliRunner().invoke(app, [str(word) for word in words], prog_name="torchlap")
