import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace

import pytest

from torchlap.api.workbench import check_installation
from torchlap.errors import EXIT_INSTALL, InstallError
from torchlap.machine import installation as module
from torchlap.machine.installation import torch_build
from torchlap.schema.machine import TorchBuild

REINSTALL = f"{sys.executable} -m pip install --upgrade --force-reinstall torch torchvision"


def install(
    monkeypatch: pytest.MonkeyPatch, versions: Mapping[str, str], wants: Sequence[str] | None = ("numpy", "torch>=2.10")
) -> None:
    """Make these packages the only ones; torchvision wants what is given."""

    def distribution(name: str, _: object = None) -> SimpleNamespace | None:
        if name not in versions:
            return None
        return SimpleNamespace(version=versions[name], requires=wants if name == "torchvision" else None)

    monkeypatch.setattr(module, "_distribution", distribution)


def refusal() -> str:
    with pytest.raises(InstallError) as caught:
        check_installation()
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
def test_a_matching_torch_and_torchvision_are_fine(
    monkeypatch: pytest.MonkeyPatch, torch: str, torchvision: str, wants: Sequence[str] | None
) -> None:
    install(monkeypatch, {"torch": torch, "torchvision": torchvision}, wants)
    check_installation()


@pytest.mark.parametrize(
    ("versions", "missing"),
    [
        ({}, "torch and torchvision"),
        ({"torch": "2.13.0"}, "torchvision"),
        ({"torchvision": "0.28.0"}, "torch"),
    ],
)
def test_a_missing_package_is_named_with_how_to_install_it(
    monkeypatch: pytest.MonkeyPatch, versions: Mapping[str, str], missing: str
) -> None:
    install(monkeypatch, versions)
    assert refusal() == f"{missing} not installed: {sys.executable} -m pip install torch torchvision."


def test_a_torchvision_that_needs_another_torch_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, {"torch": "2.13.0", "torchvision": "0.29.0"}, ["numpy", "torch>=2.14"])
    assert refusal() == f"torchvision 0.29.0 needs torch>=2.14, but torch 2.13.0 is installed: {REINSTALL}."


def test_an_earlier_torchvision_that_needs_an_earlier_torch_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, {"torch": "2.13.0+cpu", "torchvision": "0.27.0+cpu"}, ["torch==2.12.0"])
    assert "needs torch==2.12.0, but torch 2.13.0+cpu is installed" in refusal()


def test_different_local_builds_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, {"torch": "2.13.0+cu130", "torchvision": "0.28.0+cpu"}, ["torch==2.13.0"])
    assert refusal() == (f"torch 2.13.0+cu130 and torchvision 0.28.0+cpu come from different builds: {REINSTALL}.")


def test_unreadable_metadata_is_not_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, {"torch": "a nightly", "torchvision": "0.28.0"}, ["torch==2.13.0"])
    check_installation()
    install(monkeypatch, {"torch": "2.13.0", "torchvision": "0.28.0"}, ["torch ((("])
    check_installation()


@pytest.mark.parametrize(
    ("torch", "torchvision"),
    [
        ("2.8.0a0+34c6371d24.nv25.8", "0.23.0a0+428a54c"),
        ("2.14.0a0+git1234567", "0.29.0a0+abcdef1"),
        ("2.9.1+rocm7.2.0.lw.git7e1940d4", "0.24.0+rocm7.2.0.gitb919bd0c"),
    ],
)
def test_builds_from_source_are_not_distinguished_by_their_commits(
    torch: str, torchvision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(monkeypatch, {"torch": torch, "torchvision": torchvision}, ["torch"])
    check_installation()


def test_builds_for_different_versions_of_rocm_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, {"torch": "2.9.1+rocm7.2", "torchvision": "0.24.0+rocm6.4"}, ["torch"])
    assert "different builds" in refusal()


def test_damaged_metadata_has_no_version(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_distribution", lambda *_: SimpleNamespace(version=None))
    assert module.versions(("torch",)) == {"torch": ""}


def test_the_packages_of_another_interpreter_are_read_from_its_search_path(tmp_path: Path) -> None:
    info = tmp_path / "torch-2.10.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: torch\nVersion: 2.10.0\n")
    assert module.versions(path=[str(tmp_path)]) == {"torch": "2.10.0"}
    assert module.torchvision_needs([str(tmp_path)]) == ""
    assert torch_build([str(tmp_path)]) == TorchBuild()
    assert torch_build([str(tmp_path / "empty")]) is None


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
def test_what_torch_was_built_for_is_read_without_importing_it(
    text: str | None, cuda: str, hip: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    info = tmp_path / "torch-2.13.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: torch\nVersion: 2.13.0\n")
    (info / "WHEEL").write_text("Wheel-Version: 1.0\nTag: cp312-cp312-linux\n")
    (tmp_path / "torch").mkdir()
    (tmp_path / "torch" / "__init__.py").write_text("raise SystemExit('imported')")
    if text is not None:
        (tmp_path / "torch" / "version.py").write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    assert torch_build() == TorchBuild(cuda=cuda, hip=hip, wheel="cp312-cp312-linux")
