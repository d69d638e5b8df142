"""What a tracer recorded of a training script, line by line: the types of a trace file.

Seconds are measured with the tracer's own clock. Every string and number is bounded, because a script may be anyone's.
"""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from torchlap.schema.base import Count, Name, Positive, Seconds, Share, Text

SCHEMA = 2
Figure = Annotated[float, Meta(ge=-1e300, le=1e300)]
Ending = Literal["finished", "exited", "raised", "interrupted", "under way"]


class Place(Struct, frozen=True, order=True):
    """A line of the script, or of a file that it imports from its own folder."""

    file: Text = ""
    line: Count = 0

    def __str__(self) -> str:
        """In the form that editors open: `train.py:46`."""
        return f"{self.file}:{self.line}"


class Line(Struct, frozen=True):
    """How often, and for how long, a line did something within a group of spans."""

    place: Place
    count: Count
    seconds: Seconds


class Spans(Struct, frozen=True, kw_only=True):
    """Timed spans around training steps, between the clock reads of the same two lines, on the same devices.

    Figures are of all spans together, except where noted.

    Attributes:
        place: where one reading was subtracted from the other.
        parameters: with `batch`, distinguishes the workloads of spans.
        seconds: of the first spans only; `count` has the number of all.
        unwaited: ends that were read with no synchronization since the last step.
        looked_at: spans at whose end the pending work of the device was measured.
        looked_at_seconds: what the script timed in these spans.
        unfinished_seconds: the work that was pending at their ends.
        first_step_seconds: the model's first step on the device, from the start of its span; 0 if it is in none.
        first_span_seconds: the span with that step.
        step_seconds: a typical step.
        train_seconds: the host's time in forward, backward and optimizer.
        clock: the function that was read, or `event`.
        conditional: the script may leave some of these spans out, such as the first.
        robust: the script computes a median, a minimum or a quantile of times.
        untouched: spans during which the tracer did not wait for the device; seconds and shares are of these alone if
            there are any.
        evaluated: spans that contain an evaluation.
        compiled: graphs that torch.compile compiled within them, in `compile_seconds`.
        setup_seconds: from the start of each span to its first forward pass, without evaluation and waiting for data.
        others: how many CPUs other processes used during each of the first spans; empty if unknown.
    """

    place: Place
    start: Place
    end: Place
    devices: tuple[Name, ...]
    parameters: Count = 0
    batch: Count = 0
    seconds: Annotated[tuple[Seconds, ...], Meta(min_length=1)]
    count: Positive
    steps: Count
    at_seconds: Seconds
    total_seconds: Seconds
    by_events: bool = False
    unwaited: Count = 0
    looked_at: Count = 0
    looked_at_seconds: Seconds = 0.0
    unfinished_seconds: Seconds = 0.0
    first_step_seconds: Seconds = 0.0
    first_span_seconds: Seconds = 0.0
    step_seconds: Seconds = 0.0
    train_seconds: Seconds = 0.0
    values: tuple[Line, ...] = ()
    inputs: tuple[Line, ...] = ()
    workers_started: tuple[Line, ...] = ()
    evaluations: tuple[Line, ...] = ()
    clock: Name = "perf_counter"
    conditional: bool = False
    robust: bool = False
    untouched: Count = 0
    evaluated: Count = 0
    compiled: Count = 0
    compile_seconds: Seconds = 0.0
    setup_seconds: Seconds = 0.0
    others: tuple[Seconds, ...] = ()


class Quotient(Struct, frozen=True, kw_only=True):
    """A ratio of two timings that the script computes; `printed` is the line that shows it as a percentage."""

    place: Place
    above: tuple[Name, ...]
    below: tuple[Name, ...]
    of_parts: bool = False
    printed: Place | None = None


class Losses(Struct, frozen=True, kw_only=True):
    """The losses that a line called backward on: an even sample, in order; None where a loss was not finite.

    `classes` is positive for a cross entropy of that many classes.
    """

    place: Place
    count: Count
    values: tuple[Figure | None, ...]
    every: Count = 1
    classes: Count = 0


class Shapes(Struct, frozen=True):
    """A loss of shapes that do not mean what the script intends, in words."""

    place: Place
    words: Text
    count: Count


class DeadOutputs(Struct, frozen=True, kw_only=True):
    """Outputs of a model whose weights had a gradient of zero in each of a number of checks (`looks`)."""

    place: Place
    dead: Count
    outputs: Count
    parameter: Text
    looks: Count


class Held(Struct, frozen=True, kw_only=True):
    """An optimizer: where it was created and stepped, the parameters in it, and those that never had a gradient.

    Frozen parameters (requires_grad is False) are not among those without a gradient.

    `unchanged` means that none of its parameters changed from the first step to the last.
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
    """Something that was noticed at a line, in words, and how often."""

    place: Place
    words: Text
    count: Count = 1


class Denormals(Struct, frozen=True, kw_only=True):
    """Denormal numbers on the CPU: among which values, their largest share of the nonzero ones, and in which step.

    `first` is the first checked step in which there were some.
    """

    place: Place
    words: Text
    share: Share
    step: Count
    first: Count


class Slow(Struct, frozen=True, kw_only=True):
    """An operator that takes `factor` times as long for the script's values as for usual ones; words explain it."""

    place: Place
    operator: Name
    factor: Figure
    words: Text
    count: Count


class Formats(Struct, frozen=True, kw_only=True):
    """A model in channels_last: convolutions after the first, and those that received a contiguous input in each check.

    `place` is where the model was called.
    """

    place: Place
    convolutions: Count
    converted: Count
    looks: Count


