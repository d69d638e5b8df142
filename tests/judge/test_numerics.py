"""Whether results are right: the verdict and its findings, a run's void figures, the report."""

import json

import pytest
from making import FAULT, cell, plan, prepared, rounds, run
from msgspec.structs import replace
from support import ROOT

from torchlap.judge.measurement import findings as judge_run
from torchlap.judge.measurement import void
from torchlap.judge.numerics import CATALOGUE, CellNumerics, Verification, findings, judge, word
from torchlap.reports import verify as report
from torchlap.schema.events import NumericsChecked
from torchlap.schema.numerics import Numerics, OperatorSuite
from torchlap.schema.workload import Group

RIGHT = Numerics(operators=100, products=10, closest=0.5, seconds=2.0)


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
