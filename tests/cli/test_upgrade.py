"""torchlap upgrade: two releases of torch as the arms of a run."""

import sys
from pathlib import Path

import pytest
from support import Command, invoke, own

from torchlap import errors, load
from torchlap.api import upgrade

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
