"""The rules about scripts, on traces made by hand."""

import pytest
from judge.traces import AT, COPIES, HELD, LOADER, LOSSES, ON_CPU, RATIO, SPANS, spans, trace
from msgspec.structs import replace

from torchlap.judge.script import CATALOGUE, examine
from torchlap.schema.trace import DeadOutputs, Line, Noticed, Shapes, Tf32, Threads, Trace

FAULTY: dict[str, tuple[Trace, str, str]] = {
    "TL401 error": (
        spans(unfinished_seconds=5.0),
        "train.py:7",
        "1 s of work was still pending at each of 5 reads: 50% of 2 s was not timed",
    ),
    "TL401 warning": (
        spans(unwaited=5, unfinished_seconds=1e-4),
        "train.py:7",
        "nothing synchronizes the device before it; this time, 20 µs of 1 s of work was still pending",
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
        "50% of its span, the first of 5",
    ),
    "TL404 warning": (
        spans(inputs=(Line(AT, 50, 2.0),)),
        "train.py:7",
        "every step waits 40 ms for the next batch: 40% of the timed span",
    ),
    "TL405 warning": (spans(evaluations=(Line(AT, 10, 4.5),)), "train.py:7", "10 evaluations, about 50% of the work"),
    "TL406 warning": (spans(count=1, seconds=(5.0,), looked_at=1), "train.py:9", "one span of 50 steps on cuda:0"),
    "TL407 warning": (
        trace(spans=(ON_CPU, SPANS), turns=("cpu", "cuda:0"), quotients=(RATIO,)),
        "train.py:7",
        "timed spans: 5 on cpu, then 5 on cuda:0",
    ),
    "TL409 error": (trace(cannot_run=(Noticed(AT, "Net: head"),)), "train.py:7", "Net: head"),
    "TL410 error": (trace(shapes=(Shapes(AT, "a column and a row", 3),)), "train.py:7", "a column and a row, 3 times"),
    "TL411 error": (
        trace(dead_outputs=(DeadOutputs(place=AT, dead=9, outputs=10, parameter="fc.weight", looks=3),)),
        "train.py:7",
        "9 of 10 outputs: the gradient of fc.weight was zero there in all 3 checks",
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
        "Adam of train.py:3 holds 8 parameters, none of which had a gradient in 40 steps",
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
    "TL441 warning": (trace(quotients=(replace(RATIO, printed=AT),)), "train.py:7", "5.19x is shown as 519"),
}

MORE_EVIDENCE: dict[str, tuple[Trace, str]] = {
    "TL403": (
        spans(workers_started=(Line(AT, 2, 0.5),)),
        "worker processes were started, 2 x 250 ms: 10% of the timed span",
    ),
    "TL405": (spans(outputs=(Line(AT, 50, 0.5),)), "50 prints, 10% of the timed span"),
    "TL412": (
        trace(optimizers=(replace(HELD, unchanged=True),)),
        "no parameter changed in the steps that were checked, of 40",
    ),
    "TL432": (trace(float64=(Noticed(AT, "an input"), Noticed(AT, "the parameters"))), "an input in float64, once"),
    "TL433": (trace(loaders=(replace(LOADER, pinned=True, trains_on=("cpu",)),)), "training is on the CPU"),
    "TL437": (
        trace(devices=("cpu", "cuda:0"), tf32=Tf32(matmul=False, convolution=True), quotients=(RATIO,)),
        "convolutions in TF32 on the GPU (torch's default for convolutions)",
    ),
}
"""Other evidence for the same codes."""

FINE: dict[str, Trace] = {
    "nothing at all": trace(),
    "no spans": trace(spans=(), turns=()),
    "a few microseconds of pending work": spans(unfinished_seconds=1e-4),
    "CUDA events": spans(by_events=True, unwaited=5),
    "the CPU, which needs no synchronization": trace(spans=(replace(ON_CPU, unwaited=5),)),
    "one value in each span": spans(values=(Line(AT, 5, 1.0),)),
    "laps of one step that end with the loss": spans(count=50, steps=50, values=(Line(AT, 50, 1.0),)),
    "a first step that is not slower": spans(first_step_seconds=0.12, first_span_seconds=1.0),
    "a short wait for the loader": spans(inputs=(Line(AT, 50, 0.5),)),
    "devices that take turns": trace(
        spans=(ON_CPU, SPANS), turns=("cpu", "cuda:0", "cpu", "cuda:0"), quotients=(RATIO,)
    ),
    "a share of the time, as a percentage": trace(quotients=(replace(RATIO, printed=AT, of_parts=True),)),
    "one of two losses decreases": trace(losses=(LOSSES, replace(LOSSES, values=(0.7,) * 40))),
    "few losses": trace(losses=(replace(LOSSES, count=5, values=(2.3,) * 5),)),
    "a negative loss that decreases": trace(
        losses=(replace(LOSSES, values=tuple(-1.0 - place for place in range(40))),)
    ),
    "pinned memory that is used": trace(loaders=(replace(LOADER, pinned=True, pinned_used=True),)),
    "a quick start of the workers": spans(workers_started=(Line(AT, 2, 0.01),)),
    "little printing and evaluation": spans(outputs=(Line(AT, 5, 0.01),), evaluations=(Line(AT, 1, 0.01),)),
    "evaluation in no time": spans(train_seconds=0.0, evaluations=(Line(AT, 1, 0.0),)),
    "a loader that was not tried without workers": trace(loaders=(replace(LOADER, alone_seconds=None),)),
    "TF32 on both of two GPUs": trace(devices=("cuda:0", "cuda:1"), tf32=Tf32(matmul=True, convolution=True)),
    "TF32 without a ratio": trace(devices=("cpu", "cuda:0"), tf32=Tf32(matmul=True, convolution=False)),
    "TF32 without a comparison": trace(tf32=Tf32(matmul=True, convolution=True)),
    "few denormals": trace(denormals=(Noticed(AT, "gradients"),), denormal_share=0.05),
}


@pytest.mark.parametrize("name", FAULTY)
def test_a_fault_has_one_finding_with_its_line_and_figures(name: str) -> None:
    faulty, where, evidence = FAULTY[name]
    (finding,) = examine(faulty)
    assert (f"{finding.code} {finding.severity}", finding.where) == (name, where)
    assert evidence in finding.evidence


@pytest.mark.parametrize("code", MORE_EVIDENCE)
def test_a_code_can_have_other_evidence(code: str) -> None:
    faulty, evidence = MORE_EVIDENCE[code]
    (finding,) = examine(faulty)
    assert (finding.code, finding.evidence) == (code, evidence)


@pytest.mark.parametrize("name", FINE)
def test_a_script_without_a_fault_has_no_finding(name: str) -> None:
    assert examine(FINE[name]) == ()


def test_every_rule_has_a_trace() -> None:
    assert {name.split()[0] for name in FAULTY} == {rule.code for rule in CATALOGUE}


def test_a_line_has_one_finding_of_a_code_with_three_examples_and_the_worst_comes_first() -> None:
    many = trace(
        shapes=tuple(Shapes(AT, f"shape {place}", 1) for place in range(5)), fallbacks=(Noticed(AT, "aten::foo"),)
    )
    first, second = examine(many)
    assert first.evidence == "shape 0, once; shape 1, once; shape 2, once; and 2 more"
    assert (first.severity, second.severity) == ("error", "warning")
