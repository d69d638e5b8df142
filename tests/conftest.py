"""Fixtures: the command line in this process, with workers in virtual time or in processes of their own."""

import gc
import signal
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings
from support import SIMULATED, Command, Shared, invoke
from typer.testing import Result

from torchlap.api import arms, doctor, workbench
from torchlap.processes.start import launcher

if TYPE_CHECKING:
    from virtual import Clock

settings.register_profile(
    "torchlap", deadline=None, derandomize=True, database=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("torchlap")
"""The same examples every time, and no limit that a busy machine could miss."""

signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)
"""A shell that starts the tests in the background makes them ignore SIGINT, nohup SIGHUP, and so do their children."""

sys.path.append(str(SIMULATED))
"""A test that imports torch has the simulated accelerator."""


@pytest.fixture(scope="session", autouse=True)
def _neither_network_nor_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        patch.setenv("XDG_DATA_HOME", str(tmp_path_factory.mktemp("data")))
        for name in ("http_proxy", "https_proxy"):
            patch.setenv(name, "http://127.0.0.1:9")  # the port named discard, where nobody answers
        yield


@pytest.fixture(scope="session")
def workers() -> Iterator[Shared]:
    """A launcher whose workers know the simulated accelerator beside the CPU, in processes of their own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(SIMULATED))
        inner = launcher()
    yield Shared(inner)
    inner.close()


@pytest.fixture(scope="session")
def _torch_here() -> None:
    """Import torch and the worker into this process."""
    import virtual  # noqa: PLC0415  it imports torch, which most tests do without

    virtual.freeze_garbage()
    virtual.use_one_thread()


@pytest.fixture(scope="session", autouse=True)
def _one_thread(request: pytest.FixtureRequest) -> None:
    """A test module that imports torch gets one thread, too."""
    if "torch" in sys.modules:
        request.getfixturevalue("_torch_here")


@pytest.fixture
def clock(_torch_here: None, monkeypatch: pytest.MonkeyPatch) -> "Iterator[Clock]":
    """A virtual clock. It stands in for the real one within `clock.ticking()`, and while a command runs."""
    import virtual  # noqa: PLC0415  it imports torch, which most tests do without

    monkeypatch.setattr(gc, "freeze", lambda: None)
    monkeypatch.setattr("torchlap.worker.breakdown.peaks.measure", virtual.peaks)
    yield virtual.Clock()
    virtual.keep_denormals()


@pytest.fixture
def workers_here(clock: "Clock", monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever starts workers starts them in this process."""
    import virtual  # noqa: PLC0415  it imports torch, which most tests do without

    for module in (workbench, doctor, arms):
        monkeypatch.setattr(module, "launcher", lambda *_: virtual.Here(clock))


@pytest.fixture
def torchlap(clock: "Clock", workers_here: None) -> Command:
    """The command line, `torchlap("run", ...)`, with workers in this process and on a virtual clock."""

    def command(*words: object) -> Result:
        with clock.ticking():
            return invoke(*words)

    return command


@pytest.fixture
def torchlap_with_processes(workers: Shared, monkeypatch: pytest.MonkeyPatch) -> Command:
    """The command line in this process, with workers in processes of their own and in real time."""
    for module in (workbench, doctor, arms):
        monkeypatch.setattr(module, "launcher", lambda *_: workers)
    return invoke
