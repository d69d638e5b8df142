"""Fixtures: workers that know the simulated accelerator, and the command line in this process."""

import signal
from collections.abc import Iterator

import pytest
from support import SIMULATED, Command, Shared
from typer.testing import CliRunner

from torchlap.api import workbench
from torchlap.cli.app import app
from torchlap.processes.start import launcher

signal.signal(signal.SIGINT, signal.default_int_handler)
"""A shell that starts the tests in the background has them ignore SIGINT, and so would what they start."""


@pytest.fixture(scope="session")
def workers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shared]:
    """A launcher whose workers know the simulated accelerator, beside the CPU, and have neither network nor cache."""
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
    """The command line in this process, `torchlap("run", ...)`, with workers that are already running."""
    monkeypatch.setattr(workbench, "launcher", lambda: workers)
    return lambda *words: CliRunner().invoke(app, [str(word) for word in words], prog_name="torchlap")
