"""Right and wrong numbers: the rule, the check of a cell, the suite, the command, and a run's void figures."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from making import FAULT, cell, plan, prepared, rounds, run
from msgspec.structs import replace
from support import OWN, ROOT, SIMULATED, Command, Shared
from wrong_numbers import FAULTS, Fault, row

from torchlap import figures, load
from torchlap.judge.measurement import findings as judge_run
from torchlap.judge.measurement import void
from torchlap.judge.numerics import CATALOGUE, CellNumerics, Verification, findings, judge, word
from torchlap.processes.start import launcher
from torchlap.reports import verify as report
from torchlap.schema.events import NumericsChecked
from torchlap.schema.messages import CheckSuite, SuiteChecked
from torchlap.schema.numerics import Numerics, OperatorSuite
from torchlap.schema.workload import Group
from torchlap.worker.numerics.tolerance import GROWTH, SINGLE, allowed, allowed_worst

SECONDS = 120.0
RIGHT = Numerics(operators=100, products=10, closest=0.5, seconds=2.0)


def own(function: str) -> str:
    return f"{OWN}:{function}"


@given(st.floats(0, 1), st.integers(1, 10**7), st.sampled_from([0.0, 2.0**-8, 2.0**-11]))
def test_a_right_implementation_is_within_its_own_limits(own_error: float, elements: int, unit: float) -> None:
    assert allowed(own_error, elements, unit) >= own_error
    assert allowed(own_error, elements, unit) >= GROWTH * SINGLE
    assert allowed_worst(own_error, elements, unit) >= allowed(own_error, elements, unit)
    assert allowed(0.0, 10**6) < 2e-4  # a product in TF32 is not within float32's limit


def test_a_hundredth_is_too_much_even_of_bfloat16() -> None:
    rounding = 1.7e-3  # what storing values in bfloat16 costs, relative
    assert allowed(rounding, 10**5, 2.0**-8) < 0.01


@pytest.mark.parametrize(
    ("seen", "said", "codes"),
    [
        (None, "unverified", ["TL304"]),
        (replace(RIGHT, reason="no time"), "unverified", ["TL304"]),
        (RIGHT, "right", []),
        (replace(RIGHT, faults=(FAULT,)), "wrong", ["TL301"]),
        (replace(RIGHT, imprecise=1, faults=(replace(FAULT, kind="imprecise"),)), "inexact", ["TL303"]),
        (replace(RIGHT, imprecise=6, faults=(replace(FAULT, kind="imprecise"),)), "wrong", ["TL302"]),
        (replace(RIGHT, spread=1e-6, spread_of="loss"), "right", ["TL305"]),
        (replace(RIGHT, unchecked=("lstm: no counterpart",)), "right", ["TL306"]),
        (replace(RIGHT, complete=False), "right", ["TL306"]),
    ],
)
def test_a_check_is_a_word_and_its_findings(seen: Numerics | None, said: str, codes: list[str]) -> None:
    assert word(seen) == said
    assert [finding.code for finding in findings(seen, "a cell")] == codes


def test_the_catalogue_is_in_order() -> None:
    codes = [rule.code for rule in CATALOGUE]
    assert codes == sorted(set(codes))
    assert all(rule.why.endswith(".") and rule.remedy.endswith(".") for rule in CATALOGUE)


def test_the_first_fault_forward_and_the_first_backward_are_told() -> None:
    faults = [replace(FAULT, module=f"layer{n}", phase=phase) for phase in ("forward", "backward") for n in range(3)]
    (finding,) = findings(replace(RIGHT, faults=tuple(faults)), "a cell")
    assert finding.evidence.startswith("forward, layer0: aten.convolution_backward.default is off by 1.0e-02")
    assert "; backward, layer0: " in finding.evidence
    assert finding.evidence.endswith("; and 3 more")


def test_a_speed_whose_numbers_are_wrong_is_void() -> None:
    of = plan(Group((cell("cpu"), cell("cuda:0"))))
    wrong = NumericsChecked(group=0, cell=1, numerics=replace(RIGHT, faults=(FAULT,)))
    seen = run([wrong, prepared(0), prepared(1), *rounds([0.1] * 12, [0.02] * 12)], of)
    assert void(judge_run(seen)) == {"resnet18, batch 4, cuda:0": "TL301"}


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


def suite(fault: str, monkeypatch: pytest.MonkeyPatch) -> OperatorSuite:
    monkeypatch.setenv("PYTHONPATH", str(SIMULATED))
    monkeypatch.setenv("SIMULATED_COST", "0")
    monkeypatch.setenv("SIMULATED_FAULT", fault)
    inner = launcher()
    try:
        return Shared(inner).start().ask(CheckSuite(device="sim:0"), SuiteChecked, SECONDS).found
    finally:
        inner.close()


def test_the_suite_finds_a_right_device_right(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = suite("", monkeypatch)
    assert (seen.fault_count, seen.faults) == (0, ())
    assert seen.calls > 800


@pytest.mark.parametrize(
    ("fault", "named"),
    [
        ("half_more:aten.tanh_backward.default", "tanh"),
        ("does_nothing_on_transposed:aten.addcdiv_.default", "Adam"),
        ("all_ones:aten.bernoulli_.float", "bernoulli_"),
        ("half_more_of_sliced:aten.convolution_backward.default", "conv2d, sliced weight"),
        ("stale:aten.cumsum.default", "cumsum"),
    ],
)
def test_the_suite_names_what_is_wrong(fault: str, named: str, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = suite(fault, monkeypatch)
    assert seen.fault_count > 0
    assert any(found.module.startswith(named) for found in seen.faults), seen.faults


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


VERIFICATION = Verification(
    torchlap="0.1.0",
    facts=run().header.facts,
    cells=(
        CellNumerics(cell("cuda:0"), RIGHT),
        CellNumerics(cell("cuda:0", batch=64), replace(RIGHT, faults=(FAULT,), spread=1e-6, spread_of="loss")),
        CellNumerics(cell("cpu"), replace(RIGHT, reason="the check failed (crash): killed by SIGSEGV")),
    ),
    suites=(OperatorSuite(device="cuda:0", calls=942, faults=(FAULT,), fault_count=5, seconds=6.4),),
)


def test_a_verification_in_100_columns() -> None:
    lines = report.as_text(VERIFICATION, 100, color=False).splitlines()
    assert lines[3].split() == ["cell", "numbers", "operators", "error", "/", "limit", "twice", "s"]
    assert lines[5].split() == ["resnet18,", "batch", "4,", "cuda:0", "right", "100", "0.50", "equal", "2.0"]
    assert lines[6].split() == ["resnet18,", "batch", "64,", "cuda:0", "wrong", "100", "0.50", "1e-06", "2.0"]
    assert "Operator suite on cuda:0: 942 calls, 5 wrong (6.4 s)." in lines
    assert report.exit_code(VERIFICATION) == 1
    assert [finding.code for finding in judge(VERIFICATION)] == ["TL301", "TL304", "TL305", "TL307"]


def test_its_json_is_documented_and_its_markdown_is_a_table() -> None:
    told = json.loads(report.as_json(VERIFICATION))
    documented = (ROOT / "docs" / "verify.md").read_text()
    names = [*told, *told["cells"][0], *told["cells"][0]["numbers"], *told["suites"][0]["faults"][0]]
    assert [
        name for name in names if f"`{name}`" not in documented and name not in ("event", "comparison", "cell")
    ] == []
    assert "| resnet18, batch 4, cuda:0 | right | 100 | 0.50 | equal | 2.0 |" in report.as_markdown(VERIFICATION)


@pytest.mark.parametrize("words", [["--devices", "cuda:7"], ["--batch", "0"], ["--recipe", "fp8"], ["nothing"]])
def test_bad_words_are_told_in_a_sentence(words: list[str], torchlap: Command) -> None:
    result = torchlap("verify", *words)
    assert result.exit_code == 2, result.output
    assert "Traceback" not in result.output
