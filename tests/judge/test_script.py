"""The rules of the audit, on traces made by hand, and its reports."""

import json
from typing import Any

import pytest
from making import plan, rounds, run
from msgspec.structs import replace

from torchlap.judge.script import CATALOGUE, examine
from torchlap.measuring.ladder import REPAIRS
from torchlap.reports import audit, ladder
from torchlap.schema.ladder import Figure, Ladder, Rung
from torchlap.schema.recipe import Recipe
from torchlap.schema.trace import (
    SCHEMA,
    Copies,
    DeadOutputs,
    Held,
    Line,
    Loader,
    Losses,
    Noticed,
    Place,
    Quotient,
    ScriptRun,
    Shapes,
    Spans,
    Tf32,
    Threads,
    Trace,
)
from torchlap.schema.workload import Cell, Group, Workload

EVIL = "<b>\x1b[31m\u202e|"
AT = Place("train.py", 7)
SPANS = Spans(
    place=Place("train.py", 9),
    start=Place("train.py", 5),
    end=AT,
    devices=("cuda:0",),
    parameters=2_000_000,
    batch=64,
    seconds=(1.0,) * 5,
    count=5,
    steps=50,
    at_seconds=2.0,
    total_seconds=5.0,
    looked_at=5,
    looked_at_seconds=5.0,
    step_seconds=0.1,
    train_seconds=4.5,
)
ON_CPU = replace(SPANS, devices=("cpu",), looked_at=0, looked_at_seconds=0.0)
LOSSES = Losses(place=AT, count=40, values=tuple(2.3 - 0.05 * place for place in range(40)))
HELD = Held(
    made=Place("train.py", 3),
    stepped=AT,
    kind="Adam",
    steps=40,
    parameters=8,
    elements=100,
    without_gradient=0,
    elements_without=0,
)
RATIO = Quotient(place=AT, value=5.19, above=("cpu",), below=("cuda:0",))
COPIES = Copies(place=AT, kind="cuda", count=40, bytes=4000, seconds=0.04)
LOADER = Loader(
    made=Place("train.py", 3),
    read=AT,
    workers=4,
    pinned=False,
    pinned_used=False,
    epochs=2,
    batches=20,
    waited_seconds=0.1,
    started_seconds=0.1,
    alone_seconds=0.2,
    trains_on=("cuda:0",),
)


def trace(**changes: Any) -> Trace:
    """A script against which nothing stands."""
    usual: dict[str, Any] = {
        "schema": SCHEMA,
        "script": "train.py",
        "ending": "finished",
        "seconds": 10.0,
        "tracer_seconds": 0.1,
        "devices": ("cuda:0",),
        "steps": 50,
        "spans": (SPANS,),
        "turns": ("cuda:0",),
        "losses": (LOSSES,),
        "optimizers": (HELD,),
        "copies": (COPIES,),
        "loaders": (LOADER,),
        "threads": Threads(threads=8, cores=8),
    }
    return Trace(**(usual | changes))


def spans(**changes: Any) -> Trace:
    return trace(spans=(replace(SPANS, **changes),))


