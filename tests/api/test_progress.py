"""The line of progress of `torchlap.measure`: in a terminal, in a notebook, and nowhere else."""

import io
import sys
import threading
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from support import own
from virtual import Clock

import torchlap
from torchlap.api.progress import shown, status_line
from torchlap.measuring.session import Status

HALFWAY = Status(1, 2, "resnet18, batch 4, cpu: warming up\x1b[2J", 75.4)


class Terminal(io.StringIO):
    """A standard error that is a terminal."""

    def isatty(self) -> bool:
        return True


class ZMQInteractiveShell:
    """What a notebook's kernel calls its shell."""


class Notebook:
    """IPython as a notebook has it: what was displayed, in order."""

    def __init__(self, shell: object) -> None:
        self.texts: list[str] = []
        self.display = SimpleNamespace(display=self._display)
        self.get_ipython = lambda: shell

    def _display(self, data: dict[str, str], **_: Any) -> Any:
        def update(data: dict[str, str], *, raw: bool) -> None:
            assert raw
            self.texts.append(data["text/plain"])

        update(data, raw=True)
        return SimpleNamespace(update=update)


def test_the_line_says_how_far_it_is_and_controls_no_terminal() -> None:
    assert status_line(HALFWAY) == "1/2 groups · at most 1:15 left · resnet18, batch 4, cpu: warming up [2J"


def test_a_terminal_shows_the_line_without_a_thread_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", terminal := Terminal())
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")
    threads = threading.active_count()
    with shown() as listener:
        assert threading.active_count() == threads
        listener.status(HALFWAY)
        assert "1/2 groups · at most 1:15 left" in terminal.getvalue()
    assert terminal.getvalue().endswith("\x1b[2K")  # the line is erased


def test_a_notebook_shows_the_line_and_removes_it(monkeypatch: pytest.MonkeyPatch) -> None:
    notebook = Notebook(ZMQInteractiveShell())
    monkeypatch.setitem(sys.modules, "IPython", notebook)
    with suppress(KeyboardInterrupt), shown() as listener:
        listener.status(HALFWAY)
        raise KeyboardInterrupt
    assert notebook.texts == ["starting", status_line(HALFWAY), ""]


def test_a_log_and_ipython_without_a_notebook_show_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    notebook = Notebook(object())
    monkeypatch.setitem(sys.modules, "IPython", notebook)
    with shown() as listener:
        listener.status(HALFWAY)
    assert (notebook.texts, capsys.readouterr().err) == ([], "")


@pytest.mark.parametrize("progress", [True, False])
def test_a_run_shows_its_progress_unless_it_is_told_not_to(
    progress: bool, tmp_path: Path, clock: Clock, workers_here: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    notebook = Notebook(ZMQInteractiveShell())
    monkeypatch.setitem(sys.modules, "IPython", notebook)
    asked: dict[str, Any] = {"devices": "cpu", "budget": 20, "explain": False, "out": tmp_path / "run.jsonl"}
    with clock.ticking():
        torchlap.measure(own("small"), 4, progress=progress, **asked)
    assert any("0/1 groups · at most 0:" in text for text in notebook.texts) is progress
