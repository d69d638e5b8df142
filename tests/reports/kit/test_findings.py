from dataclasses import replace

import pytest

from torchlap.judge.findings import Finding, Severity
from torchlap.reports.kit.findings import brief_in_markdown, by_severity, entries, entry, in_markdown
from torchlap.reports.kit.templates import template
from torchlap.reports.kit.terminal import brief_in_terminal, in_terminal, note_in_terminal, rendered

BUSY = Finding(
    code="TL900",
    severity="warning",
    where="GPU 0",
    evidence="97% busy",
    remedy="Close other programs.",
    title="the GPU is busy",
    why="It computes for others, too.",
    command="nvidia-smi --query-compute-apps=pid,name,used_memory --format=csv",
    source="https://example.com/a_b",
)


def busy(number: int) -> Finding:
    """The same on another GPU."""
    return Finding("TL900", "warning", f"GPU {number}", f"{number}% busy", BUSY.remedy, BUSY.title, BUSY.why)


def test_a_terminal_has_the_finding_in_full_with_the_command_in_one_line() -> None:
    assert (
        "\n" + rendered(in_terminal(entry([BUSY])), 40, color=False)
        == """
TL900 warning: the GPU is busy (GPU 0)
  Observed: 97% busy.
  Why: It computes for others, too.
  Fix: Close other programs.
      nvidia-smi --query-compute-apps=pid,name,used_memory --format=csv
  Source: https://example.com/a_b
"""
    )


def test_markdown_has_the_same_words_in_the_same_order() -> None:
    assert in_markdown(entry([BUSY])) == [
        "**TL900 warning: the GPU is busy (GPU 0)**",
        "",
        "- Observed: 97% busy.",
        "- Why: It computes for others, too.",
        "- Fix: Close other programs.",
        "- `nvidia-smi --query-compute-apps=pid,name,used_memory --format=csv`",
        "- Source: https://example.com/a\\_b",
    ]


def test_a_page_has_the_same_words_in_the_same_order() -> None:
    html = template("kit/findings.html.j2").module.findings(entries([BUSY]))  # type: ignore[attr-defined]
    labels = [label for label, _ in entry([BUSY]).lines]
    places = [
        html.index(text) for text in ("TL900 warning", "97% busy.", BUSY.why, BUSY.remedy, BUSY.command, "Source")
    ]
    assert labels == ["Observed", "Why", "Fix", "Command", "Source"]
    assert places == sorted(places)


def test_findings_of_one_code_become_one_entry_without_repeated_fixes() -> None:
    (shown,) = entries([busy(1), busy(2)])
    assert shown.head == "TL900 warning: the GPU is busy"
    assert shown.observed == ("GPU 1: 1% busy.", "GPU 2: 2% busy.")
    assert shown.fixes == ("Close other programs.",)


def test_in_brief_an_entry_has_three_examples_in_every_format() -> None:
    (shown,) = entries([busy(number) for number in range(1, 6)])
    text = "the GPU is busy: GPU 1: 1% busy; GPU 2: 2% busy; GPU 3: 3% busy; and 2 more. Close other programs."
    assert rendered([brief_in_terminal(shown)], 200, color=False) == f"  TL900 {text}\n"
    assert brief_in_markdown(shown) == f"- **TL900** {text}"
    assert entry([BUSY]).brief == "the GPU is busy: GPU 0: 97% busy. Close other programs."


def test_the_most_severe_come_first_and_others_keep_their_order() -> None:
    severities: tuple[Severity, ...] = ("note", "warning", "error", "note", "error", "warning")
    shown = entries([Finding(f"TL{place}", word, "", "", "") for place, word in enumerate(severities)])
    assert [entry.code for entry in by_severity(shown)] == ["TL2", "TL4", "TL1", "TL5", "TL0", "TL3"]


@pytest.mark.parametrize(
    ("findings", "line"),
    [
        ([BUSY], "the GPU is busy (GPU 0)"),
        ([replace(BUSY, where="")], "the GPU is busy (97% busy)"),
        ([busy(1), busy(2)], "the GPU is busy (2 cases)"),
    ],
)
def test_a_note_is_one_line_that_says_where_or_how_often(findings: list[Finding], line: str) -> None:
    assert rendered([note_in_terminal(entry(findings))], 80, color=False) == f"  TL900 {line}\n"


def test_no_format_shows_untrusted_text_raw() -> None:
    evil = "\x1b[31m\u202e<b>`|"
    shown = entry([Finding("TL900", "note", evil, evil, evil, evil, evil, evil, evil)])
    html = template("kit/findings.html.j2").module.findings([shown])  # type: ignore[attr-defined]
    markdown = "\n".join([*in_markdown(shown), brief_in_markdown(shown)])
    terminal = rendered([*in_terminal(shown), brief_in_terminal(shown), note_in_terminal(shown)], 80, color=False)
    assert not {"\x1b", "\u202e"} & {*html, *markdown, *terminal}
    assert "<b>`" not in html
    assert "<b>" not in "".join(line.replace("\\<b\\>", "") for line in markdown.splitlines() if "`" not in line[:3])