FAULTY: dict[str, tuple[Trace, str, str]] = {
    "TL401 error": (
        spans(unfinished_seconds=5.0),
        "train.py:7",
        "1 s of work were still to be done at each of 5 reads",
    ),
    "TL401 warning": (
        spans(unwaited=5, unfinished_seconds=1e-4),
        "train.py:7",
        "nothing waits for the device before it",
    ),
    "TL402 warning": (
        spans(values=(Line(AT, 50, 1.0),)),
        "train.py:7",
        "50 values in 50 steps, each after a wait of 20 ms",
    ),
    "TL403 warning": (
        spans(count=2, seconds=(5.0, 4.0), first_step_seconds=2.1, first_span_seconds=5.0, looked_at=2),
        "train.py:5",
        "the first step on cuda:0 took 2.1 s, a usual one 100 ms: 40% of its span",
    ),
    "TL403 note": (
        spans(first_step_seconds=0.6, first_span_seconds=1.0),
        "train.py:5",
        "50% of its span, which is the first of 5",
    ),
    "TL404 warning": (
        spans(inputs=(Line(AT, 50, 2.0),)),
        "train.py:7",
        "40 ms of a step are waits for the next batch: 40%",
    ),
    "TL405 warning": (spans(evaluations=(Line(AT, 10, 4.5),)), "train.py:7", "10 evaluations, about 50% of the work"),
    "TL406 warning": (spans(count=1, seconds=(5.0,), looked_at=1), "train.py:9", "one span of 50 steps on cuda:0"),
    "TL407 warning": (
        trace(spans=(ON_CPU, SPANS), turns=("cpu", "cuda:0"), quotients=(RATIO,)),
        "train.py:7",
        "timed spans: 5 of cpu, then 5 of cuda:0",
    ),
    "TL409 error": (trace(cannot_run=(Noticed(AT, "Net: head"),)), "train.py:7", "Net: head"),
    "TL410 error": (trace(shapes=(Shapes(AT, "a column and a row", 3),)), "train.py:7", "a column and a row, 3 times"),
    "TL411 error": (
        trace(dead_outputs=(DeadOutputs(place=AT, dead=9, outputs=10, parameter="fc.weight", looks=3),)),
        "train.py:7",
        "9 of 10 outputs: the gradient of fc.weight was zero there in each of 3 looks",
    ),
    "TL412 error": (
        trace(optimizers=(replace(HELD, without_gradient=2, elements_without=60, names=("a", "b")),)),
        "train.py:3",
        "2 of 8 parameters (60 of 100 elements) had no gradient, such as a, b",
    ),
    "TL413 warning": (trace(losses=(replace(LOSSES, values=(2.3,) * 40),)), "train.py:7", "2.3 at first, 2.3 after 40"),
    "TL414 error": (trace(losses=(replace(LOSSES, values=(2.3, 2.2, None)),)), "train.py:7", "from step 3 of 40 on"),
    "TL420 warning": (trace(in_eval=(Noticed(AT, "Dropout drops nothing", 40),)), "train.py:7", "in 40 steps"),
    "TL421 error": (trace(accumulated=(Noticed(AT, "gradients were there", 40),)), "train.py:7", "in 40 steps"),
    "TL422 error": (
        trace(optimizers=(replace(HELD, without_gradient=8),), unheld=(Noticed(AT, "8 parameters"),)),
        "train.py:7",
        "Adam of train.py:3 holds 8 parameters, of which none had a gradient in 40 steps",
    ),
    "TL423 warning": (trace(unheld=(Noticed(AT, "8 parameters"),)), "train.py:7", "8 parameters"),
    "TL430 warning": (trace(copies=(replace(COPIES, same=39),)), "train.py:7", "40 copies of one tensor of 100 bytes"),
    "TL431 warning": (trace(copies=(replace(COPIES, unpinned=40),)), "train.py:7", "40 copies to cuda from memory"),
    "TL432 warning": (trace(float64=(Noticed(AT, "an input", 40),)), "train.py:7", "an input in float64, 40 times"),
    "TL433 note": (trace(loaders=(replace(LOADER, pinned=True),)), "train.py:3", "no copy of a batch is non_blocking"),
    "TL434 warning": (
        trace(loaders=(replace(LOADER, waited_seconds=1.0),)),
        "train.py:7",
        "an epoch waits 550 ms for 4 workers (50 ms to start them); without workers its batches take 200 ms",
    ),
    "TL435 warning": (trace(denormals=(Noticed(AT, "gradients"),), denormal_share=0.5), "train.py:7", "up to 50%"),
    "TL436 warning": (
        trace(devices=("cpu",), spans=(ON_CPU,), turns=("cpu",), threads=Threads(threads=1, cores=8, place=AT)),
        "train.py:7",
        "1 thread, 8 cores",
    ),
    "TL437 warning": (
        trace(devices=("cpu", "cuda:0"), tf32=Tf32(matmul=True, convolution=False, place=AT)),
        "train.py:7",
        "matrix products in TF32 on the GPU",
    ),
    "TL440 warning": (trace(fallbacks=(Noticed(AT, "aten::foo will fall back"),)), "train.py:7", "aten::foo"),
    "TL441 warning": (trace(quotients=(replace(RATIO, printed=AT),)), "train.py:7", "5.19 times is shown as 519"),
}

