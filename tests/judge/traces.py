"""A trace of a script without findings, its parts, and variants of it."""

from typing import Any

from msgspec.structs import replace

from torchlap.schema.trace import (
    SCHEMA,
    Compiled,
    Copies,
    Denormals,
    Formats,
    Held,
    Loader,
    Losses,
    Place,
    Quotient,
    Searched,
    Spans,
    Threads,
    Trace,
)

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
RATIO = Quotient(place=AT, above=("cpu",), below=("cuda:0",))
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
    first_seconds=0.1,
    iterated_seconds=2.0,
    trains_on=("cuda:0",),
)


DENORMAL = Denormals(place=AT, words="gradients", share=0.5, step=50, first=40)
SEARCHED = Searched(
    place=AT, calls=24, shapes=24, rare=24, examples=((4, 3, 12, 12), (4, 3, 13, 13)), setting=Place("train.py", 3)
)
COMPILED = Compiled(place=Place("train.py", 3), count=1, seconds=1.0)
FORMATS = Formats(place=AT, convolutions=4, converted=3, looks=3)
ON_THE_CPU: dict[str, Any] = {"devices": ("cpu",), "spans": (ON_CPU,), "turns": ("cpu",)}
SCATTERED: dict[str, Any] = {
    "count": 21,
    "seconds": (1.0, *(2.0, 1.0, 1.0, 1.0) * 5),
    "steps": 210,
    "total_seconds": 26.0,
}
GROWING = tuple((step, step << 20) for step in range(42))


def trace(**changes: Any) -> Trace:
    """A script without findings."""
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
