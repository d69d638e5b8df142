import json

import pytest
from making import CPU, CUDA, cell, facts, failure, pair, plan, prepared, rounds, run
from msgspec.structs import replace
from support import ROOT

from torchlap.judge.compare import Compared, compare
from torchlap.reports.compare import as_json, as_markdown, as_text, headline
from torchlap.runs.find import Named
from torchlap.schema.events import Event, Round, Run
from torchlap.schema.machine import Facts
from torchlap.schema.recipe import Recipe
from torchlap.schema.workload import Group, Workload


def at(*speeds: float, machine: Facts | None = None) -> Run:
    """A run of the CPU, then of the accelerator, in items per second at batch 4."""
    laps = [[4 / speed * factor for factor in (1, 1.01, 0.99) * 4] for speed in speeds]
    return run([*(prepared(place) for place in range(len(speeds))), *rounds(*laps)], machine=machine or facts())


def against(before: Run, after: Run) -> Compared:
    return compare([Named("before", before), Named("after", after)])


SLOWER = against(at(10.0, 100.0), at(10.0, 70.0))


def test_the_headline_counts_the_verdicts() -> None:
    assert headline(SLOWER) == "after vs. before: 1 slower, 1 same."
    nothing = compare([Named("a", run([], plan(pair(model="vgg16")))), Named("b", run())])
    assert headline(nothing) == "b vs. a: no cells in common."


def test_a_terminal_has_the_table_and_how_to_read_it() -> None:
    assert (
        "\n" + as_text(SLOWER, 80, color=False)
        == """
after vs. before: 1 slower, 1 same.

after (after) vs. before (before), images/s

 model     batch  device  before  after  ratio                 verdict
 ─────────────────────────────────────────────────────────────────────
 resnet18      4  cpu     10.0    10.0   1.00x (0.97 to 1.03)  same
 resnet18      4  cuda:0  100     70.0   0.70x (0.68 to 0.72)  slower

Ratio: after / before, so 2x is twice as fast. Faster or slower: the whole 95%
interval differs by more than 5%; same: the whole interval is within 5%.
Intervals between separate runs include 3% for normal run-to-run variation.
"""
    )


def counting(unit: str, *models: str, items: int | None = None) -> Run:
    """A run of these models of the user's own, which count this unit."""
    groups = [Group((replace(cell(), workload=Workload(model, 4, unit=unit)),)) for model in models]
    events: list[Event] = []
    for place in range(len(models)):
        events += [prepared(group=place), *rounds([0.1, 0.101, 0.099] * 4, group=place)]
    return run(events, plan(*groups, items=items, unit=unit))


def test_the_figures_carry_their_unit() -> None:
    words = counting("words", "net.py:f")
    assert "(before), words/s" in as_text(against(words, words), 100, color=False)
    text = as_text(against(counting("words", "net.py:f"), counting("pairs", "net.py:f")), 120, color=False)
    assert "(before), items/s" in text
    assert "40.0 words/s" in text
    assert "40.0 pairs/s" in text
    assert "not the same workload: words vs. pairs" in text


def test_another_number_of_items_is_another_workload() -> None:
    def with_items(items: int) -> Run:
        of = counting("words", "net.py:f", items=items)
        laps = [
            replace(event, laps=tuple(replace(lap, items=items) for lap in event.laps))
            if isinstance(event, Round)
            else event
            for event in of.events
        ]
        return replace(of, events=tuple(laps))

    assert "not the same workload: 8 vs. 12 words in a batch" in as_text(
        against(with_items(8), with_items(12)), 100, color=False
    )
    assert "not the same" not in as_text(against(with_items(8), with_items(8)), 100, color=False)


def test_a_narrow_terminal_has_a_list() -> None:
    text = as_text(SLOWER, 40, color=False)
    assert "\n  resnet18, batch 4, cuda:0: 0.70x (0.68\n  to 0.72), slower\n" in text
    assert max(map(len, text.splitlines())) <= 40


def test_differences_reasons_and_cells_without_a_counterpart_are_named() -> None:
    groups = plan(pair(), Group((cell(model="vgg16"),)))
    loaded = plan(Group((cell(recipe=Recipe(workers=2)), cell("cuda:0", recipe=Recipe(workers=2)))))
    laps = rounds([0.4] * 4, [0.04] * 4)
    before, after = run([*laps, failure(1, "hang")], groups), run(laps, loaded, facts(python="3.12.0"))
    text = " ".join(as_text(against(before, after), 1000, color=False).split())
    compared = against(before, after)
    (difference,) = compared.columns[1].differences
    first, hung = compared.changes
    assert f"Differences (after): {difference}." in text
    assert f"Differences (cells): {first.differences[0]}." in text
    assert f"1 inconclusive ({hung.reason})." in text
    assert "Cells without a counterpart: before: vgg16, batch 4, cpu." in text


def test_a_published_run_is_named() -> None:
    published = at(10.0, 100.0)
    published = replace(published, header=replace(published.header, published="A paper."))
    assert "Published, not measured by torchlap (before): A paper." in as_text(
        against(published, at(10.0, 70.0)), 200, color=False
    )


def test_markdown_has_the_same_table() -> None:
    lines = as_markdown(SLOWER).splitlines()
    assert lines[0] == "**after vs. before: 1 slower, 1 same.**"
    assert "| model | batch | device | before | after | ratio | verdict |" in lines
    assert "| --- | ---: | --- | --- | --- | --- | --- |" in lines
    assert (
        "| resnet18 | 4 | cuda:0 | 100.0 (99.5 to 100.5) | 70.0 (69.7 to 70.4) | 0.70x (0.68 to 0.72) | slower |"
        in lines
    )


def test_json_is_complete_and_documented() -> None:
    report = json.loads(as_json(SLOWER, 1))
    assert (report["schema"], report["exit_code"], report["headline"]) == (3, 1, headline(SLOWER))
    assert [change["verdict"] for change in report["changes"]] == ["same", "slower"]
    documented = (ROOT / "docs" / "compare.md").read_text()
    names = [*report, *report["changes"][0], *report["columns"][0]]
    assert [name for name in names if f"`{name}`" not in documented] == []


def test_verdicts_have_colors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert "\x1b[31mslower" in as_text(SLOWER, 80, color=True)


def test_no_format_shows_untrusted_text_raw() -> None:
    evil = "\x1b[31m\u202e<b>"
    odd = facts(cpu=evil, system=evil, devices=(CPU, replace(CUDA, model=evil)))
    shown = compare([Named(evil, at(10.0, 20.0)), Named("b", at(10.0, 20.0, machine=odd))])
    for report in (as_text(shown, 80, color=False), as_markdown(shown), as_json(shown, 0)):
        assert not {"\x1b", "\u202e"} & set(report)
    assert "<b>" not in as_markdown(shown).replace("\\<b\\>", "")