FINE: dict[str, Trace] = {
    "nothing at all": trace(),
    "no spans": trace(spans=(), turns=()),
    "a wait of some microseconds": spans(unfinished_seconds=1e-4),
    "CUDA events": spans(by_events=True, unwaited=5),
    "the CPU, which nobody waits for": trace(spans=(replace(ON_CPU, unwaited=5),)),
    "a value a span": spans(values=(Line(AT, 5, 1.0),)),
    "laps of one step that end with the loss": spans(count=50, steps=50, values=(Line(AT, 50, 1.0),)),
    "a first step like others": spans(first_step_seconds=0.12, first_span_seconds=1.0),
    "a loader that is hardly waited for": spans(inputs=(Line(AT, 50, 0.5),)),
    "devices in turns": trace(spans=(ON_CPU, SPANS), turns=("cpu", "cuda:0", "cpu", "cuda:0"), quotients=(RATIO,)),
    "a share of the time, as a percentage": trace(quotients=(replace(RATIO, printed=AT, of_parts=True),)),
    "one of two losses falls": trace(losses=(LOSSES, replace(LOSSES, values=(0.7,) * 40))),
    "few losses": trace(losses=(replace(LOSSES, count=5, values=(2.3,) * 5),)),
    "a loss below zero that falls": trace(losses=(replace(LOSSES, values=tuple(-1.0 - place for place in range(40))),)),
    "pinned memory that is used": trace(loaders=(replace(LOADER, pinned=True, pinned_used=True),)),
    "TF32 where nothing is compared": trace(tf32=Tf32(matmul=True, convolution=True)),
    "few denormals": trace(denormals=(Noticed(AT, "gradients"),), denormal_share=0.05),
}


@pytest.mark.parametrize("name", FAULTY)
def test_each_fault_is_told_alone_with_its_line_and_figures(name: str) -> None:
    seen, where, evidence = FAULTY[name]
    (told,) = examine(seen)
    assert (f"{told.code} {told.severity}", told.where) == (name, where)
    assert evidence in told.evidence


@pytest.mark.parametrize("name", FINE)
def test_what_is_no_fault_is_not_told(name: str) -> None:
    assert examine(FINE[name]) == ()


def test_every_rule_has_a_trace() -> None:
    assert {name.split()[0] for name in FAULTY} == {rule.code for rule in CATALOGUE}


def test_a_line_is_told_once_of_a_fault_with_three_examples_and_the_worst_comes_first() -> None:
    many = trace(
        shapes=tuple(Shapes(AT, f"shape {place}", 1) for place in range(5)), fallbacks=(Noticed(AT, "aten::foo"),)
    )
    first, second = examine(many)
    assert first.evidence == "shape 0, 1 times; shape 1, 1 times; shape 2, 1 times; and 2 more"
    assert (first.severity, second.severity) == ("error", "warning")


def seen(of: Trace, **changes: Any) -> ScriptRun:
    return replace(ScriptRun(of, of.exit_code), **changes)


