"""torchlap verify as a user types it, on a simulated accelerator with one fault at a time, and a run that verifies."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from support import OWN, SIMULATED, Command
from wrong_numbers import FAULTS, Fault, row

from torchlap import figures, load
from torchlap.schema.numerics import Numerics

RIGHT = Numerics(operators=100, products=10, closest=0.5, seconds=2.0)


def own(function: str) -> str:
    return f"{OWN}:{function}"


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: f"{fault.kind}-{fault.operator.split('.')[1]}")
def test_each_fault_is_caught_and_its_operator_named(fault: Fault, torchlap: Command) -> None:
    operators = fault.operator.replace(".", "DOT").replace(",", "AND")
    model = f"{OWN.with_name('faulty.py')}:{fault.kind}__{operators}__{fault.model}"
    words = ("--batch", fault.batch, "--recipe", fault.recipe, "--no-suite", "--format", "json")
    (told,) = json.loads(torchlap("verify", model, "--devices", "sim:0", *words).stdout)["cells"]
    assert told["verdict"] == "wrong"
    first = told["numbers"]["faults"][0]
    assert first["operator"].removeprefix("aten.").partition(".")[0] in fault.operator
    assert first["phase"]


def test_the_benchmarks_rows_are_those_of_the_command() -> None:
    verdict, operator, where = row(FAULTS[0])
    assert (verdict, operator, where) == ("wrong", "aten.addcdiv_.default", "optimizer, ")


@pytest.mark.parametrize("model", ["layered", "layered_bfloat16", "layered_float16"])
@pytest.mark.parametrize("recipe", ["fp32", "channels_last"])
def test_an_accelerator_without_a_fault_is_right(model: str, recipe: str, torchlap: Command) -> None:
    words = ("--batch", 16, "--recipe", recipe, "--no-suite", "--format", "json")
    (told,) = json.loads(torchlap("verify", own(model), "--devices", "sim:0", *words).stdout)["cells"]
    assert told["verdict"] == "right", told


def test_a_product_in_float16_as_inexact_as_bfloat16_is_told_but_not_void(torchlap: Command) -> None:
    model = f"{OWN.with_name('faulty.py')}:bfloat16_inside__atenDOTconvolution_backwardDOTdefault__layered_float16"
    words = ("--devices", "sim:0", "--batch", 16, "--no-suite", "--format", "json")
    result = torchlap("verify", model, *words)
    report = json.loads(result.stdout)
    assert (report["cells"][0]["verdict"], result.exit_code) == ("inexact", 0)
    assert "TL303" in [finding["code"] for finding in report["findings"]]


def test_an_interrupted_check_tells_what_it_saw(torchlap: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = iter([RIGHT])

    def look(*_: object, **__: object) -> Numerics:
        try:
            return next(answers)
        except StopIteration:
            raise KeyboardInterrupt from None

    monkeypatch.setattr("torchlap.api.numerics.Checks.numerics", look)
    result = torchlap("verify", own("layered"), "--devices", "sim:0", "--batch", "4,8", "--format", "json")
    assert result.exit_code == 130, result.output
    report = json.loads(result.stdout)
    assert [each["verdict"] for each in report["cells"]] == ["right", "unverified"]
    assert report["exit_code"] == 130
    assert "Interrupted: what was checked until then is told." in result.stderr


@pytest.mark.parametrize("phase", ["eval", "train,eval"])
def test_evaluation_is_checked_too(phase: str, torchlap: Command) -> None:
    words = ("--devices", "sim:0", "--batch", 4, "--phase", phase, "--no-suite", "--format", "json")
    told = json.loads(torchlap("verify", own("layered"), *words).stdout)["cells"]
    assert {each["verdict"] for each in told} == {"right"}


@pytest.mark.models
def test_a_real_model_is_right_on_the_cpu(torchlap: Command) -> None:
    words = ("--devices", "cpu", "--recipe", "fp32,bf16+channels_last", "--no-suite", "--format", "json")
    result = torchlap("verify", "squeezenet1_0", *words)
    assert result.exit_code == 0, result.output
    assert [each["verdict"] for each in json.loads(result.stdout)["cells"]] == ["right", "right"]


@pytest.mark.models
def test_a_compiled_step_is_right_as_a_whole(torchlap: Command) -> None:
    words = ("--devices", "cpu", "--batch", 4, "--recipe", "compile", "--no-suite", "--format", "json")
    (told,) = json.loads(torchlap("verify", own("small"), *words).stdout)["cells"]
    assert (told["verdict"], told["numbers"]["whole"]) == ("right", True)


def environment(fault: str) -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(SIMULATED), "SIMULATED_COST": "0", "SIMULATED_FAULT": fault}


@pytest.mark.parametrize(
    ("fault", "recipe"),
    [
        ("one_percent:aten.convolution_backward.default", "fp32"),
        ("does_nothing_on_transposed:aten.addcdiv_.default", "channels_last"),
    ],
)
def test_the_script_for_a_bug_report_reproduces_the_fault_and_is_silent_without_it(
    fault: str, recipe: str, tmp_path: Path
) -> None:
    script = tmp_path / "bug.py"
    words = ["verify", own("layered"), "--devices", "sim:0", "--batch", "4", "--recipe", recipe, "--no-suite"]
    command = [sys.executable, "-m", "torchlap", *words, "--report-bug", str(script)]
    done = subprocess.run(command, env=environment(fault), capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stderr
    for there, code in ((fault, 1), ("", 0)):
        shown = subprocess.run(
            [sys.executable, script], env=environment(there), capture_output=True, text=True, check=False
        )
        assert shown.returncode == code, shown.stdout + shown.stderr
    again = subprocess.run(command, env=environment(fault), capture_output=True, text=True, check=False)
    assert (again.returncode, "cannot be written (File exists)" in again.stderr) == (4, True)


def test_a_run_verifies_its_accelerators_and_shows_a_wrong_one_as_void(tmp_path: Path) -> None:
    out = tmp_path / "run.jsonl"
    words = ["run", own("layered"), "--devices", "sim:0", "--batch", "4", "--budget", "8s", "--precision-target", "20%"]
    command = [sys.executable, "-m", "torchlap", *words, "--out", str(out)]
    fault = "half_more:aten.convolution_backward.default"
    done = subprocess.run(command, env=environment(fault), capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stderr
    assert "void (TL301)" in done.stdout
    assert figures(load(out))[0].cells[0].numerics is not None


def test_without_verifying_a_run_says_so(torchlap: Command, tmp_path: Path) -> None:
    words = ("--devices", "sim:0", "--batch", 4, "--budget", "8s", "--precision-target", "20%", "--no-verify")
    result = torchlap("run", own("small"), *words, "--out", tmp_path / "run.jsonl")
    assert result.exit_code == 0, result.output
    assert "unverified" in result.stdout
    assert "TL304" in result.stdout


@pytest.mark.parametrize("words", [["--devices", "cuda:7"], ["--batch", "0"], ["--recipe", "fp8"], ["nothing"]])
def test_bad_words_are_told_in_a_sentence(words: list[str], torchlap: Command) -> None:
    result = torchlap("verify", *words)
    assert result.exit_code == 2, result.output
    assert "Traceback" not in result.output
