import json
from typing import Any

import pytest
from judge.traces import AT, LOSSES, SPANS, trace
from msgspec.structs import replace
from reports.samples import script_run

from torchlap.judge.script import examine
from torchlap.reports.audit import as_json, as_markdown, as_text, exit_code
from torchlap.schema.trace import Memory, Noticed, Place, Shapes

PARTIAL = "the results cover everything up to that point."
UNWAITED = replace(SPANS, unwaited=5, unfinished_seconds=5.0)
"""The clock is read while the device has as much to do as was timed."""


def text_of(**changes: Any) -> str:
    return as_text(script_run(trace(), **changes), 200, color=False)


def test_the_report_in_80_columns() -> None:
    shown = script_run(trace(spans=(UNWAITED,)))
    (finding,) = examine(shown.trace)
    lines = as_text(shown, 80, color=False).splitlines()
    assert lines[:6] == [
        "train.py: 1 error.",
        "  50 training steps on cuda:0 in 10 s; tracing took 1.0% of it.",
        "  Timed at train.py:9 on cuda:0 (2 million parameters, batch 64): 5 spans of 10",
        "  steps, 100 ms per step, 200 ms including pending work.",
        "",
        f"{finding.code} error: {finding.title} (train.py:7)",
    ]
    assert lines[6].startswith("  Observed: ")


@pytest.mark.parametrize(
    ("changes", "code", "sentence"),
    [
        ({}, 0, "train.py: no timing problems found."),
        ({"exit_code": 3}, 3, f"The script ended with exit code 3: {PARTIAL}"),
        ({"exit_code": 137, "signal": "SIGKILL"}, 137, "The script was ended by SIGKILL: the results may be missing"),
        ({"exit_code": 130, "interrupted": True}, 130, f"The script was interrupted: {PARTIAL}"),
        ({"exit_code": 130, "stopped": True}, 0, f"The script was stopped as requested: {PARTIAL}"),
    ],
)
def test_the_report_says_how_the_script_ended(changes: dict[str, Any], code: int, sentence: str) -> None:
    assert exit_code(script_run(trace(), **changes)) == code
    assert sentence in text_of(**changes)


def test_an_error_is_exit_code_1_however_the_script_ended() -> None:
    wrong = trace(shapes=(Shapes(AT, "a shape", 1),))
    assert exit_code(script_run(wrong, exit_code=3)) == 1
    assert exit_code(script_run(trace(fallbacks=(Noticed(AT, "aten::foo"),)))) == 0


@pytest.mark.parametrize(
    ("waited_seconds", "text"),
    [
        (0.0, "tracing took 1.0% of it."),
        (0.05, "tracing took 1.0% of it."),
        (0.5, "tracing took 1.0% of it, waiting for the device at clock reads took 5.0% (500 ms)."),
    ],
)
def test_the_wait_at_clock_reads_is_mentioned_if_it_is_a_share_of_the_script(waited_seconds: float, text: str) -> None:
    waited = script_run(trace(looked_seconds=waited_seconds))
    assert as_text(waited, 200, color=False).splitlines()[1].endswith(text)


def test_nothing_audited_has_its_reason_and_an_exit_code_of_its_own() -> None:
    nothing: dict[str, Any] = {"steps": 0, "spans": (), "losses": (), "optimizers": (), "loaders": ()}
    idle = script_run(trace(**nothing))
    assert exit_code(idle) == 5
    assert "nothing was audited: no backward pass" in as_text(idle, 200, color=False).splitlines()[0]
    failed = script_run(trace(**nothing, ending="raised", error="ValueError: /home/me"), exit_code=1)
    assert exit_code(failed) == 5
    assert "failed before its first training step (ValueError)" in as_text(failed, 200, color=False).splitlines()[0]
    children = script_run(trace(**nothing, children_seconds=9.0))
    assert "child processes are not watched" in as_text(children, 200, color=False).splitlines()[0]


def test_what_is_not_watched_is_named() -> None:
    shown = script_run(trace(unwatched=(Noticed(AT, "tqdm's rates"),)))
    assert "Not watched: tqdm's rates (train.py:7)." in as_text(shown, 200, color=False)


def test_a_fix_is_a_diff_of_the_scripts_own_lines() -> None:
    lines = {"train.py:5": "    start = clock()", "train.py:7": "    end = clock()"}
    text = as_text(script_run(trace(spans=(UNWAITED,), lines=lines)), 200, color=False)
    assert "+ torch.accelerator.synchronize()\n        end = clock()" in text
    kept = Memory(samples=tuple((step, step << 20) for step in range(42)), kept=(AT,))
    shown = script_run(trace(memory=kept, lines={"train.py:7": "        total += loss"}))
    assert "- total += loss\n      + total += loss.detach()" in as_text(shown, 200, color=False)
    assert "```diff\n- total += loss\n+ total += loss.detach()\n```" in as_markdown(shown)


def test_the_sixth_finding_and_those_after_it_take_a_line() -> None:
    many = trace(fallbacks=tuple(Noticed(Place("train.py", line), "aten::foo") for line in range(1, 8)))
    text = as_text(script_run(many), 200, color=False)
    assert text.count("Observed: ") == 5
    assert "2 more findings (in full with --format json):" in text
    assert "<details><summary>2 more</summary>" in as_markdown(script_run(many))


def test_limits_of_the_audit_are_mentioned() -> None:
    shown = script_run(trace(spans=(), losses=(LOSSES,), truncated=True))
    text = as_text(shown, 300, color=False)
    assert "No clock reads around training steps were found" in text
    assert "The script did more than the audit records" in text
    many = script_run(trace(spans=(SPANS,) * 8))
    assert "2 more kinds of timed spans are not listed." in as_text(many, 300, color=False)


def test_markdown_and_json_have_the_findings() -> None:
    shown = script_run(trace(spans=(UNWAITED,)))
    (finding,) = examine(shown.trace)
    lines = as_markdown(shown).splitlines()
    assert lines[0] == "**train.py: 1 error.**"
    assert f"**{finding.code} error: {finding.title} (train.py:7)**" in lines
    report = json.loads(as_json(shown, "1.2.3"))
    assert (report["torchlap"], report["exit_code"]) == ("1.2.3", 1)
    assert [found["code"] for found in report["findings"]] == [finding.code]
    assert report["run"]["trace"]["script"] == "train.py"


def test_no_format_shows_untrusted_text_raw() -> None:
    evil = "<b>\x1b[31m\u202e|"
    named = replace(trace(fallbacks=(Noticed(Place(evil, 1), evil),)), script=evil, error=evil)
    shown = script_run(named, exit_code=1)
    texts = [as_text(shown, 80, color=False), as_markdown(shown), as_json(shown, "1.2.3")]
    assert not any(mark in text for text in texts for mark in ("\x1b", "\u202e"))
    assert "<b>" not in texts[1].replace("\\<b\\>", "")