def test_the_report_in_80_columns() -> None:
    text = audit.as_text(seen(FAULTY["TL401 error"][0]), 80, color=False)
    assert text.splitlines()[:8] == [
        "train.py: 1 error.",
        "  50 training steps on cuda:0 in 10 s; tracing took 1.0% of it.",
        "  Timed at train.py:9 on cuda:0 (2 million parameters, batch 64): 5 spans of 10",
        "  steps, 100 ms a step, 200 ms with what was still to be done.",
        "",
        "TL401 error: the clock is read while the device still works (train.py:7)",
        "  Seen: 1 s of work were still to be done at each of 5 reads, of 2 s: 50% of the",
        "  work was not timed.",
    ]


@pytest.mark.parametrize(
    ("changes", "code", "sentence"),
    [
        ({}, 0, "nothing stands against what it times"),
        ({"exit_code": 3}, 3, "It ended with exit code 3: what it did until then is told."),
        ({"exit_code": 137, "signal": "SIGKILL"}, 137, "It was ended by SIGKILL"),
        ({"exit_code": 130, "stopped": True}, 0, "It was stopped as asked"),
    ],
)
def test_how_a_script_ended_is_said_and_is_the_exit_code(changes: dict[str, Any], code: int, sentence: str) -> None:
    of = seen(trace(), **changes)
    assert audit.exit_code(of) == code
    assert sentence in audit.as_text(of, 200, color=False)


def test_an_error_is_exit_code_1_whatever_the_script_ended_with() -> None:
    assert audit.exit_code(seen(FAULTY["TL410 error"][0], exit_code=3)) == 1
    assert audit.exit_code(seen(FAULTY["TL404 warning"][0])) == 0


def test_no_format_shows_raw_what_a_script_is_called_or_says() -> None:
    evil = seen(replace(trace(fallbacks=(Noticed(Place(EVIL, 1), EVIL),)), script=EVIL, error=EVIL), exit_code=1)
    texts = [audit.as_text(evil, 80, color=False), audit.as_markdown(evil), audit.as_json(evil, "1.2.3")]
    assert not any(mark in text for text in texts for mark in ("\x1b", "\u202e"))
    assert "<b>" not in texts[1]
    assert json.loads(texts[2])["findings"][0]["code"] == "TL440"


def ladder_seen(devices: tuple[str, ...] = ("cpu", "cuda:0")) -> Ladder:
    """Ratios of 10, then of 20, then torchlap's own."""
    cells = [
        Group(tuple(Cell(Workload("alexnet", batch), Recipe(), device) for device in devices)) for batch in (4, 64)
    ]
    events = [each for place in range(2) for each in rounds([0.1] * 6, [0.005] * 6, group=place)]
    figures = tuple(Figure("alexnet", 4, device, 10.0 if device == "cpu" else 100.0) for device in devices)
    rungs = [Rung("as published", figures), *(Rung(title, figures) for title, _ in REPAIRS)]
    return Ladder(seen(trace()), devices, ("alexnet",), tuple(rungs), run(events, plan(*cells)))


def test_the_ladder_has_a_line_a_repair_and_ends_with_the_answer() -> None:
    text = ladder.as_text(ladder_seen(), 80, color=False)
    lines = text[text.index("The ladder") :].splitlines()
    at = next(place for place, line in enumerate(lines) if "as published" in line)
    told = [title for title in (line[:25].strip() for line in lines[at:]) if title.startswith(("as", "+"))]
    assert told == ["as published", *(f"+ {title}" for title, _ in REPAIRS), "+ repeats, in turns", "+ batch 64"]
    assert lines[at].split()[-3:] == ["10.0", "100", "10.0x"]
    assert "20.0x (20.0 to" in lines[at + 6]
    assert "cuda:0 is 128 times as fast once all is repaired, at batch 64, as that protocol" in " ".join(lines)


def test_the_ladder_of_a_machine_without_an_accelerator_has_no_ratio() -> None:
    text = ladder.as_markdown(ladder_seen(("cpu",)))
    assert "| model | protocol | cpu |" in text
    assert "once all is repaired" not in text
    assert json.loads(ladder.as_json(ladder_seen(), "1.2.3"))["ladder"]["alexnet"][0]["ratio"] == "10.0x"
