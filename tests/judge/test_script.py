"""The rules about scripts, on traces made by hand."""

import pytest
from judge.traces import (
    AT,
    COMPILED,
    COPIES,
    DENORMAL,
    FORMATS,
    GROWING,
    HELD,
    LOADER,
    LOSSES,
    ON_CPU,
    ON_THE_CPU,
    RATIO,
    SCATTERED,
    SEARCHED,
    SPANS,
    spans,
    trace,
)
from msgspec.structs import replace

from torchlap.judge.script import CATALOGUE, examine
from torchlap.schema.trace import (
    Compiled,
    DeadOutputs,
    Line,
    Memory,
    Noticed,
    Place,
    Scaled,
    Shapes,
    Slow,
    Tf32,
    Threads,
    Trace,
)

FAULTY: dict[str, tuple[Trace, str, str]] = {
    "TL401 error": (
        spans(unfinished_seconds=5.0),
        "train.py:7",
        "1 s of work was still pending at each of 5 reads: 50% of 2 s was not timed",
    ),
    "TL401 warning": (
        spans(unwaited=5, unfinished_seconds=1e-4),
        "train.py:7",
        "nothing synchronizes the device before this read; in this run, 20 µs of 1 s of work was still pending",
    ),
    "TL402 warning": (
        spans(values=(Line(AT, 50, 1.0),)),
        "train.py:7",
        "50 values were read in 50 steps, each after a wait of 20 ms",
    ),
    "TL403 warning": (
        spans(count=2, seconds=(5.0, 4.0), first_step_seconds=2.1, first_span_seconds=5.0, looked_at=2),
        "train.py:5",
        "the first step on cuda:0 took 2.1 s, a typical step 100 ms: the difference is 40% of its span",
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
    "TL405 warning": (
        spans(evaluations=(Line(AT, 10, 4.5),), evaluated=5),
        "train.py:7",
        "10 evaluations in 5 spans, about 50% of the work",
    ),
    "TL406 warning": (spans(count=1, seconds=(5.0,), looked_at=1), "train.py:9", "one span of 50 steps on cuda:0"),
    "TL407 warning": (
        trace(spans=(ON_CPU, SPANS), turns=("cpu", "cuda:0"), quotients=(RATIO,)),
        "train.py:7",
        "timed spans: 5 on cpu, then 5 on cuda:0",
    ),
    "TL408 error": (
        trace(devices=("cpu",), spans=(replace(ON_CPU, clock="process_time"),), turns=("cpu",)),
        "train.py:7",
        "time.process_time() timed 5 spans of training steps in a process with 8 compute threads",
    ),
    "TL409 error": (trace(cannot_run=(Noticed(AT, "Net: head"),), ending="raised"), "train.py:7", "Net: head"),
    "TL409 note": (trace(cannot_run=(Noticed(AT, "Net: head"),)), "train.py:7", "Net: head"),
    "TL410 error": (trace(shapes=(Shapes(AT, "a column and a row", 3),)), "train.py:7", "a column and a row, 3 times"),
    "TL411 error": (
        trace(dead_outputs=(DeadOutputs(place=AT, dead=9, outputs=10, parameter="fc.weight", looks=3),)),
        "train.py:7",
        "the gradient of fc.weight was zero for 9 of 10 outputs in all 3 checks",
    ),
    "TL412 error": (
        trace(optimizers=(replace(HELD, without_gradient=2, elements_without=60, names=("a", "b")),)),
        "train.py:3",
        "2 of 8 parameters (60 of 100 elements) had no gradient in 40 steps, such as a, b",
    ),
    "TL412 note": (
        trace(optimizers=(replace(HELD, without_gradient=2, elements_without=6, names=("pooler",)),)),
        "train.py:3",
        "2 of 8 parameters (6 of 100 elements) had no gradient in 40 steps, such as pooler",
    ),
    "TL413 warning": (
        trace(losses=(replace(LOSSES, count=80, values=(2.3,) * 80, classes=10),)),
        "train.py:7",
        "2.3 at first, 2.3 after 80 steps; guessing among 10 classes gives 2.303",
    ),
    "TL414 error": (
        trace(losses=(replace(LOSSES, values=(2.3, 2.2, None)),)),
        "train.py:7",
        "NaN or infinite from step 3 of 40",
    ),
    "TL415 warning": (
        trace(memory=Memory(samples=GROWING, kept=(AT,))),
        "train.py:7",
        "1 MiB per step were never freed, 36 MiB in 36 steps; this line keeps a loss together with its graph",
    ),
    "TL416 warning": (
        spans(count=11, seconds=(1.0, *[1.0] * 5, *[2.0] * 5), steps=110, total_seconds=16.0),
        "train.py:9",
        "the median is 1 s in the first half of 11 spans and 2 s in the second, a factor of 2",
    ),
    "TL445 warning": (
        trace(searched=(SEARCHED,)),
        "train.py:3",
        "24 input shapes in 24 calls, such as (4, 3, 12, 12), (4, 3, 13, 13)",
    ),
    "TL445 note": (
        trace(searched=(SEARCHED,), **ON_THE_CPU),
        "train.py:3",
        "training is on cpu here, where this has no effect",
    ),
    "TL446 warning": (
        trace(formats=(FORMATS,)),
        "train.py:7",
        "3 of 4 convolutions after the first received contiguous tensors, in each of 3 checks",
    ),
    "TL447 warning": (
        trace(slow=(Slow(place=AT, operator="exp", factor=47.0, words="9 of 9 sampled inputs are denormal", count=3),)),
        "train.py:7",
        "exp takes up to 47 times as long for these values as for values between 0.5 and 1, in 3 checked calls: 9 of 9",
    ),
    "TL448 warning": (
        trace(threads=Threads(threads=32, cores=4, cpus=8, place=AT), **ON_THE_CPU),
        "train.py:7",
        "32 compute threads, but 8 CPUs",
    ),
    "TL449 warning": (
        spans(count=2, seconds=(2.5, 2.5), steps=40, setup_seconds=1.0, looked_at=2),
        "train.py:5",
        "the first forward pass of each of 2 spans, on average, starts 500 ms after the clock is read, and a typical",
    ),
    "TL449 note": (
        spans(setup_seconds=2.0, robust=True),
        "train.py:5",
        "the first forward pass of each of 5 spans, on average, starts 400 ms after",
    ),
    "TL450 warning": (
        spans(**SCATTERED, others=(0.0, *(1.5, 0.0, 0.0, 0.5) * 5)),
        "train.py:9",
        "(2 s instead of 1 s); other processes used 1.5 CPUs during them, 0.2 during the rest",
    ),
    "TL451 warning": (
        trace(hidden=(Noticed(Place("random.py", 1), "Python's module random"),)),
        "random.py:1",
        "random.py hides Python's module random",
    ),
    "TL420 warning": (trace(in_eval=(Noticed(AT, "Dropout drops nothing", 40),)), "train.py:7", "in 40 steps"),
    "TL421 error": (trace(accumulated=(Noticed(AT, "gradients were there", 40),)), "train.py:7", "in 40 steps"),
    "TL422 error": (
        trace(optimizers=(replace(HELD, without_gradient=8),), unheld=(Noticed(AT, "8 parameters"),)),
        "train.py:7",
        "Adam (created at train.py:3) holds 8 parameters, none of which had a gradient in 40 steps",
    ),
    "TL423 warning": (trace(unheld=(Noticed(AT, "8 parameters"),)), "train.py:7", "8 parameters"),
    "TL430 warning": (trace(copies=(replace(COPIES, same=39),)), "train.py:7", "40 copies of one tensor of 100 bytes"),
    "TL431 warning": (trace(copies=(replace(COPIES, unpinned=40),)), "train.py:7", "40 copies to cuda from memory"),
    "TL432 warning": (trace(float64=(Noticed(AT, "an input", 40),)), "train.py:7", "an input in float64, 40 times"),
    "TL433 note": (trace(loaders=(replace(LOADER, pinned=True),)), "train.py:3", "no copy of a batch is non_blocking"),
    "TL434 warning": (
        trace(loaders=(replace(LOADER, first_seconds=0.9),)),
        "train.py:7",
        "each epoch spends 50 ms on starting 4 workers and 450 ms on waiting for the first batch: 50% of its 1 s",
    ),
    "TL435 warning": (
        trace(denormals=(DENORMAL,)),
        "train.py:7",
        "up to 50% of the nonzero gradients are denormal, from step 40 on",
    ),
    "TL436 warning": (
        trace(devices=("cpu",), spans=(ON_CPU,), turns=("cpu",), threads=Threads(threads=1, cores=8, place=AT)),
        "train.py:7",
        "torch uses 1 thread on 8 cores",
    ),
    "TL437 warning": (
        trace(devices=("cpu", "cuda:0"), tf32=Tf32(matmul=True, convolution=False, place=AT)),
        "train.py:7",
        "matrix products in TF32 on the GPU",
    ),
    "TL440 warning": (trace(fallbacks=(Noticed(AT, "aten::foo will fall back"),)), "train.py:7", "aten::foo"),
    "TL441 warning": (
        trace(quotients=(replace(RATIO, printed=AT),)),
        "train.py:7",
        "the ratio of two times, computed at train.py:7, is multiplied by 100 before it is shown",
    ),
    "TL442 warning": (
        trace(softmax_twice=(Noticed(AT, "the loss was given outputs of a softmax", 9),)),
        "train.py:7",
        "9 checked steps",
    ),
    "TL443 warning": (
        spans(compiled=8, compile_seconds=4.0),
        "train.py:5",
        "8 compilations in 5 spans, 80% of their time",
    ),
    "TL452 warning": (
        trace(compiled=(COMPILED,), graph_breaks=3, breaks=(Noticed(AT, "", 2), Noticed(Place("train.py", 9), "", 1))),
        "train.py:7",
        "2 graph breaks, at train.py:7, train.py:9",
    ),
    "TL452 note": (
        trace(compiled=(COMPILED,), graph_breaks=3, spans=()),
        "train.py:3",
        "torch.compile counted 3 graph breaks",
    ),
    "TL414 note": (
        trace(losses=(replace(LOSSES, values=(2.3, None, *LOSSES.values)),)),
        "train.py:7",
        "NaN or infinite in step 2 of 40, and finite at the end",
    ),
    "TL432 note": (
        trace(float64=(Noticed(AT, "an input", 9),), float64_default=True),
        "train.py:7",
        "an input in float64, 9 times",
    ),
    "TL444 warning": (
        trace(autocasts=(Noticed(AT, "mps", 9),)),
        "train.py:7",
        'autocast("mps") was requested, but training is on cuda',
    ),
    "TL444 error": (
        trace(scaled=(Scaled(place=AT, steps=9, skipped=9),)),
        "train.py:7",
        "the GradScaler skipped all 9 optimizer steps",
    ),
}

MORE_EVIDENCE: dict[str, tuple[Trace, str]] = {
    "TL416 growing": (
        spans(count=31, seconds=(1.0, *(1.0 + 0.1 * place for place in range(30))), steps=310, total_seconds=77.0),
        (
            "the time grows from span to span: the median is 1.45 s in the first third of 31 spans and 3.45 s in the "
            "last"
        ),
    ),
    "TL416": (
        spans(
            count=11,
            seconds=(1.0, *[1.0] * 5, *[2.0] * 5),
            steps=110,
            total_seconds=16.0,
            others=(0.0, *[0.2] * 5, *[1.8] * 5),
        ),
        (
            "the median is 1 s in the first half of 11 spans and 2 s in the second, a factor of 2; other processes "
            "used 0.2 CPUs in the first half and 1.8 in the second"
        ),
    ),
    "TL448": (
        trace(threads=Threads(threads=8, cores=8, cpus=8), children_seconds=30.0, **ON_THE_CPU),
        "8 compute threads and 4 loader workers, which used 3.0 CPUs on average, but 8 CPUs",
    ),
    "TL403": (
        spans(workers_started=(Line(AT, 2, 0.5),)),
        "worker processes were started 2 times, 250 ms each: 10% of the timed span",
    ),
    "TL401": (
        trace(parts=(replace(SPANS, steps=0, unfinished_seconds=5.0),)),
        "1 s of work was still pending at each of 5 reads: 50% of 2 s was not timed",
    ),
    "TL415": (
        trace(memory=Memory(samples=tuple((step, 8 * size) for step, size in GROWING))),
        "8 MiB per step were never freed, 288 MiB in 36 steps",
    ),
    "TL443": (
        trace(compiled=(Compiled(place=AT, count=8, seconds=2.0, limit=8),)),
        "compiled 8 times, in 2 s, which is the limit: it now runs uncompiled",
    ),
    "TL412": (
        trace(optimizers=(replace(HELD, unchanged=True),)),
        "no parameter changed in any of the checked steps (40 steps in total)",
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
    "one evaluation in many spans": spans(evaluations=(Line(AT, 10, 4.5),), evaluated=1),
    "a loss that is no cross entropy": trace(losses=(replace(LOSSES, count=900, values=(2.3,) * 90),)),
    "a cross entropy after few steps": trace(losses=(replace(LOSSES, count=60, values=(2.3,) * 60, classes=10),)),
    "a cross entropy that is low": trace(losses=(replace(LOSSES, count=900, values=(0.1,) * 90, classes=10),)),
    "a large vocabulary": trace(losses=(replace(LOSSES, count=900, values=(10.8,) * 90, classes=50_000),)),
    "outputs that were checked twice": trace(
        dead_outputs=(DeadOutputs(place=AT, dead=9, outputs=10, parameter="fc.weight", looks=2),)
    ),
    "memory that grows and is freed": trace(
        memory=Memory(samples=tuple((step, (step % 9) * (9 << 20)) for step in range(40)))
    ),
    "an allocator that reserves more": trace(memory=Memory(samples=GROWING)),
    "spans that scatter": spans(count=11, seconds=(1.0, 2.0) * 5, steps=110, total_seconds=16.0),
    "a warm-up that the script leaves out": spans(conditional=True, first_step_seconds=0.6, first_span_seconds=1.0),
    "persistent workers": trace(loaders=(replace(LOADER, first_seconds=0.9, persistent=True),)),
    "autocast for both kinds": trace(autocasts=(Noticed(AT, "mps", 9), Noticed(AT, "cuda", 9))),
    "a scaler that skips one step": trace(scaled=(Scaled(place=AT, steps=9, skipped=1),)),
    "memory pinned by a script that can also use a GPU": trace(
        portable=True, loaders=(replace(LOADER, pinned=True, trains_on=("cpu",)),)
    ),
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
    "little evaluation": spans(evaluations=(Line(AT, 1, 0.01),), evaluated=5),
    "evaluation in no time": spans(train_seconds=0.0, evaluations=(Line(AT, 1, 0.0),), evaluated=5),
    "a loader that was read once": trace(loaders=(replace(LOADER, first_seconds=0.9, epochs=1),)),
    "TF32 on both of two GPUs": trace(devices=("cuda:0", "cuda:1"), tf32=Tf32(matmul=True, convolution=True)),
    "TF32 without a ratio": trace(devices=("cpu", "cuda:0"), tf32=Tf32(matmul=True, convolution=False)),
    "TF32 without a comparison": trace(tf32=Tf32(matmul=True, convolution=True)),
    "few denormals": trace(denormals=(replace(DENORMAL, share=0.05),)),
    "a few image sizes that return": trace(searched=(replace(SEARCHED, shapes=3, rare=0),)),
    "many image sizes that return": trace(searched=(replace(SEARCHED, rare=1),)),
    "one layer that changes the format": trace(formats=(replace(FORMATS, converted=1),)),
    "busy workers where there are CPUs for them": trace(
        **ON_THE_CPU, threads=Threads(threads=5, cores=8, cpus=8), children_seconds=30.0
    ),
    "workers for which the training waits": trace(
        **ON_THE_CPU,
        threads=Threads(threads=8, cores=8, cpus=8),
        loaders=(replace(LOADER, waited_seconds=8.0),),
        children_seconds=30.0,
    ),
    "threads on a GPU's host": trace(threads=Threads(threads=64, cores=8, cpus=8)),
    "setup in little time": spans(setup_seconds=0.1),
    "setup as long as a step": spans(setup_seconds=0.9),
    "other processes all the time": spans(**SCATTERED, others=(1.0,) * 21),
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
    assert (finding.code, finding.evidence) == (code.partition(" ")[0], evidence)


def test_of_findings_at_one_line_the_worst_is_shown() -> None:
    alike = replace(SPANS, looked_at=0, unwaited=5)
    (finding,) = examine(trace(spans=(replace(SPANS, unfinished_seconds=5.0), alike)))
    assert (finding.code, finding.severity) == ("TL401", "error")


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
    assert first.evidence == "shape 0; shape 1; shape 2; and 2 more"
    assert (first.severity, second.severity) == ("error", "warning")
