"""torchlap upgrade: two releases of torch as the arms of a run; and the one among several that changed the speed."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from packaging.version import Version
from support import Command, invoke, own

from torchlap import errors, load
from torchlap.api import arms, upgrade
from torchlap.api import bisect as api_bisect
from torchlap.judge.measurement import conditions

if TYPE_CHECKING:
    from virtual import Clock

CPU = ("--devices", "cpu", "--batch", 4, "--phase", "eval")


def test_two_pythons_of_one_release_are_compared(torchlap: Command, tmp_path: Path) -> None:
    out = tmp_path / "run.jsonl"
    pythons = ("--python", sys.executable, "--python", sys.executable)
    result = torchlap("upgrade", own("sleeps"), *CPU, *pythons, "--out", out)
    assert result.exit_code == 0, result.output
    old, new = load(out).header.plan.arms
    assert (old.name, new.name) == (f"torch {old.packages['torch']} (old)", f"torch {new.packages['torch']} (new)")
    text = " ".join(result.output.split())
    assert f"{new.name} is 1.00" in text
    assert f"as fast as {old.name}" in text


def test_releases_get_environments_and_the_installed_one_is_the_old(monkeypatch: pytest.MonkeyPatch) -> None:
    wanted: list[str] = []

    def environment(release: str, _report: object) -> Path:
        wanted.append(release)
        return Path(sys.executable)

    monkeypatch.setattr(upgrade, "environment", environment)
    old, new = upgrade.releases("2.15")
    assert (old.interpreter, new.interpreter) == ("", sys.executable)
    upgrade.releases("2.15", "torch==2.14.*")
    assert wanted == ["torch==2.15.*", "torch==2.14.*", "torch==2.15.*"]


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ((), "Give the release to compare with"),
        (("--to", "newest"), "Invalid release"),
        (("--to", "2.15", "--from", "old"), "Invalid release"),
        (("--python", "a"), "Give either --python twice"),
        (("--python", "a", "--python", "b", "--to", "2.15"), "Give either --python twice"),
        (("--python", "/nowhere/a", "--python", "/nowhere/b"), "/nowhere/a is not a Python"),
    ],
)
def test_what_is_not_understood_is_refused(words: tuple[str, ...], reason: str) -> None:
    result = invoke("upgrade", "resnet18", *words)
    assert result.exit_code == errors.EXIT_USAGE, result.output
    assert reason in result.output


VERSIONS = ("2.12.0", "2.13.0", "2.14.0")


@pytest.fixture
def environments(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clock: "Clock", torchlap: Command
) -> "dict[str, Path]":
    """Stand-ins for environments with three releases of torch, by version: since 2.13.0 a call takes twice as long."""
    import virtual  # noqa: PLC0415  it imports torch

    monkeypatch.setattr(conditions, "OTHERS_CPU_SHARE", 1.0)  # whatever else this machine is doing
    pythons = {}
    for version in VERSIONS:
        site = tmp_path / version
        for name, needs in (("torch", ""), ("torchvision", f"Requires-Dist: torch=={version}\n")):
            about = site / f"{name}-{version}.dist-info"
            about.mkdir(parents=True)
            (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{needs}")
        python = site / "python"
        python.write_text(f'#!/bin/sh\nPYTHONPATH="{site}" exec "{sys.executable}" "$@"\n')
        python.chmod(0o755)
        pythons[version] = python

    class Slowed(virtual.WorkerHere):
        """A worker in which each call takes its own time."""

        call_seconds = 0.01

        def _next(self, doing: str, limit_seconds: float) -> object:  # type: ignore[override]
            clock.call_seconds = self.call_seconds
            return super()._next(doing, limit_seconds)

    class Launcher(virtual.Here):
        def __init__(self, python: str) -> None:
            super().__init__(clock)
            self._seconds = 0.01 if "2.12.0" in python else 0.02

        def start(self) -> Slowed:
            worker = Slowed(clock)
            worker.call_seconds = self._seconds
            return worker

    monkeypatch.setattr(arms, "launcher", lambda _limit, interpreter: Launcher(interpreter.python))
    return pythons


SIMULATED = ("--devices", "sim:0", "--batch", 4, "--phase", "eval", "--budget", "20s")


def test_a_bisection_over_existing_pythons_names_the_one_that_changed_the_speed(
    environments: "dict[str, Path]", torchlap: Command, tmp_path: Path
) -> None:
    pythons = [word for version in VERSIONS for word in ("--python", environments[version])]
    result = torchlap("upgrade", own("small"), *SIMULATED, *pythons, "--bisect", "--out", tmp_path / "run.jsonl")
    assert result.exit_code == 0, result.output
    *_, middle, answer = result.stdout.strip().splitlines()
    assert middle.startswith("- torch 2.13.0: 0.5")
    assert middle.endswith(", changed")
    assert answer.startswith("torch 2.13.0 changed it: ")
    assert "sim:0 is slower than with torch 2.12.0: 0.5" in answer
    assert sorted(path.name for path in tmp_path.glob("*.jsonl")) == ["run-2.jsonl", "run.jsonl"]
    assert [arm.name for arm in load(tmp_path / "run-2.jsonl").header.plan.arms] == ["torch 2.12.0", "torch 2.13.0"]


def test_a_bisection_installs_only_the_releases_that_it_measures(
    environments: "dict[str, Path]", torchlap: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted: list[str] = []

    def environment(release: str, _report: object) -> Path:
        wanted.append(release)
        if release == "torch==2.13.5":
            raise errors.InstallError("Cannot install it.")
        return environments[release.removeprefix("torch==")]

    monkeypatch.setattr(api_bisect, "environment", environment)
    listed = [Version(version) for version in ("2.11.0", "2.12.0", "2.13.0", "2.13.5", "2.14.0", "2.15.0")]
    monkeypatch.setattr(api_bisect, "releases", lambda: listed)
    words = ("--from", "2.12.0", "--to", "2.14.0", "--bisect", "--out", tmp_path / "run.jsonl")
    result = torchlap("upgrade", own("small"), *SIMULATED, *words)
    assert result.exit_code == 0, result.output
    assert wanted == ["torch==2.12.0", "torch==2.14.0", "torch==2.13.5", "torch==2.13.0"]
    assert "Could not be installed: torch 2.13.5." in result.stdout
    assert "torch 2.13.0 changed it: " in result.stdout


def test_without_a_change_there_is_nothing_to_bisect(
    environments: "dict[str, Path]", torchlap: Command, tmp_path: Path
) -> None:
    pythons = [word for version in VERSIONS[1:] for word in ("--python", environments[version])]
    words = (*pythons, "--python", environments["2.13.0"], "--bisect", "--out", tmp_path / "run.jsonl")
    result = torchlap("upgrade", own("small"), *SIMULATED, *words)
    assert result.exit_code == 0, result.output
    assert "Nothing certainly changed between torch 2.13.0 (1) and torch 2.13.0 (3)" in result.stdout


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("--bisect",), "Give the newest release to search"),
        (("--bisect", "--python", "a", "--python", "b"), "give --python three times or more"),
        (("--bisect", "--to", "2.15", "--format", "json"), "omit --format json"),
    ],
)
def test_a_bisection_that_is_not_understood_is_refused(words: tuple[str, ...], reason: str) -> None:
    result = invoke("upgrade", "resnet18", *words)
    assert result.exit_code == errors.EXIT_USAGE, result.output
    assert reason in result.output


def test_the_newest_release_must_be_newer(environments: "dict[str, Path]", monkeypatch: pytest.MonkeyPatch) -> None:
    def environment(release: str, _report: object) -> Path:
        return environments[release.removeprefix("torch==")]

    monkeypatch.setattr(api_bisect, "environment", environment)
    result = invoke("upgrade", "resnet18", "--from", "2.14.0", "--to", "2.12.0", "--bisect")
    assert result.exit_code == errors.EXIT_USAGE
    assert "torch 2.12.0 is not newer than torch 2.14.0: give the older release with --from." in result.output