class Searched(Struct, frozen=True, kw_only=True):
    """Calls of a model with convolutions while cudnn.benchmark was on: the number of input shapes, and some of them.

    `rare` is the number of calls with a shape that was used at most twice.
    """

    place: Place
    calls: Count
    shapes: Count
    rare: Count
    examples: tuple[tuple[Count, ...], ...] = ()
    setting: Place | None = None


class Copies(Struct, frozen=True, kw_only=True):
    """A line's copies from the host to a device of this kind.

    Attributes:
        same: copies of the same tensor as the copy before.
        unpinned: copies with non_blocking=True from memory that is not pinned, which wait nonetheless.
    """

    place: Place
    kind: Name
    count: Count
    bytes: Count
    seconds: Seconds
    same: Count = 0
    unpinned: Count = 0


class Loader(Struct, frozen=True, kw_only=True):
    """A DataLoader: where it was created and iterated, and how long its epochs waited for it.

    Attributes:
        pinned: it pins memory; `pinned_used` means that some copy benefits from that.
        waited_seconds: waiting for batches, over all epochs.
        started_seconds: starting the iterators, including worker processes, over all epochs.
        first_seconds: waiting for the first batch of each epoch.
        iterated_seconds: from the start of each iterator to its last batch.
        trains_on: devices of the training steps.
    """

    made: Place
    read: Place
    workers: Count
    pinned: bool
    pinned_used: bool
    persistent: bool = False
    epochs: Count
    batches: Count
    waited_seconds: Seconds
    started_seconds: Seconds
    first_seconds: Seconds = 0.0
    iterated_seconds: Seconds = 0.0
    trains_on: tuple[Name, ...] = ()


class Compiled(Struct, frozen=True, kw_only=True):
    """A function that torch.compile compiled: where it begins, how often, and for how long."""

    place: Place
    count: Count
    seconds: Seconds
    limit: Count = 0


class Scaled(Struct, frozen=True, kw_only=True):
    """A line that steps an optimizer through a GradScaler, which skipped some of the steps."""

    place: Place
    steps: Count
    skipped: Count


class Memory(Struct, frozen=True, kw_only=True):
    """Memory in use after steps: an even sample of (step, bytes).

    Attributes:
        kept: lines that add a loss to a running total, or keep it, without detach() or item().
    """

    samples: tuple[tuple[Count, Count], ...] = ()
    kept: tuple[Place, ...] = ()


class Threads(Struct, frozen=True, kw_only=True):
    """The number of CPU threads; `place` is the line that sets it, if the script does.

    Attributes:
        cores: physical cores that the process may use; `cpus` counts their hardware threads.
        processes: training processes on this machine, as torchrun says.
    """

    threads: Count
    cores: Count
    cpus: Count = 0
    processes: Count = 1
    place: Place | None = None


class Tf32(Struct, frozen=True, kw_only=True):
    """Whether an NVIDIA GPU used TF32; `place` is the line that enables it, if the script does."""

    matmul: bool
    convolution: bool
    place: Place | None = None


class Trace(Struct, frozen=True, kw_only=True):
    """Everything that was recorded of one script.

    Attributes:
        seconds: from the script's first line to its last.
        tracer_seconds: the part of it that the tracer used.
        looked_seconds: how long the tracer waited for the device at clock reads, to measure its pending work.
        parts: timed parts of steps, such as the forward pass alone.
        turns: the devices of the timed spans in order, without repetitions in a row.
        autocasts: kinds of devices for which the script requested an autocast, as `words`.
        breaks: lines of the script after which compiled code begins anew.
        by_backward: no optimizer stepped: each backward pass counts as a step.
        unwatched: what the script uses to time or to train, and the audit does not watch, with its line.
        children_seconds: the CPU time of child processes.
        float64_default: the script has made float64 torch's default type.
        portable: the script names a kind of accelerator, whether or not it uses one here.
        truncated: more happened than was kept.
        hidden: files beside the script that hide a module that the tracer had already imported.
        lines: the source of the lines that the trace names, by `file:line`.
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
    parts: tuple[Spans, ...] = ()
    turns: tuple[Name, ...] = ()
    by_backward: bool = False
    unwatched: tuple[Noticed, ...] = ()
    children_seconds: Seconds = 0.0
    portable: bool = False
    compiled: tuple[Compiled, ...] = ()
    graph_breaks: Count = 0
    breaks: tuple[Noticed, ...] = ()
    autocasts: tuple[Noticed, ...] = ()
    scaled: tuple[Scaled, ...] = ()
    memory: Memory = Memory()
    softmax_twice: tuple[Noticed, ...] = ()
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
    float64_default: bool = False
    loaders: tuple[Loader, ...] = ()
    denormals: tuple[Denormals, ...] = ()
    slow: tuple[Slow, ...] = ()
    formats: tuple[Formats, ...] = ()
    searched: tuple[Searched, ...] = ()
    hidden: tuple[Noticed, ...] = ()
    threads: Threads | None = None
    tf32: Tf32 | None = None
    fallbacks: tuple[Noticed, ...] = ()
    truncated: bool = False
    lines: dict[Text, Text] = {}


class ScriptRun(msgspec.Struct, frozen=True):
    """How a script ended, and what was recorded up to that point.

    Attributes:
        exit_code: as in a shell: 128 plus the signal's number if a signal ended it; `signal` is its name.
        stopped: the time limit ended it.
        interrupted: Ctrl-C ended it.
    """

    trace: Trace
    exit_code: int
    signal: str = ""
    stopped: bool = False
    interrupted: bool = False
