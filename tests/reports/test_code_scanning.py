"""Findings about a script for code review."""

import json

from judge.traces import AT, trace
from reports.samples import script_run

from torchlap.reports.code_scanning import as_annotations, as_sarif
from torchlap.schema.trace import Noticed, Place, Shapes

WRONG = trace(shapes=(Shapes(AT, "a column, and a row", 1),), fallbacks=(Noticed(AT, "aten::foo"),))


def test_sarif_names_rules_levels_and_lines() -> None:
    log = json.loads(as_sarif(script_run(WRONG), "1.2.3", "examples"))
    (run,) = log["runs"]
    assert log["version"] == "2.1.0"
    assert run["tool"]["driver"]["version"] == "1.2.3"
    assert [rule["id"] for rule in run["tool"]["driver"]["rules"]] == ["TL410", "TL440"]
    assert [(result["ruleId"], result["level"]) for result in run["results"]] == [
        ("TL410", "error"),
        ("TL440", "warning"),
    ]
    location = run["results"][0]["locations"][0]["physicalLocation"]
    assert location == {"artifactLocation": {"uri": "examples/train.py"}, "region": {"startLine": 7}}
    assert run["invocations"][0]["executionSuccessful"]


def test_sarif_says_that_nothing_was_audited() -> None:
    log = json.loads(as_sarif(script_run(trace(steps=0, spans=(), losses=(), optimizers=())), "1.2.3"))
    (invocation,) = log["runs"][0]["invocations"]
    assert not invocation["executionSuccessful"]
    assert "Nothing was audited" in invocation["toolExecutionNotifications"][0]["message"]["text"]


def test_annotations_have_a_line_each_and_escape_what_would_end_it() -> None:
    lines = as_annotations(script_run(WRONG)).splitlines()
    assert lines[0].startswith("::error file=train.py,line=7,title=TL410 the loss does not compute what was intended::")
    assert lines[1].startswith("::warning file=train.py,line=7,title=TL440 ")
    evil = trace(fallbacks=(Noticed(Place("a,b:c.py", 1), "50%\n::error::"),))
    (line,) = as_annotations(script_run(evil)).splitlines()
    assert line.startswith("::warning file=a%2Cb%3Ac.py,line=1,")
    assert "50%25" in line
