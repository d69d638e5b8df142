"""Environments with a release of torch, made by stand-ins of uv and pip: nothing is downloaded."""

import os
import sys
from pathlib import Path

import pytest

from torchlap.errors import InstallError, UsageError
from torchlap.processes import environments
from torchlap.processes.environments import environment, folder, releases, requirement


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("2.15", "torch==2.15.*"),
        ("2.15.1", "torch==2.15.1"),
        ("2.15.0+cpu", "torch==2.15.0+cpu"),
        ("torch==2.15.*", "torch==2.15.*"),
        (" torch>=2.14,<2.15 ", "torch>=2.14,<2.15"),
    ],
)
def test_a_release_is_what_pip_takes(text: str, wanted: str) -> None:
    assert requirement(text) == wanted


@pytest.mark.parametrize("text", ["", "torch", "numpy==2.0", "--index-url=x", "2", "torch == ", "newest"])
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="Invalid release"):
        requirement(text)


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of programs that is the whole path, and an empty cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(environments, "folder", lambda: tmp_path / "cache" / "environments")
    programs = tmp_path / "programs"
    programs.mkdir()
    monkeypatch.setenv("PATH", os.pathsep.join([str(programs), "/usr/bin", "/bin"]))
    return programs


def write(program: Path, script: str) -> None:
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)


def test_uv_makes_it_once(tools: Path) -> None:
    asked = tools / "asked"
    make = 'for place; do :; done; mkdir -p "$place/bin"; cp /bin/true "$place/bin/python"'
    write(tools / "uv", f'echo "$*" >> {asked}\nif [ "$1" = venv ]; then {make}; fi')
    reports: list[str] = []
    python = environment("torch==2.15.*", reports.append)
    assert python.is_file()
    assert python == environment("torch==2.15.*", reports.append)
    assert reports == ["installing torch==2.15.*"]
    first, second = asked.read_text().splitlines()
    assert first.startswith("venv --quiet --allow-existing --python")
    assert second.endswith("torch==2.15.* torchvision numpy")


def test_what_cannot_be_installed_is_one_sentence_and_leaves_nothing(
    tools: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tools / "uv", "exit 1")
    write(tools / "python", "echo 'ERROR: No matching distribution found for torch==99.*.' >&2; exit 1")
    monkeypatch.setattr(sys, "executable", str(tools / "python"))
    with pytest.raises(InstallError, match=r"Cannot install torch==99.\* \(No matching distribution found"):
        environment("torch==99.*", lambda _: None)
    assert list((tools.parent / "cache" / "environments").iterdir()) == []


def test_venv_and_pip_are_used_without_uv(tools: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = tools / "log"
    pip = f'echo "$*" >> {log}'
    make = 'for place; do :; done; mkdir -p "$place/bin"; cp "$0" "$place/bin/python"'
    write(tools / "python", f'{pip}\nif [ "$2" = venv ]; then {make}; fi')
    monkeypatch.setattr(sys, "executable", str(tools / "python"))
    assert environment("torch==2.15.0", lambda _: None).is_file()
    venv, installed, imported = log.read_text().splitlines()
    assert imported == "-c import torchvision"
    assert venv.startswith("-m venv --clear")
    assert installed.endswith("--no-input torch==2.15.0 torchvision numpy")


def test_builds_that_do_not_work_together_are_one_sentence_and_are_not_kept(tools: Path) -> None:
    fails = r"printf '#!/bin/sh\necho RuntimeError: no nms >&2; exit 1' > \"$place/bin/python\""
    make = f'for place; do :; done; mkdir -p "$place/bin"; {fails}; chmod +x "$place/bin/python"'.replace('\\"', '"')
    write(tools / "uv", f'if [ "$1" = venv ]; then {make}; fi')
    with pytest.raises(
        InstallError, match=r"was installed, but cannot be imported with torchvision \(RuntimeError: no nms"
    ):
        environment("torch==2.15.0", lambda _: None)
    assert list((tools.parent / "cache" / "environments").iterdir()) == []


def test_they_are_in_the_cache_folder() -> None:
    assert folder().name == "environments"


def test_the_releases_that_pip_finds_are_listed(tools: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = "torch (2.14.0)\nAvailable versions: 2.14.0, 2.13.1+cpu, 2.13.0, 2.12.0rc1, x, 2.12.0\n  INSTALLED: 2.12.0"
    write(tools / "python", f"printf '{lines}'")
    monkeypatch.setattr(sys, "executable", str(tools / "python"))
    assert [str(version) for version in releases()] == ["2.12.0", "2.13.0", "2.13.1", "2.14.0"]


def test_a_pip_that_cannot_list_releases_is_one_sentence(tools: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tools / "python", "echo 'ERROR: no index' >&2; exit 1")
    monkeypatch.setattr(sys, "executable", str(tools / "python"))
    with pytest.raises(InstallError, match="Cannot list the releases of torch: check that"):
        releases()
