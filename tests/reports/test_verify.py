import json

import pytest
from making import FACTS, FAULT, cell
from msgspec.structs import replace
from support import ROOT

from torchlap.judge.numerics import CellNumerics, Verification, findings
from torchlap.reports.verify import as_json, as_markdown, as_text, exit_code
from torchlap.schema.numerics import Numerics, OperatorSuite

GOOD = Numerics(operators=100, products=10, closest=0.5, seconds=2.0)
BAD = replace(GOOD, faults=(FAULT,), spread=1e-7, spread_of="gradient")
SUITES = (
    OperatorSuite(device="cuda:0", calls=500, faults=(FAULT,), fault_count=1, seconds=12.0, skipped=("a", "b")),
    OperatorSuite(device="mps", calls=0, faults=(), fault_count=0, skipped=("out of time",)),
)
CELLS = (
    CellNumerics(cell("cuda:0"), GOOD),
    CellNumerics(cell("cuda:0", batch=64), BAD),
    CellNumerics(cell("cuda:0", model="vgg16"), Numerics(reason="out of memory")),
    CellNumerics(cell("cuda:0", model="alexnet"), replace(GOOD, whole=True)),
)
CUT_OFF = OperatorSuite(device="mps", calls=9, faults=(), fault_count=0, left_out="out of time; raise --budget")
VERIFICATION = Verification(torchlap="0.1.0", facts=FACTS, cells=CELLS, suites=SUITES)


def test_a_terminal_has_a_row_per_cell_the_suites_and_the_findings() -> None:
    lines = as_text(VERIFICATION, 100, color=False).splitlines()
    assert lines[3:9] == [
        " cell                        numerics      operators  error / limit     repeat  seconds",
        " ──────────────────────────────────────────────────────────────────────────────────────",
        " resnet18, batch 4, cuda:0   correct             100           0.50  identical      2.0",
        " resnet18, batch 64, cuda:0  wrong               100           0.50      1e-07      2.0",
        " vgg16, batch 4, cuda:0      not checked",
        " alexnet, batch 4, cuda:0    correct      whole step           0.50  identical      2.0",
    ]
    assert "Operator suite on cuda:0: 500 calls, 1 wrong, 2 kinds of calls unsupported (12.0 s)." in lines
    assert "Operator suite on mps: not run: out of time." in lines
    assert "Findings" in lines
    for finding in findings(VERIFICATION):
        assert f"  {finding.code} {finding.title}: {finding.where}:" in as_text(VERIFICATION, 1000, color=False)


@pytest.mark.parametrize(
    ("cells", "suites", "interrupted", "code"),
    [
        (CELLS[:1], (), False, 0),
        (CELLS[1:2], (), False, 1),
        (CELLS[2:3], (), False, 1),
        (CELLS[:1], SUITES[:1], False, 1),
        (CELLS[:1], SUITES[1:], False, 1),
        (CELLS[:1], (CUT_OFF,), False, 1),
        (CELLS[:1], (), True, 130),
    ],
)
def test_the_exit_code_is_0_only_if_everything_was_checked_and_is_correct(
    cells: tuple[CellNumerics, ...], suites: tuple[OperatorSuite, ...], interrupted: bool, code: int
) -> None:
    assert exit_code(replace(VERIFICATION, cells=cells, suites=suites, interrupted=interrupted)) == code


def test_a_suite_that_was_cut_off_says_so() -> None:
    text = as_text(replace(VERIFICATION, suites=(CUT_OFF,)), 200, color=False)
    line = "Operator suite on mps: 9 calls, all correct; the rest was left out: out of time; raise --budget (0.0 s)."
    assert line in text.splitlines()


def test_markdown_has_the_same_table_and_words() -> None:
    lines = as_markdown(VERIFICATION).splitlines()
    assert lines[2:5] == [
        "| cell | numerics | operators | error / limit | repeat | seconds |",
        "| --- | --- | ---: | ---: | ---: | ---: |",
        "| resnet18, batch 4, cuda:0 | correct | 100 | 0.50 | identical | 2.0 |",
    ]
    assert [line[:11] for line in lines if line.startswith("- **")] == [
        f"- **{code}**" for code in dict.fromkeys(finding.code for finding in findings(VERIFICATION))
    ]


def test_json_has_a_verdict_and_the_check_of_each_cell_and_is_documented() -> None:
    report = json.loads(as_json(VERIFICATION))
    assert (report["schema"], report["exit_code"]) == (2, 1)
    assert [checked["verdict"] for checked in report["cells"]] == ["correct", "wrong", "not checked", "correct"]
    assert list(report["cells"][0]) == ["model", "batch", "unit", "phase", "recipe", "device", "verdict", "numerics"]
    assert report["cells"][2]["numerics"]["reason"] == "out of memory"
    documented = (ROOT / "docs" / "verify.md").read_text()
    names = [*report, *report["cells"][0], *report["cells"][0]["numerics"]]
    assert [name for name in names if f"`{name}`" not in documented] == []


def test_no_format_shows_untrusted_text_raw() -> None:
    evil = "\x1b[31m\u202e<b>"
    fault = replace(FAULT, operator=evil, module=evil)
    shown = Verification(
        torchlap="0.1.0",
        facts=replace(FACTS, cpu=evil),
        cells=(CellNumerics(cell(evil, model=evil), replace(GOOD, faults=(fault,))),),
        suites=(OperatorSuite(device=evil, calls=0, faults=(), fault_count=0, skipped=(evil,)),),
    )
    for report in (as_text(shown, 80, color=False), as_markdown(shown), as_json(shown)):
        assert not {"\x1b", "\u202e"} & set(report)
    assert "<b>" not in as_markdown(shown).replace("\\<b\\>", "")
