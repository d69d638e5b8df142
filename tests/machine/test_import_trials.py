"""Why an import fails although the install may be right: with stub packages in a folder."""

import sys
from pathlib import Path

import pytest

from torchlap.machine.import_trials import SUSPECTS, culprit, hidden_here, hiding_files

PROBE = """#!{python}
import os, sys
sys.exit(1 if "{variable}" in os.environ else 0)
"""


@pytest.fixture(autouse=True)
def no_suspects(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in SUSPECTS:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PYTHONNOUSERSITE", "1")


@pytest.mark.parametrize("variable", SUSPECTS)
def test_the_variable_at_fault_is_named_among_others(
    variable: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    python = tmp_path / "python"
    python.write_text(PROBE.format(python=sys.executable, variable=variable))
    python.chmod(0o755)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "fine"))
    monkeypatch.setenv(variable, str(tmp_path / "faulty"))
    assert culprit(str(python)) == variable


def test_a_broken_install_has_no_variable_at_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\nexit 1\n")
    python.chmod(0o755)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert culprit(str(python)) == ""


def test_an_import_that_hangs_ends_at_the_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\nexec sleep 60\n")
    python.chmod(0o755)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert culprit(str(python), limit_seconds=0.2) == ""


@pytest.mark.parametrize(
    ("name", "hidden"),
    [
        ("dis.py", "Python's module dis"),
        ("random.py", "Python's module random"),
        ("torch.py", "the package torch"),
        ("torch/__init__.py", "the package torch"),
        ("numpy/__init__.py", "the package numpy"),
        ("torchvision.py", "the package torchvision"),
    ],
)
def test_a_file_that_hides_a_module_is_named(name: str, hidden: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.touch()
    (clause,) = hiding_files([tmp_path, tmp_path / "missing"])
    assert clause == f"{tmp_path / Path(name).parts[0]} hides {hidden}"


def test_other_files_and_installed_packages_hide_nothing(tmp_path: Path) -> None:
    for name in ("train.py", "dis.txt", "torch/data.bin", "numpy/__init__.py", "numpy-2.3.0.dist-info/RECORD"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.touch()
    assert hiding_files([tmp_path]) == ()


@pytest.mark.parametrize(("code", "hidden"), [(0, ()), (1, ("dis.py hides Python's module dis",))])
def test_a_file_is_blamed_only_if_the_import_fails_beside_it(
    code: int, hidden: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "dis.py").touch()
    python = tmp_path / "python"
    python.write_text(f"#!/bin/sh\nexit {code}\n")
    python.chmod(0o755)
    monkeypatch.chdir(tmp_path)
    assert hidden_here(str(python)) == hidden
