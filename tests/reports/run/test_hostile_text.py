"""Whatever text is in a run file: no format lets it control a terminal, a spreadsheet, Markdown or a page."""

import csv
import json
import re
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as some
from reports.samples import everywhere, steering, table

from torchlap.reports.run import terminal
from torchlap.reports.run.exports import as_bencher, as_github_action_benchmark, as_pytorch_oss
from torchlap.reports.run.page import as_html
from torchlap.reports.run.plain import CSV_COLUMNS, as_csv, as_json, as_markdown
from torchlap.runs.find import Named

HOSTILE = [
    "\x1b[31mred\x1b[0m",
    "\x1b]0;title\x07",
    "\x9b2J",
    "a\rb",
    "a\nb",
    "a\tb",
    "a\x00b",
    "a\x7fb",
    "\u202egnp.exe",
    "\u2066a\u2069",
    "\u200fa",
    "\u200ba",
    "a\u2028b",
    "a\u2029b",
    "a\x85b",
    "\ud800",
    "\U000e0041",
]


@pytest.mark.parametrize("text", HOSTILE, ids=ascii)
def test_no_text_format_lets_text_control_a_terminal(text: str) -> None:
    hostile, tidy = everywhere(text), everywhere("tidy")
    texts = {
        "narrow": (table(hostile, 30, Path(text)), ""),
        "wide": (table(hostile, 300, Path(text)), table(tidy, 300, Path("tidy"))),
        "bottlenecks": (terminal.report(hostile, None, 300, color=False, why=True), ""),
        "machine": (terminal.machine(hostile, 1000, color=False), terminal.machine(tidy, 1000, color=False)),
        "overview": (terminal.overview([Named(text, hostile)], 1000, color=False), ""),
        "markdown": (as_markdown(hostile, why=True), as_markdown(tidy, why=True)),
        "csv": (as_csv(hostile), as_csv(tidy)),
    }
    for name, (shown, expected) in texts.items():
        assert not steering(shown), name
        assert not expected or shown.count("\n") == expected.count("\n"), name


@settings(max_examples=60, database=None, derandomize=True, deadline=None)
@given(text=some.text(min_size=1, max_size=40))
@example("=1+1")
@example("[bold]a[/bold]")
@example(":smile:")
@example("[link=file:///etc/passwd]a")
def test_no_name_breaks_a_format(text: str) -> None:
    hostile = everywhere(text)
    for shown in (table(hostile, 40, Path("a")), as_markdown(hostile), as_csv(hostile)):
        assert not steering(shown)
    assert {len(line) for line in csv.reader(as_csv(hostile).splitlines())} == {len(CSV_COLUMNS)}
    assert json.loads(as_json(hostile, None))["cells"][0]["device"] == text
    lines = [line for line in as_markdown(hostile).splitlines() if line.startswith("|")]
    assert len({pipes(line) for line in lines}) == 1
    assert len(lines) == 6


def pipes(line: str) -> int:
    """The number of pipes in a line of Markdown that are not escaped."""
    return re.sub(r"\\.", "", line).count("|")


def test_markup_of_rich_is_shown_as_it_is() -> None:
    markup = "[bold]a[red] :smile: `b`"
    text = terminal.report(everywhere(markup), Path(markup), 400, color=False)
    for part in (f"\n {markup} ", f"\n{markup}\n", f"Run file: {markup}\n", f"failed. {markup}.\n"):
        assert part in text


def test_a_name_is_not_interpreted_as_markdown() -> None:
    text = as_markdown(everywhere("a|b<img src=x>`c`[d](e)*f*_g_~h~#i\\"))
    bare = re.sub(r"\\.", "", re.sub(r"\*\*(.*)\*\*", r"\1", text))
    assert not set("<>`[]*_~#\\") & set(bare)
    assert "a\\|b\\<img src=x\\>\\`c\\`\\[d\\](e)\\*f\\*\\_g\\_\\~h\\~\\#i\\\\" in text


@pytest.mark.parametrize(
    "text", ["\x1b[31mred", "a\nb", "a\x00b", "a\x07b", "\x9b2J", "\x7f", "\u202egnp.exe"], ids=ascii
)
def test_json_keeps_the_text_but_escapes_what_controls_a_terminal(text: str) -> None:
    run = everywhere(text)
    shown = as_json(run, None)
    assert not steering(shown + as_bencher(run) + as_github_action_benchmark(run) + as_pytorch_oss(run))
    assert json.loads(shown)["cells"][0]["model"] == text


def test_nothing_in_a_run_file_is_markup_in_the_page() -> None:
    evil = "<script>document.title='run'</script><img src=x onerror=document.title='run'>\x1b[31m\u202e&amp;$x^2$"
    text = as_html([Named(evil, everywhere(evil))], "1.2.3")
    assert "<script>document" not in text
    assert "<img" not in text
    assert not {"\x1b", "\u202e"} & set(text)
    assert text.count("<script>") == 1
