"""torchlap run --arm: two sides of a comparison take turns in one run."""

import csv
import json
import subprocess
import sys
from pathlib import Path

import pytest
from support import Command, invoke, own

from torchlap import errors, figures, load
from torchlap.api import arms as api_arms
from torchlap.measuring.plan import Options
from torchlap.reports.run.plain import as_csv, as_json, as_markdown
from torchlap.schema.arm import Arm, parse_arm, parse_arms
from torchlap.schema.recipe import Recipe
from torchlap.schema.workload import Cell, Group, Plan, Workload

CPU = ("--devices", "cpu", "--batch", 4, "--phase", "eval", "--no-why")

NET = """
import time
import torch

class Net(torch.nn.Linear):
    def forward(self, x):
        time.sleep({seconds})
        return super().forward(x)

def make(batch):
    return Net(2, 2), (torch.zeros(batch, 2), torch.zeros(batch, 2)), torch.nn.functional.mse_loss
"""


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "run.jsonl"


@pytest.fixture
def compared(torchlap: Command, out: Path) -> str:
    """A run of two arms; what it printed."""
    options = ("--arm", "base", "--arm", "one=env:OMP_NUM_THREADS=1,recipe:bf16", "--out", out)
    result = torchlap("run", own("sleeps"), *CPU, *options)
    assert result.exit_code == 0, result.output
    return result.output


def test_arms_take_turns_and_the_first_is_the_baseline(compared: str, out: Path) -> None:
    ((first, second),) = (group.cells for group in figures(load(out)))
    assert (first.cell.arm, second.cell.arm) == ("base", "one")
    assert second.speed_up is not None
    assert second.speed_up.low <= 1.0 <= second.speed_up.high
    assert second.prepared is not None
    assert second.prepared.threads == 1
    assert second.cell.recipe == Recipe(precision="bf16")


def test_the_report_names_the_arms_what_differs_and_the_answer(compared: str, out: Path) -> None:
    text = " ".join(compared.split())
    assert "Speed-up: over arm base on the same device" in text
    assert "one differs from base: OMP_NUM_THREADS unchanged vs. 1; recipe fp32 vs. bf16" in text
    assert "one is 1.0" in text
    assert "as fast as base" in text
    assert "--arm base --arm one=env:OMP_NUM_THREADS=1,recipe:bf16" in text
    run = load(out)
    report = json.loads(as_json(run, None))
    assert report["arms"]["one"][:2] == ["OMP_NUM_THREADS unchanged vs. 1", "recipe fp32 vs. bf16"]
    assert [cell["arm"] for cell in report["cells"]] == ["base", "one"]
    assert [line["arm"] for line in csv.DictReader(as_csv(run).splitlines())] == ["base", "one"]
    assert "one differs from base" in as_markdown(run)


def test_an_accelerators_results_are_checked_in_every_arm(torchlap: Command, out: Path) -> None:
    options = ("--devices", "sim:0", "--batch", 4, "--no-why", "--out", out)
    result = torchlap("run", own("small"), *options, "--arm", "a", "--arm", "b")
    assert result.exit_code == 0, result.output
    assert [cell.numerics is not None for cell in figures(load(out))[0].cells] == [True, True]


def test_a_run_with_arms_can_be_resumed_unless_they_have_changed(compared: str, torchlap: Command, out: Path) -> None:
    lines = out.read_text().splitlines(keepends=True)
    out.write_text("".join(lines[:-1]))  # the end is missing
    assert torchlap("run", "--resume", out).exit_code == 0
    out.write_text(out.read_text().replace('"python":"3', '"python":"2'))
    result = torchlap("run", "--resume", out)
    assert result.exit_code == errors.EXIT_USAGE
    assert "has changed since the run was started" in result.output


@pytest.mark.parametrize(
    "arm", [Arm("a", folder="/home/<other>/x"), Arm("a", interpreter="<user>"), Arm("a", environment={"A": "~/b"})]
)
def test_an_arm_whose_words_are_private_cannot_be_restored(arm: Arm) -> None:
    plan = Plan(suite="own", groups=(Group((Cell(Workload("resnet18", 4), Recipe(), "cpu"),)),), arms=(arm,))
    with pytest.raises(errors.UsageError, match="does not have the paths of arm 'a'"):
        api_arms.again(plan)


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("a",), "nothing to compare with"),
        (("a", "a"), "Two arms are named 'a'"),
        (("a", "b=threads:4"), "'threads:4' is not understood"),
        (("a", "=env:A=1"), "Invalid arm"),
        (("a", "b=env:1A=1"), "env:NAME=VALUE"),
        (("a", "b=env:A"), "env:NAME=VALUE"),
        (("a", "b=recipe:bf16,recipe:fp32"), "recipe is given twice"),
        (("a", "b=recipe:fp8"), "Unknown recipe term 'fp8'"),
        (("a", "b=python:/nowhere/python"), "/nowhere/python is not a Python"),
        (("a", "b=path:/nowhere"), "the folder /nowhere does not exist"),
        (tuple(f"a{number}" for number in range(21)), "the limit is 20"),
    ],
)
def test_an_arm_that_is_not_understood_is_refused_in_one_sentence(
    words: tuple[str, ...], reason: str, out: Path
) -> None:
    options = [option for word in words for option in ("--arm", word)]
    result = invoke("run", "resnet18", *options, "--out", out)
    assert result.exit_code == errors.EXIT_USAGE, result.output
    assert reason in result.output
    assert not out.exists()


