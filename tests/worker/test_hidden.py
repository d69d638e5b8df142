"""A file beside the script that hides a module hides it under the tracer, too, and is named."""

import random
import sys
from pathlib import Path

import msgspec
import pytest

from torchlap.worker.tracing import script


def test_a_file_that_hides_a_module_of_python_is_named_and_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "random.py").write_text("")
    monkeypatch.setitem(sys.modules, "random", random)
    assert script._hidden(tmp_path, frozenset()) == {"random.py": "Python's module random"}
    assert "random" not in sys.modules


def test_a_package_that_the_tracer_watches_stays_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "msgspec", msgspec)
    (tmp_path / "msgspec").mkdir()
    (tmp_path / "msgspec" / "__init__.py").write_text("")
    assert script._hidden(tmp_path, frozenset()) == {"msgspec/__init__.py": "the package msgspec"}
    assert sys.modules["msgspec"] is msgspec


@pytest.mark.parametrize("name", ["os.py", "mine.py"])
def test_what_python_has_loaded_before_and_other_files_hide_nothing(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("")
    assert script._hidden(tmp_path, frozenset({"os"})) == {}


def test_the_module_itself_does_not_hide_itself() -> None:
    assert "random.py" not in script._hidden(Path(random.__file__).parent, frozenset(set(sys.modules) - {"random"}))
