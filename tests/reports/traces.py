"""Traces of scripts for the tests of the audit's reports."""

from typing import Any

from msgspec.structs import replace

from torchlap.schema.trace import SCHEMA, Losses, Place, ScriptRun, Spans, Trace

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
"""Five spans of ten steps, honestly timed."""

LOSSES = Losses(place=AT, count=40, values=tuple(2.3 - 0.05 * place for place in range(40)))


def trace(**changes: Any) -> Trace:
    """A script of 10 seconds without faults."""
    honest = Trace(
        schema=SCHEMA,
        script="train.py",
        ending="finished",
        seconds=10.0,
        tracer_seconds=0.1,
        devices=("cuda:0",),
        steps=50,
        spans=(SPANS,),
        losses=(LOSSES,),
    )
    return replace(honest, **changes)


def script_run(shown: Trace, **changes: Any) -> ScriptRun:
    """A script that ended by itself."""
    return replace(ScriptRun(shown, shown.exit_code), **changes)
