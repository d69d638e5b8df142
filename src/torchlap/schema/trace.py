"""What a tracer saw of a training script, line by line: the types of a trace file.

Seconds are the tracer's own clock's. What a script names is bounded, because a script may be anybody's.
"""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from torchlap.schema.base import Count, Name, Seconds, Share, Text

SCHEMA = 1
Figure = Annotated[float, Meta(ge=-1e300, le=1e300)]
Ending = Literal["finished", "exited", "raised", "interrupted", "under way"]


class Place(Struct, frozen=True, order=True):
    """A line of the script, or of a file that it imports from beside it."""

    file: Text = ""
    line: Count = 0

    def __str__(self) -> str:
        """As editors take it: `train.py:46`."""
        return f"{self.file}:{self.line}"


class Line(Struct, frozen=True):
    """What a line did within the spans of a kind: how often, and for how long."""

    place: Place
    count: Count
    seconds: Seconds


class Spans(Struct, frozen=True, kw_only=True):
    """The timed spans between two lines' clock reads, on the same devices: those around training steps.

    `place` is where one reading was taken from the other. `seconds` are of the first spans, `count` of all; all other
    figures are of all spans together. `unwaited` counts ends that were read with no wait since the last step, and
    `unfinished_seconds` is what the device had still to do then, of the `looked_at` spans whose `looked_at_seconds` are
    timed; `carried_seconds` is what it had still to do from before, at their starts. `step_seconds` are of usual steps,
    `first_step_seconds` of the model's first step on the device, 0 where it is in none of the spans; `parameters` and
    `batch` tell the workloads of spans apart. `train_seconds` is the host's time in forward, backward and optimizer.
    """

    place: Place
    start: Place
    end: Place
    devices: tuple[Name, ...]
    parameters: Count = 0
    batch: Count = 0
    seconds: tuple[Seconds, ...]
    count: Count
    steps: Count
    at_seconds: Seconds
    total_seconds: Seconds
    by_events: bool = False
    unwaited: Count = 0
    looked_at: Count = 0
    looked_at_seconds: Seconds = 0.0
    unfinished_seconds: Seconds = 0.0
    carried_seconds: Seconds = 0.0
    first_step_seconds: Seconds = 0.0
    first_span_seconds: Seconds = 0.0
    step_seconds: Seconds = 0.0
    train_seconds: Seconds = 0.0
    values: tuple[Line, ...] = ()
    inputs: tuple[Line, ...] = ()
    workers_started: tuple[Line, ...] = ()
    evaluations: tuple[Line, ...] = ()
    outputs: tuple[Line, ...] = ()


class Quotient(Struct, frozen=True, kw_only=True):
    """A ratio of two timings that the script computed; `printed` where it was shown times a hundred."""

    place: Place
    value: Figure
    above: tuple[Name, ...]
    below: tuple[Name, ...]
    of_parts: bool = False
    printed: Place | None = None


class Losses(Struct, frozen=True, kw_only=True):
    """The losses that a line's backward began from: some of them, evenly, in order; None where it was no number."""

    place: Place
    count: Count
    values: tuple[Figure | None, ...]
    every: Count = 1


class Shapes(Struct, frozen=True):
    """A loss that was given shapes which mean something else: in words."""

    place: Place
    words: Text
    count: Count


class DeadOutputs(Struct, frozen=True, kw_only=True):
    """Outputs of a model whose parameters had no gradient in any look."""

    place: Place
    dead: Count
    outputs: Count
    parameter: Text
    looks: Count


class Held(Struct, frozen=True, kw_only=True):
    """An optimizer: where it was made and stepped, what it holds, and what of that never had a gradient.

    `unchanged` tells that no parameter of it was another after the last step than before the first.
    """

    made: Place
    stepped: Place
    kind: Name
    steps: Count
    parameters: Count
    elements: Count
    without_gradient: Count
    elements_without: Count
    names: tuple[Text, ...] = ()
    unchanged: bool = False


class Noticed(Struct, frozen=True):
    """A line with something to tell, in words, and how often it happened."""

    place: Place
    words: Text
    count: Count = 1


class Copies(Struct, frozen=True, kw_only=True):
    """A line's copies from the host to a device: `same` of one tensor, `unpinned` asked not to wait, in vain."""

    place: Place
    kind: Name
    count: Count
    bytes: Count
    seconds: Seconds
    same: Count = 0
    unpinned: Count = 0


class Loader(Struct, frozen=True, kw_only=True):
    """A DataLoader: where it was made and read, how long an epoch waited for it, and without workers, if tried."""

    made: Place
    read: Place
    workers: Count
    pinned: bool
    pinned_used: bool
    epochs: Count
    batches: Count
    waited_seconds: Seconds
    started_seconds: Seconds
    alone_seconds: Seconds | None = None
    trains_on: tuple[Name, ...] = ()


class Threads(Struct, frozen=True, kw_only=True):
    """How many threads the CPU computed with; `place` sets them, where the script does."""

    threads: Count
    cores: Count
    place: Place | None = None


class Tf32(Struct, frozen=True, kw_only=True):
    """Whether an NVIDIA GPU used TF32, and where the script asks for it."""

    matmul: bool
    convolution: bool
    place: Place | None = None


class Trace(Struct, frozen=True, kw_only=True):
    """All that was seen of one script.

    `seconds` is from its first line to its last, `tracer_seconds` what of that the tracer took, and `looked_seconds`
    how long it waited for the device at clock reads, to see what was still to be done. `turns` are the devices that
    were timed, one after another. `truncated` tells that more happened than was kept.
    """

    schema: int
    script: Text
    ending: Ending
    exit_code: int = 0
    error: Text = ""
    seconds: Seconds
    tracer_seconds: Seconds
    looked_seconds: Seconds = 0.0
    devices: tuple[Name, ...] = ()
    models: dict[Name, Text] = {}
    steps: Count = 0
    spans: tuple[Spans, ...] = ()
    turns: tuple[Name, ...] = ()
    quotients: tuple[Quotient, ...] = ()
    losses: tuple[Losses, ...] = ()
    shapes: tuple[Shapes, ...] = ()
    dead_outputs: tuple[DeadOutputs, ...] = ()
    optimizers: tuple[Held, ...] = ()
    unheld: tuple[Noticed, ...] = ()
    cannot_run: tuple[Noticed, ...] = ()
    in_eval: tuple[Noticed, ...] = ()
    accumulated: tuple[Noticed, ...] = ()
    copies: tuple[Copies, ...] = ()
    float64: tuple[Noticed, ...] = ()
    loaders: tuple[Loader, ...] = ()
    denormals: tuple[Noticed, ...] = ()
    denormal_share: Share = 0.0
    threads: Threads | None = None
    tf32: Tf32 | None = None
    fallbacks: tuple[Noticed, ...] = ()
    truncated: bool = False


class ScriptRun(msgspec.Struct, frozen=True):
    """A script has ended, by itself or not: how, and what was seen until then.

    `exit_code` is as a shell has it, 128 and the signal's number where a signal ended it; `signal` is its name.
    `stopped` tells that the time was over, `interrupted` that somebody pressed Ctrl-C.
    """

    trace: Trace
    exit_code: int
    signal: str = ""
    stopped: bool = False
    interrupted: bool = False
