import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from types import SimpleNamespace

import pytest

from torchlap import installation as module
from torchlap.errors import EXIT_INSTALL, InstallError
from torchlap.installation import check, torch_build
from torchlap.records import TorchBuild

REINSTALL = f"{sys.executable} -m pip install --upgrade --force-reinstall torch torchvision"


def install(
    monkeypatch: pytest.MonkeyPatch, versions: Mapping[str, str], wants: Sequence[str] | None = ("numpy", "torch>=2.10")
) -> None:
    """Make these packages the only ones; torchvision wants what is given."""

    def version(name: str) -> str:
        if name not in versions:
            raise PackageNotFoundError(name)
        return versions[name]

    def requires(name: str) -> Sequence[str] | None:
        return wants if name == "torchvision" else None

    fake = SimpleNamespace(version=version, requires=requires, PackageNotFoundError=PackageNotFoundError)
    monkeypatch.setattr(module, "metadata", fake)


def refusal() -> str:
    with pytest.raises(InstallError) as caught:
        check()
    assert caught.value.exit_code == EXIT_INSTALL
    return str(caught.value)


@pytest.mark.parametrize(
    ("torch", "torchvision", "wants"),
    [
        ("2.13.0", "0.28.0", ["numpy", "torch==2.13.0", "pillow!=8.3.*,>=5.3.0"]),
        ("2.13.0+cu130", "0.28.0+cu130", ["torch==2.13.0"]),
        ("2.13.0+cu130", "0.28.0", ["torch==2.13.0"]),
        ("2.13.0", "0.28.0+cpu", ["torch==2.13.0"]),
        ("2.14.0.dev20260101+cu130", "0.29.0.dev20260101+cu130", ["torch>=2.14.0.dev0"]),
        ("2.13.0", "0.28.0", None),
        ("2.13.0", "0.28.0", ["numpy", "torchaudio==9"]),
    ],
)
def test_torch_and_torchvision_that_fit_are_fine(
    monkeypatch: pytest.MonkeyPatch, torch: str, torchvision: str, wants: Sequence[str] | None
) -> None:
    install(monkeypatch, {"torch": torch, "torchvision": torchvision}, wants)
    check()


@pytest.mark.parametrize(
    ("versions", "missing"),
    [
        ({}, "torch and torchvision"),
        ({"torch": "2.13.0"}, "torchvision"),
        ({"torchvision": "0.28.0"}, "torch"),
    ],
)
def test_what_is_missing_is_named_with_how_to_install_it(
    monkeypatch: pytest.MonkeyPatch, versions: Mapping[str, str], missing: str
) -> None:
    install(monkeypatch, versions)
    assert refusal() == f"{missing} not installed: {sys.executable} -m pip install torch torchvision."


def test_a_torchvision_that_needs_another_torch_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, {"torch": "2.13.0", "torchvision": "0.29.0"}, ["numpy", "torch>=2.14"])
    assert refusal() == f"torchvision 0.29.0 needs torch>=2.14, but torch 2.13.0 is here: {REINSTALL}."


def test_an_earlier_torchvision_that_needs_an_earlier_torch_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, {"torch": "2.13.0+cpu", "torchvision": "0.27.0+cpu"}, ["torch==2.12.0"])
    assert "needs torch==2.12.0, but torch 2.13.0+cpu is here" in refusal()


def test_different_local_builds_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, {"torch": "2.13.0+cu130", "torchvision": "0.28.0+cpu"}, ["torch==2.13.0"])
    assert refusal() == (f"torch 2.13.0+cu130 and torchvision 0.28.0+cpu come from different builds: {REINSTALL}.")


def test_metadata_that_nobody_can_read_is_not_held_against_an_installation(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, {"torch": "a nightly", "torchvision": "0.28.0"}, ["torch==2.13.0"])
    check()
    install(monkeypatch, {"torch": "2.13.0", "torchvision": "0.28.0"}, ["torch ((("])
    check()


def a_torch(folder: Path, monkeypatch: pytest.MonkeyPatch, version: str | None) -> None:
    """A package named torch, first on the path, that cannot be imported."""
    (folder / "torch").mkdir()
    (folder / "torch" / "__init__.py").write_text("raise SystemExit('imported')")
    if version is not None:
        (folder / "torch" / "version.py").write_text(version)
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.delitem(sys.modules, "torch", raising=False)


@pytest.mark.parametrize(
    ("text", "cuda", "hip"),
    [
        ("from typing import Optional\ncuda: Optional[str] = '13.0'\nhip: Optional[str] = None\n", "13.0", ""),
        ("cuda = None\nhip = '7.1'\nxpu = None\ndebug = False\n", "", "7.1"),
        ("this is no Python (", "", ""),
        ("cuda = '\x00'", "", ""),
        (None, "", ""),
    ],
)
def test_what_torch_was_built_for_is_read_and_not_run(
    text: str | None, cuda: str, hip: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    a_torch(tmp_path, monkeypatch, text)
    monkeypatch.setattr(module, "_wheel_tag", lambda: "cp312-cp312-linux")
    assert torch_build() == TorchBuild(cuda=cuda, hip=hip, wheel="cp312-cp312-linux")


def test_without_a_torch_there_is_no_build(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "find_spec", lambda _: None)
    assert torch_build() is None