@pytest.mark.parametrize(
    ("model", "options", "reason"),
    [
        (own("small"), ("--arm", "b=path:{folder}"), "is the same file in every arm"),
        ("resnet18", ("--arm", "b=path:{folder}"), "only matters to a model from your own file"),
        (own("small"), ("--arm", "b=recipe:bf16", "--recipe", "fp32,bf16"), "give --recipe at most one"),
        (own("small"), ("--arm", "b=recipe:tf32"), "TF32 exists only on NVIDIA GPUs"),
    ],
)
def test_arms_that_do_not_fit_the_rest_are_refused(
    model: str, options: tuple[str, ...], reason: str, torchlap: Command, tmp_path: Path
) -> None:
    words = [word.format(folder=tmp_path) for word in options]
    result = torchlap("run", model, *CPU, "--arm", "a", *words, "--out", tmp_path / "run.jsonl")
    assert result.exit_code == errors.EXIT_USAGE, result.output
    assert reason in result.output


def test_the_words_of_an_arm_are_read_back() -> None:
    arm = parse_arm("new=python:/opt/python,path:old,env:CUDA_VISIBLE_DEVICES=0,1,env:A=b=c,recipe:bf16+fused")
    assert arm == Arm(
        "new",
        interpreter="/opt/python",
        folder="old",
        environment={"CUDA_VISIBLE_DEVICES": "0,1", "A": "b=c"},
        recipe=Recipe(precision="bf16", fused=True),
    )
    assert parse_arm(str(arm)) == arm


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ((own("small"), "--against", "main"), "is the same file in every arm"),
        (("resnet18", "--against", "main"), "only matters to a model from your own file"),
        (("net.py:make", "--against", "main", "--arm", "a", "--arm", "b"), "omit --arm"),
        (("net.py:make", "--against", "HEAD"), "There is no file net.py, now or in HEAD: check the path."),
        (("net.py:make", "--against", "no-such-revision"), "git does not know the revision 'no-such-revision'"),
        (("net.py:make", "--against", "a\nb"), "Invalid revision"),
    ],
)
def test_a_revision_that_cannot_be_compared_with_is_refused(options: tuple[str, ...], reason: str, out: Path) -> None:
    result = invoke("run", *options, "--out", out)
    assert result.exit_code == errors.EXIT_USAGE, result.output
    assert reason in result.output


def test_a_revision_and_the_files_as_they_are_are_the_arms(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.py").write_text("")
    for words in ("init", "add net.py", "-c user.name=a -c user.email=a@b.org commit --message first"):
        subprocess.run(["git", *words.split()], check=True, capture_output=True)
    options = Options(models=("net.py:make",), against="HEAD")
    with api_arms.arms_of(options) as (first, second):
        assert (first.name, first.revision, len(first.commit)) == ("HEAD", "HEAD", 40)
        assert (second.name, second.folder) == ("now", str(tmp_path))
        plan = Plan(suite="own", groups=(Group((Cell(Workload("net.py:make", 4), Recipe(), "cpu"),)),), arms=(first,))
        assert api_arms.again(plan) == (first,)
    with pytest.raises(errors.UsageError, match="start a new one with --against HEAD"):
        api_arms.again(plan)


@pytest.fixture
def two_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[str, ...]:
    """Two versions of a file, the second twice as fast, and the words of two arms, each with a Python of its own."""
    for name, seconds in (("old", 0.02), ("new", 0.01)):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "net.py").write_text(NET.format(seconds=seconds))
    other = tmp_path / "python"
    other.write_text(f'#!/bin/sh\nexec "{sys.executable}" -S "$@"\n')
    other.chmod(0o755)
    monkeypatch.chdir(tmp_path)
    site = ":".join(path for path in sys.path if path.endswith("-packages"))
    return ("old=path:old", f"new=path:new,python:python,env:PYTHONPATH={site}")


@pytest.mark.long
def test_another_python_reads_the_file_of_its_own_folder(two_folders: tuple[str, ...]) -> None:
    options = Options(models=("net.py:make",), devices="cpu", batches=(4,), arms=parse_arms(two_folders))
    with api_arms.bench_of(options.arms) as bench:
        plan = api_arms.check(bench, api_arms.plan_of(options, bench), 120.0, strict=True)
    first, second = plan.arms
    assert (first.interpreter, second.interpreter != "") == ("", True)
    assert first.packages == second.packages
    assert [identity.arm for identity in plan.identities] == ["old", "new"]
    assert plan.identities[0].sha256 != plan.identities[1].sha256


@pytest.mark.alone
@pytest.mark.long
def test_the_faster_of_two_folders_is_faster(two_folders: tuple[str, ...], out: Path) -> None:
    sides = [option for words in two_folders for option in ("--arm", words)]
    result = invoke("run", "net.py:make", *CPU, *sides, "--budget", "30s", "--out", out)
    assert result.exit_code == 0, result.output
    speed_up = figures(load(out))[0].cells[1].speed_up
    assert speed_up is not None
    assert 1.3 < speed_up.value < 3.0
    assert "environment of Python" in " ".join(result.output.split())
