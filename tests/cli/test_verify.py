"""torchlap verify, on a simulated accelerator with one fault at a time, and a run that verifies."""

import json
import os
import runpy
import subprocess
import sys
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any

import pytest
from more_faults import FAULTS as MORE_FAULTS
from planted import PLANTED
from support import SIMULATED, Command, known, own
from virtual import Clock
from wrong_numbers import FAULTS, Fault, row

from torchlap import figures, load
from torchlap.schema.numerics import Numerics
from torchlap.schema.workload import Cell

CORRECT = Numerics(operators=100, products=10, closest=0.5, seconds=2.0)
SIM = ("--devices", "sim:0", "--no-suite")
CONVOLUTION = "aten.convolution_backward.default"


def faulty(kind: str, operators: str, model: str) -> str:
    """The name of a model that breaks the simulated accelerator before it is built."""
    words = operators.replace(".", "DOT").replace(",", "AND")
    return own(f"{kind}__{words}__{model}", "faulty.py")


def cells(torchlap: Command, *options: object) -> list[dict[str, Any]]:
    report = json.loads(torchlap("verify", *options, "--format", "json").stdout)
    found: list[dict[str, Any]] = report["cells"]
    return found


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: f"{fault.kind}-{fault.operator.split('.')[1]}")
def test_each_fault_is_found_and_its_operator_is_named(fault: Fault, torchlap: Command) -> None:
    model = faulty(fault.kind, fault.operator, fault.model)
    (cell,) = cells(torchlap, model, *SIM, "--batch", fault.batch, "--recipe", fault.recipe)
    assert cell["verdict"] == "wrong"
    first = cell["numerics"]["faults"][0]
    assert first["operator"].removeprefix("aten.").partition(".")[0] in fault.operator
    assert first["phase"]


@pytest.mark.parametrize("name", PLANTED)
def test_each_planted_fault_is_found_and_its_operator_is_named(name: str, torchlap: Command) -> None:
    (cell,) = cells(torchlap, own(name, "planted.py"), *SIM, "--batch", 16)
    assert cell["verdict"] == "wrong", cell["numerics"]
    first = cell["numerics"]["faults"][0]["operator"]
    if name == "rounded_transfer":
        assert first == "copy to the device"
    else:
        assert first.removeprefix("aten.").partition(".")[0] in ",".join(PLANTED[name].operators)


MISSED_AT_BATCH_4 = {"layer_norm_weight_bfloat16"}
"""Half of one of 64 elements, in bfloat16: within what kernels with 16-bit intermediate values may be off."""


@pytest.mark.parametrize("name", [name for name in MORE_FAULTS if name not in MISSED_AT_BATCH_4])
def test_each_fault_of_a_layer_or_an_optimizer_is_found_and_its_operator_is_named(name: str, torchlap: Command) -> None:
    (cell,) = cells(torchlap, own(name, "more_faults.py"), *SIM, "--batch", 4)
    assert cell["verdict"] == "wrong", cell["numerics"]
    named = {fault["operator"].removeprefix("aten.").partition(".")[0] for fault in cell["numerics"]["faults"]}
    assert any(operator in ",".join(MORE_FAULTS[name].operators) for operator in named), named
    assert all(fault["phase"] for fault in cell["numerics"]["faults"])


@pytest.mark.parametrize("model", ["layered", "layered_bfloat16", "layered_float16"])
@pytest.mark.parametrize("recipe", ["fp32", pytest.param("channels_last", marks=pytest.mark.long)])
def test_an_accelerator_without_a_fault_is_correct(model: str, recipe: str, torchlap: Command) -> None:
    (cell,) = cells(torchlap, own(model), *SIM, "--batch", 16, "--recipe", recipe)
    assert cell["verdict"] == "correct", cell


@pytest.mark.parametrize(
    ("operator", "verdict", "exit_code", "code"),
    [("aten.addmm.default", "inexact", 0, "TL303"), (CONVOLUTION, "wrong", 1, "TL302")],
)
def test_float16_products_as_inexact_as_bfloat16_are_void_if_they_are_most_of_the_flop(
    operator: str, verdict: str, exit_code: int, code: str, torchlap: Command
) -> None:
    model = faulty("bfloat16_inside", operator, "layered_float16")
    result = torchlap("verify", model, *SIM, "--batch", 16, "--format", "json")
    report = json.loads(result.stdout)
    assert (report["cells"][0]["verdict"], result.exit_code) == (verdict, exit_code)
    assert code in [finding["code"] for finding in report["findings"]]


