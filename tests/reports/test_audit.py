"""The report of `torchlap audit` about a script."""

import json
from typing import Any

import pytest
from judge.traces import AT, spans, trace
from msgspec.structs import replace

from torchlap.reports import audit
from torchlap.schema.trace import Line, Noticed, Place, ScriptRun, Shapes, Trace

EVIL = "<b>\x1b[31m\u202e|"


def ended(recorded: Trace, **changes: Any) -> ScriptRun:
    return replace(ScriptRun(recorded, recorded.exit_code), **changes)


def test_the_report_in_80_columns() -> None:
    text = audit.as_text(ended(spans(unfinished_seconds=5.0)), 80, color=False)
    assert text.splitlines()[:8] == [
        "train.py: 1 error.",
        "  50 training steps on cuda:0 in 10 s; tracing took 1.0% of it.",
        "  Timed at train.py:9 on cuda:0 (2 million parameters, batch 64): 5 spans of 10",
        "  steps, 100 ms per step, 200 ms including pending work.",
        "",
        "TL401 error: the clock is read while the device is still working (train.py:7)",
        "  Observed: 1 s of work was still pending at each of 5 reads: 50% of 2 s was not",
        "  timed.",
    ]


@pytest.mark.parametrize(
    ("changes", "code", "sentence"),
    [
        ({}, 0, "train.py: no timing problems found."),
        ({"exit_code": 3}, 3, "The script ended with exit code 3: the results cover everything up to that point."),
        ({"exit_code": 137, "signal": "SIGKILL"}, 137, "The script was ended by SIGKILL"),
        ({"exit_code": 130, "stopped": True}, 0, "The script was stopped as requested"),
        ({"exit_code": 130, "interrupted": True}, 130, "The script was interrupted"),
    ],
)
def test_the_end_of_a_script_is_a_sentence_and_the_exit_code(changes: dict[str, Any], code: int, sentence: str) -> None:
    run = ended(trace(), **changes)
    assert audit.exit_code(run) == code
    assert sentence in audit.as_text(run, 200, color=False)


def test_an_error_is_exit_code_1_whatever_the_script_returned() -> None:
    assert audit.exit_code(ended(trace(shapes=(Shapes(AT, "a column and a row", 3),)), exit_code=3)) == 1
    assert audit.exit_code(ended(spans(inputs=(Line(AT, 50, 2.0),)))) == 0


def test_no_format_shows_the_name_or_the_messages_of_a_script_raw() -> None:
    evil = ended(replace(trace(fallbacks=(Noticed(Place(EVIL, 1), EVIL),)), script=EVIL, error=EVIL), exit_code=1)
    texts = [audit.as_text(evil, 80, color=False), audit.as_markdown(evil), audit.as_json(evil, "1.2.3")]
    assert not any(mark in text for text in texts for mark in ("\x1b", "\u202e"))
    assert "<b>" not in texts[1]
    assert json.loads(texts[2])["findings"][0]["code"] == "TL440"
