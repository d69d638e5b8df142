"""What torchlap upgrade says changed."""

from typing import Any

import pytest
from making import cell, plan, prepared, rounds, run
from msgspec.structs import replace

from torchlap.reports.upgrade import as_markdown, as_text, lines, sentence
from torchlap.schema.arm import Arm
from torchlap.schema.events import Conditions, Event, Run
from torchlap.schema.recipe import Recipe
from torchlap.schema.workload import Group

SECONDS = [0.1, 0.101, 0.099, 0.1, 0.102, 0.098, 0.1, 0.1]
OLD, NEW = Arm("torch 2.13.0"), Arm("torch 2.14.0")


def upgraded(*, device: str = "cpu", slower: float = 1.0, recipe: Recipe | None = None, **new: Any) -> Run:
    """Two releases, the newer of which takes this many times as long a step."""
    cells = tuple(replace(cell(device, recipe=recipe or Recipe()), arm=arm.name) for arm in (OLD, NEW))
    events: list[Event] = [
        prepared(0),
        prepared(1, **new),
        *rounds(SECONDS, [slower * seconds for seconds in reversed(SECONDS)]),
    ]
    return run(events, plan(Group(cells), arms=(OLD, NEW)))


@pytest.mark.parametrize(
    ("measured", "found"),
    [
        (upgraded(), ["the same, 1.00x", "first loss unchanged; first step and warm-up within 1.5x."]),
        (upgraded(slower=1.25), ["cpu: slower, 0.80x (0.77 to 0.83)", "first loss unchanged"]),
        (upgraded(slower=0.5), ["cpu: faster, 2.0"]),
        (upgraded(first_loss=9.0), ["first loss 2.75 vs. 9"]),
        (upgraded(first_step_seconds=2.5, warm_up_seconds=4.5), ["first step 0.25 s vs. 2.5 s; warm-up 1.5 s vs. 4.5"]),
        (upgraded(recipe=Recipe(compile=True), first_step_seconds=9.0), ["fp32+compile:", "compile time 0.25 s vs. 9"]),
        (upgraded(device="cuda:0"), ["resnet18, batch 4, cuda:0: the same", "numerics unchanged (correct)"]),
        (upgraded(parameters=7), ["inconclusive", "not the same workload: 11,689,512 vs. 7 parameters"]),
    ],
)
def test_a_line_says_what_changed(measured: Run, found: list[str]) -> None:
    (line,) = lines(measured)
    assert line.startswith("resnet18, batch 4, ")
    for words in found:
        assert words in line


def test_a_disturbed_run_is_inconclusive_and_says_why() -> None:
    quiet = upgraded(slower=1.25)
    busy = replace(quiet, events=(*quiet.events, Conditions(group=0, seconds=10.0, others_cpu_share=0.5)))
    assert "inconclusive, 0.80" in lines(busy)[0]
    assert "(TL208)" in sentence(busy)


def test_numerics_that_changed_are_named() -> None:
    right = upgraded(device="cuda:0")
    unchecked = replace(
        right, events=tuple(event for event in right.events if getattr(event, "numerics", None) is None)
    )
    assert "numerics unchanged (not checked)" in lines(unchecked)[0]
    half = replace(unchecked, events=(right.events[0], *unchecked.events))
    assert "numerics correct vs. not checked" in lines(half)[0]


def test_a_model_that_failed_is_named_and_the_sentence_has_no_result() -> None:
    nothing = run([], plan(Group(tuple(replace(cell(), arm=arm.name) for arm in (OLD, NEW))), arms=(OLD, NEW)))
    assert "inconclusive (this run: not measured)" in lines(nothing)[0]
    assert sentence(nothing).endswith("no result.")


def test_the_sentence_names_releases_machine_and_ratios() -> None:
    text = sentence(upgraded(slower=1.25))
    assert text.startswith(
        "torch 2.14.0 vs. torch 2.13.0 on NVIDIA H200, Fast Processor 9, 8 cores, Linux 6.8, by torchlap"
    )
    assert "resnet18, batch 4, cpu: slower, 0.80" in text
    shown = as_text(upgraded(), 60, color=False).splitlines()
    assert shown[1] == "What changed"
    assert "To paste: torch 2.14.0 vs. torch 2.13.0 on NVIDIA H200, Fast" in shown
    assert max(map(len, shown)) <= 60
    assert as_markdown(upgraded()).splitlines()[3].startswith("- resnet18, batch 4, cpu: the same")
