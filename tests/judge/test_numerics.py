"""Whether results are correct: the verdict, its findings, and void results of a run."""

import pytest
from making import FAULT, cell, plan, prepared, rounds, run
from msgspec.structs import replace

from torchlap.judge.measurement import findings as findings_of_run
from torchlap.judge.measurement import void
from torchlap.judge.numerics import CATALOGUE, CellNumerics, Verification, cell_findings, described, findings, verdict
from torchlap.schema.events import NumericsChecked
from torchlap.schema.numerics import Numerics, NumericsFault, OperatorSuite
from torchlap.schema.workload import Group

CORRECT = Numerics(operators=100, products=10, closest=0.5, seconds=2.0)


@pytest.mark.parametrize(
    ("numerics", "expected", "codes"),
    [
        (None, "not checked", ["TL304"]),
        (replace(CORRECT, reason="no time"), "not checked", ["TL304"]),
        (CORRECT, "correct", []),
        (replace(CORRECT, faults=(FAULT,)), "wrong", ["TL301"]),
        (replace(CORRECT, imprecise=1, faults=(replace(FAULT, kind="imprecise"),)), "inexact", ["TL303"]),
        (replace(CORRECT, imprecise=6, faults=(replace(FAULT, kind="imprecise"),)), "wrong", ["TL302"]),
        (replace(CORRECT, spread=1e-6, spread_of="loss"), "correct", ["TL305"]),
        (replace(CORRECT, unchecked=("lstm: no counterpart",)), "correct", ["TL306"]),
        (replace(CORRECT, complete=False), "correct", ["TL306"]),
    ],
)
def test_a_check_has_a_verdict_and_findings(numerics: Numerics | None, expected: str, codes: list[str]) -> None:
    assert verdict(numerics) == expected
    assert [finding.code for finding in cell_findings(numerics, "a cell")] == codes


def test_the_catalogue_is_sorted() -> None:
    codes = [rule.code for rule in CATALOGUE]
    assert codes == sorted(set(codes))
    assert all(rule.why.endswith(".") and rule.remedy.endswith(".") for rule in CATALOGUE)


def test_the_first_fault_of_each_phase_is_named() -> None:
    faults = [replace(FAULT, module=f"layer{n}", phase=phase) for phase in ("forward", "backward") for n in range(3)]
    (finding,) = cell_findings(replace(CORRECT, faults=tuple(faults)), "a cell")
    assert finding.evidence.startswith("forward, layer0: aten.convolution_backward.default is off by 1.0e-02")
    assert "; backward, layer0: " in finding.evidence
    assert finding.evidence.endswith("; and 3 more")


def test_the_speed_of_wrong_results_is_void() -> None:
    planned = plan(Group((cell("cpu"), cell("cuda:0"))))
    wrong = NumericsChecked(group=0, cell=1, numerics=replace(CORRECT, faults=(FAULT,)))
    judged = run([wrong, prepared(0), prepared(1), *rounds([0.1] * 12, [0.02] * 12)], planned)
    assert void(findings_of_run(judged)) == {"resnet18, batch 4, cuda:0": "TL301"}


def test_the_findings_of_a_verification_are_sorted_by_code() -> None:
    verification = Verification(
        torchlap="0.1.0",
        facts=run().header.facts,
        cells=(
            CellNumerics(cell("cuda:0"), CORRECT),
            CellNumerics(cell("cuda:0", batch=64), replace(CORRECT, faults=(FAULT,), spread=1e-6, spread_of="loss")),
            CellNumerics(cell("cpu"), replace(CORRECT, reason="the check failed (crash): killed by SIGSEGV")),
        ),
        suites=(OperatorSuite(device="cuda:0", calls=942, faults=(FAULT,), fault_count=5, seconds=6.4),),
    )
    assert [finding.code for finding in findings(verification)] == ["TL301", "TL304", "TL305", "TL307"]
    assert findings(verification)[-1].evidence.endswith("; 5 in total")
    clean = replace(
        verification, cells=(), suites=(OperatorSuite(device="cuda:0", calls=942, faults=(), fault_count=0),)
    )
    assert findings(clean) == ()


@pytest.mark.parametrize(
    ("fault", "evidence"),
    [
        (FAULT, "is off by 1.0e-02, limit 1.0e-05 (float32[4, 3] contiguous)"),
        (replace(FAULT, kind="not_finite"), "is not finite, but the reference is (float32[4, 3] contiguous)"),
        (replace(FAULT, kind="random", inputs=("p = 0.5", "n = 9")), "is off by 0.01, limit 1e-05 (p = 0.5, n = 9)"),
    ],
)
def test_a_fault_is_described_by_its_kind(fault: NumericsFault, evidence: str) -> None:
    operator = "backward, layer1 (Conv2d): aten.convolution_backward.default"
    assert described(fault) == f"{operator} {evidence}"
    assert described(replace(fault, module="")).startswith("backward: aten")


def test_an_incomplete_check_names_what_it_left_out() -> None:
    numerics = replace(CORRECT, complete=False, unchecked=("lstm: no counterpart", "fft: no counterpart"))
    (finding,) = cell_findings(numerics, "a cell")
    assert finding.evidence == "stopped after 2 s and 100 operators; lstm, fft"
