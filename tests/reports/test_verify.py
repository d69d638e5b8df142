"""The report of `torchlap verify`."""

import json

from making import FACTS, FAULT, cell
from msgspec.structs import replace
from support import ROOT

from torchlap.judge.numerics import CellNumerics, Verification
from torchlap.reports import verify
from torchlap.schema.numerics import Numerics, OperatorSuite

CORRECT = Numerics(operators=100, products=10, closest=0.5, seconds=2.0)
VERIFICATION = Verification(
    torchlap="0.1.0",
    facts=FACTS,
    cells=(
        CellNumerics(cell("cuda:0"), CORRECT),
        CellNumerics(cell("cuda:0", batch=64), replace(CORRECT, faults=(FAULT,), spread=1e-6, spread_of="loss")),
        CellNumerics(cell("cpu"), replace(CORRECT, reason="the check failed (crash): killed by SIGSEGV")),
    ),
    suites=(OperatorSuite(device="cuda:0", calls=942, faults=(FAULT,), fault_count=5, seconds=6.4),),
)


def test_a_verification_in_100_columns() -> None:
    lines = verify.as_text(VERIFICATION, 100, color=False).splitlines()
    heads, _, first, second, third = (line.split() for line in lines[3:8])
    assert heads == ["cell", "numerics", "operators", "error", "/", "limit", "repeat", "seconds"]
    assert first == ["resnet18,", "batch", "4,", "cuda:0", "correct", "100", "0.50", "identical", "2.0"]
    assert second == ["resnet18,", "batch", "64,", "cuda:0", "wrong", "100", "0.50", "1e-06", "2.0"]
    assert third == ["resnet18,", "batch", "4,", "cpu", "not", "checked"]
    assert "Operator suite on cuda:0: 942 calls, 5 wrong (6.4 s)." in lines
    assert verify.exit_code(VERIFICATION) == 1
    assert verify.exit_code(replace(VERIFICATION, interrupted=True)) == 130
    assert verify.exit_code(replace(VERIFICATION, cells=VERIFICATION.cells[:1], suites=())) == 0


def test_the_json_is_documented_and_the_markdown_is_a_table() -> None:
    report = json.loads(verify.as_json(VERIFICATION))
    documented = (ROOT / "docs" / "verify.md").read_text()
    names = [*report, *report["cells"][0], *report["cells"][0]["numerics"], *report["suites"][0]["faults"][0]]
    assert [name for name in names if f"`{name}`" not in documented] == []
    assert "| resnet18, batch 4, cuda:0 | correct | 100 | 0.50 | identical | 2.0 |" in verify.as_markdown(VERIFICATION)