def test_an_interrupted_check_reports_the_results_up_to_then(
    torchlap: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    def numerics(_: object, cells: Sequence[Cell]) -> Generator[tuple[Cell, Numerics]]:
        yield cells[0], CORRECT
        raise KeyboardInterrupt

    monkeypatch.setattr("torchlap.api.numerics.Checks.numerics", numerics)
    result = torchlap("verify", own("layered"), "--devices", "sim:0", "--batch", "4,8", "--format", "json")
    assert result.exit_code == 130, result.output
    report = json.loads(result.stdout)
    assert [cell["verdict"] for cell in report["cells"]] == ["correct", "not checked"]
    assert report["exit_code"] == 130
    assert result.stderr.splitlines()[-1].startswith("Interrupted")


@pytest.mark.parametrize("phase", ["eval", "train,eval"])
def test_evaluation_is_checked_too(phase: str, torchlap: Command) -> None:
    found = cells(torchlap, own("layered"), *SIM, "--batch", 4, "--phase", phase)
    assert [cell["verdict"] for cell in found] == ["correct"] * len(phase.split(","))


def test_a_loader_that_shuffles_is_verified_on_one_batch(torchlap: Command) -> None:
    (cell,) = cells(torchlap, known("shuffled_loader"), "--devices", "cpu", "--batch", 4, "--no-suite")
    assert (cell["verdict"], cell["numerics"]["spread"]) == ("correct", 0.0)


@pytest.mark.parametrize(
    ("fault", "recipe"),
    [(f"one_percent:{CONVOLUTION}", "fp32"), ("does_nothing_on_transposed:aten.addcdiv_.default", "channels_last")],
)
def test_the_script_for_a_bug_report_fails_with_the_fault_and_passes_without_it(
    fault: str, recipe: str, torchlap: Command, clock: Clock, tmp_path: Path
) -> None:
    script = tmp_path / "bug.py"
    kind, operator = fault.split(":")
    words = (faulty(kind, operator, "layered"), *SIM, "--batch", 4, "--recipe", recipe, "--report-bug", script)
    result = torchlap("verify", *words)
    assert result.exit_code == 1, result.output
    assert (ends_well(script, clock, fault), ends_well(script, clock, "")) == (False, True)
    script.write_text("precious = 1\n")
    assert torchlap("verify", *words).exit_code == 4
    assert script.read_text() == "precious = 1\n"


def ends_well(script: Path, clock: Clock, fault: str) -> bool:
    """Whether a script exits with 0, on an accelerator with a fault."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("virtual.FAULT", fault)
        with clock.ticking():
            try:
                runpy.run_path(str(script), run_name="__main__")
            except SystemExit as end:
                return not end.code
    return True


def test_a_run_shows_a_wrong_accelerator_as_void(torchlap: Command, tmp_path: Path) -> None:
    out = tmp_path / "run.jsonl"
    model = faulty("half_more", CONVOLUTION, "layered")
    result = torchlap("run", model, "--devices", "sim:0", "--batch", 4, "--no-why", "--out", out)
    assert result.exit_code == 1, result.output
    assert "void (TL301)" in result.stdout
    assert figures(load(out))[0].cells[0].numerics is not None


@pytest.mark.parametrize("words", [["--devices", "cuda:7"], ["--batch", "0"], ["--recipe", "fp8"], ["nothing"]])
def test_bad_input_is_one_sentence(words: list[str], torchlap: Command) -> None:
    result = torchlap("verify", *words)
    assert result.exit_code == 2, result.output
    assert "Traceback" not in result.output


@pytest.mark.long
def test_the_benchmarks_rows_are_those_of_the_command() -> None:
    verdict, operator, where = row(FAULTS[0])
    assert (verdict, operator, where) == ("wrong", "aten.addcdiv_.default", "optimizer, ")


@pytest.mark.long
@pytest.mark.models
def test_a_real_model_is_correct_on_the_cpu(torchlap_with_processes: Command) -> None:
    options = ("--devices", "cpu", "--recipe", "fp32,bf16+channels_last", "--no-suite")
    found = cells(torchlap_with_processes, "squeezenet1_0", *options)
    assert [cell["verdict"] for cell in found] == ["correct", "correct"]


@pytest.mark.long
@pytest.mark.parametrize("model", [own("small"), known("shuffled_loader")])
def test_a_compiled_step_is_correct_as_a_whole(model: str, torchlap_with_processes: Command) -> None:
    options = ("--devices", "cpu", "--batch", 4, "--recipe", "compile", "--no-suite")
    (cell,) = cells(torchlap_with_processes, model, *options)
    assert (cell["verdict"], cell["numerics"]["whole"]) == ("correct", True)


@pytest.mark.long
def test_the_script_for_a_bug_report_stands_alone(tmp_path: Path) -> None:
    script = tmp_path / "bug.py"
    words = ["verify", own("layered"), *SIM, "--batch", "4", "--report-bug", str(script)]
    environment = os.environ | {"PYTHONPATH": str(SIMULATED), "SIMULATED_COST": "0"}
    broken = environment | {"SIMULATED_FAULT": f"one_percent:{CONVOLUTION}"}
    done = subprocess.run(
        [sys.executable, "-m", "torchlap", *words], env=broken, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1, done.stderr
    for variables, code in ((broken, 1), (environment, 0)):
        shown = subprocess.run([sys.executable, script], env=variables, capture_output=True, text=True, check=False)
        assert shown.returncode == code, shown.stdout + shown.stderr


def test_a_step_whose_first_run_takes_the_whole_budget_is_not_repeated(torchlap: Command, clock: Clock) -> None:
    clock.call_seconds = 10.0
    result = torchlap("verify", own("small"), *SIM, "--batch", 4, "--budget", "5s")
    assert "out of time" in result.stdout
    assert "identical" not in result.stdout
    assert "the second run of the step" in " ".join(result.stdout.split())
    clock.call_seconds = 0.01
    assert "identical" in torchlap("verify", own("small"), *SIM, "--batch", 4, "--budget", "60s").stdout
