"""The report of a comparison."""

import json

from judge.speeds import at, compared_with
from making import CPU, CUDA, facts
from msgspec.structs import replace
from support import ROOT

from torchlap.judge.compare import compare
from torchlap.reports.compare import as_json, as_markdown, as_text, headline
from torchlap.runs.find import Named


def test_every_format_has_the_verdicts_and_the_json_is_documented() -> None:
    compared = compared_with(at(10.0, 100.0), at(10.0, 70.0))
    assert headline(compared) == "after vs. before: 1 slower, 1 same."
    report = json.loads(as_json(compared, 0))
    documented = (ROOT / "docs" / "compare.md").read_text()
    assert [change["verdict"] for change in report["changes"]] == ["same", "slower"]
    names = [*report, *report["changes"][0], *report["columns"][0]]
    assert [name for name in names if f"`{name}`" not in documented] == []
    assert "| resnet18 | 4 | cuda:0 | 100 | 70.0 | 0.70x (0.68 to 0.72) | slower |" in as_markdown(compared)
    assert max(map(len, as_text(compared, 80, color=False).splitlines())) <= 80
    assert max(map(len, as_text(compared, 40, color=False).splitlines())) <= 40


def test_differences_come_before_the_figures() -> None:
    other = facts(packages={"torch": "2.15.0", "torchvision": "0.28.0"})
    lines = as_text(compared_with(at(10.0, 100.0), at(10.0, 70.0, machine=other)), 100, color=False).splitlines()
    assert lines[:2] == ["after vs. before: 1 slower, 1 same.", "  Differences (after): torch 2.13.0 vs. 2.15.0."]
    (row,) = [line.split() for line in lines if "cuda:0" in line]
    assert row[-7:] == ["100", "70.0", "0.70x", "(0.68", "to", "0.72)", "slower"]


def test_no_name_controls_the_terminal() -> None:
    evil = "\x1b[31m\u202e<b>"
    odd = facts(cpu=evil, system=evil, devices=(CPU, replace(CUDA, model=evil)))
    compared = compare([Named(evil, at(10.0, 20.0)), Named("b", at(10.0, 20.0, machine=odd))])
    for text in (as_text(compared, 80, color=False), as_markdown(compared), as_json(compared, 0)):
        assert not {"\x1b", "\u202e"} & set(text)
    assert "<b>" not in as_markdown(compared).replace("\\<b\\>", "")
