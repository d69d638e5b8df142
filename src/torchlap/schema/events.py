"""The lines of a run file: a header, then one event a line.

Units are in the names. Every string and number is bounded, because a run file is untrusted input.
"""

from typing import Annotated, Literal

from msgspec import Meta, Struct

from torchlap.schema.base import Count, FailureKind, Finite, Name, Positive, Seconds, Share, Span, Text
from torchlap.schema.breakdown import Breakdown, Peaks
from torchlap.schema.energy import IdlePower, TurnEnergy
from torchlap.schema.machine import Facts
from torchlap.schema.numerics import Numerics
from torchlap.schema.own import OwnModel
from torchlap.schema.ranks import Link, RankFacts, RankNumerics
from torchlap.schema.recipe import MemoryFormat
from torchlap.schema.training import Evaluated, TrainingEnded, TrainingStarted
from torchlap.schema.tuning import CandidateAdded, CodeRun, LeftOut, TrajectoryFollowed
from torchlap.schema.workload import Plan

SCHEMA = 2
"""The run file's schema. It rises when a reader of the old one would misread the new one; `runs.upgrade` reads old
files. A new kind of event does not raise it: older readers skip the lines that they do not know, with a remark."""


class Header(Struct, frozen=True, tag="run", tag_field="event", kw_only=True):
    """A run file's first line.

    Attributes:
        published: empty for what torchlap measured. Otherwise the figures are someone else's: where they were
            published, and their known flaws.
    """

    schema: int
    torchlap: Text
    started: Text
    facts: Facts
    plan: Plan
    published: Text = ""


class GroupStarted(Struct, frozen=True, tag="group_started", tag_field="event"):
    """A group is being measured. If `fresh`, earlier events of the same group are void: the run was resumed."""

    group: Count
    fresh: bool = True


class Watched(Struct, frozen=True, kw_only=True):
    """Seconds a step, from laps other than the timed ones: in all, to enqueue it, and waiting for input."""

    step_seconds: Span
    enqueue_seconds: Seconds
    input_wait_seconds: Seconds


class Compiled(Struct, frozen=True, kw_only=True):
    """What torch.compile made of a model: compiled parts, places where it gave up, and parts compiled again."""

    graphs: Positive
    breaks: Count
    recompilations: Count


class Preparation(Struct, frozen=True, kw_only=True):
    """How a cell was warmed up.

    Attributes:
        steady: the last laps no longer got faster.
        optimizer_seconds: the optimizer's update alone.
        synchronize_seconds: one synchronization with nothing pending.
        choices: settings that were chosen on the device, each with its reason.
        fallbacks: the device's warnings that an operator runs on the CPU.
        watched: None where the device has nothing to wait for.
        prefetched: batches that a loader keeps ready, which fill up while other cells have their turns.
        compiled: None without torch.compile.
        capture_seconds: what recording the step as a graph took; None without that.
        own: what a user's function returned; None for other models.
        compiled_ahead_seconds: the first step of a process before this one, which filled the compiler's cache on disk.
    """

    first_step_seconds: Span
    warm_up_steps: Positive
    warm_up_seconds: Span
    steady: bool
    step_seconds: Span
    optimizer_seconds: Seconds
    synchronize_seconds: Seconds
    first_loss: Finite
    memory_format: MemoryFormat
    threads: Positive
    input_shape: tuple[Count, ...]
    parameters: Count
    choices: tuple[Text, ...] = ()
    fallbacks: tuple[Text, ...] = ()
    watched: Watched | None = None
    prefetched: Count = 0
    compiled: Compiled | None = None
    capture_seconds: Seconds | None = None
    own: OwnModel | None = None
    compiled_ahead_seconds: Seconds = 0.0

    @property
    def compile_seconds(self) -> float:
        """Of a compiled cell: what the first step took where it had to be compiled."""
        return max(self.first_step_seconds, self.compiled_ahead_seconds)


class CellPrepared(Struct, frozen=True, tag="prepared", tag_field="event", kw_only=True):
    """A cell is warm."""

    group: Count
    cell: Count
    preparation: Preparation


class NumericsChecked(Struct, frozen=True, tag="numerics", tag_field="event", kw_only=True):
    """A cell's results were checked, or could not be."""

    group: Count
    cell: Count
    numerics: Numerics


class BreakdownMeasured(Struct, frozen=True, tag="breakdown", tag_field="event", kw_only=True):
    """A cell's step was broken down into its parts, or could not be."""

    group: Count
    cell: Count
    breakdown: Breakdown


class PeaksMeasured(Struct, frozen=True, tag="peaks", tag_field="event"):
    """The rates of a device were measured."""

    peaks: Peaks


class Lap(Struct, frozen=True, gc=False):
    """A timed block of steps, closed by one device synchronization.

    Attributes:
        loss: of the lap's last step.
        items: set where it is not steps x batch: tokens, or the rows of a loader whose batches have several sizes.
        rank_seconds: of each rank, where there are several; `seconds` is the longest.
    """

    cell: Count
    steps: Positive
    seconds: Span
    loss: Finite
    items: Positive | None = None
    rank_seconds: tuple[Span, ...] = ()


class RanksDescribed(Struct, frozen=True, tag="ranks", tag_field="event", kw_only=True):
    """What the ranks of a cell are, and how much memory each needed."""

    group: Count
    cell: Count
    ranks: Annotated[tuple[RankFacts, ...], Meta(max_length=4096)]


class LinkMeasured(Struct, frozen=True, tag="link", tag_field="event", kw_only=True):
    """All-reduces of the gradients' size were timed between the ranks of a group."""

    group: Count
    link: Link


class RanksChecked(Struct, frozen=True, tag="ranks_checked", tag_field="event", kw_only=True):
    """Whether the ranks of a group together compute what one device would."""

    group: Count
    numerics: RankNumerics


class Round(Struct, frozen=True, tag="round", tag_field="event", gc=False):
    """The laps of one round of a group, in the order in which they ran; `at_seconds` is since the start.

    Each living cell has a turn, in which a fast cell may lap several times in a row. `energy` has what the meters
    counted during turns, if that was requested and the device has a meter. `start` counts how often the workers were
    started anew before, which happens in runs with arms.
    """

    group: Count
    at_seconds: Seconds
    laps: Annotated[tuple[Lap, ...], Meta(min_length=1, max_length=1000)]
    energy: Annotated[tuple[TurnEnergy, ...], Meta(max_length=1000)] = ()
    start: Count = 0


class IdleMeasured(Struct, frozen=True, tag="idle", tag_field="event"):
    """The energy meter of a device was read while nothing ran there, or the device has none."""

    idle: IdlePower


class ClockJumped(Struct, frozen=True, tag="clock_jumped", tag_field="event", kw_only=True):
    """The machine slept during a cell's turn, or its clock was set: the laps are kept here, and count for nothing.

    Attributes:
        asleep_seconds: how long the machine slept.
        wall_seconds: by how much its clock was set; also what a virtual machine missed while it was paused.
    """

    group: Count
    cell: Count
    at_seconds: Seconds
    asleep_seconds: Seconds
    wall_seconds: Finite
    laps: Annotated[tuple[Lap, ...], Meta(max_length=1000)] = ()


class Failure(Struct, frozen=True, tag="failure", tag_field="event", kw_only=True):
    """Why a cell has no figure. `estimate_seconds` is the expected time of a step, where one could be estimated."""

    group: Count
    cell: Count
    kind: FailureKind
    reason: Text
    detail: Text = ""
    estimate_seconds: Span | None = None


StopReason = Literal["precise", "budget", "plateau", "failed"]


class GroupFinished(Struct, frozen=True, tag="group_finished", tag_field="event"):
    """Why the measuring of a group stopped."""

    group: Count
    reason: StopReason


class RunFinished(Struct, frozen=True, tag="run_finished", tag_field="event", kw_only=True):
    """The end, also of an interrupted run. `start_up_seconds` of the `wall_seconds` went into starting workers."""

    reason: Literal["complete", "interrupted"]
    wall_seconds: Seconds
    start_up_seconds: Seconds


class GpuConditions(Struct, frozen=True, kw_only=True):
    """What the driver reports about a device: who used it before the group, and what throttled it during its rounds."""

    device: Name
    busy_before: Share | None = None
    processes_before: Count = 0
    throttled_by: tuple[Text, ...] = ()


class Conditions(Struct, frozen=True, tag="conditions", tag_field="event", kw_only=True):
    """What else the machine was doing during a group's rounds; None where that could not be read.

    Attributes:
        others_cpu_share: share of all cores used by other processes, and by other guests of the same host.
    """

    group: Count
    seconds: Seconds
    others_cpu_share: Share | None = None
    swap_grown_bytes: Annotated[int, Meta(ge=-(10**15), le=10**15)] | None = None
    on_battery: bool | None = None
    power_saving: bool | None = None
    gpus: tuple[GpuConditions, ...] = ()


Event = (
    Header
    | GroupStarted
    | NumericsChecked
    | CellPrepared
    | Round
    | ClockJumped
    | Conditions
    | BreakdownMeasured
    | PeaksMeasured
    | RanksDescribed
    | LinkMeasured
    | RanksChecked
    | CandidateAdded
    | LeftOut
    | TrajectoryFollowed
    | CodeRun
    | IdleMeasured
    | TrainingStarted
    | Evaluated
    | TrainingEnded
    | Failure
    | GroupFinished
    | RunFinished
)


class Run(Struct, frozen=True):
    """A run file in memory: its header, its events in order, and a remark for each thing that was skipped."""

    header: Header
    events: tuple[Event, ...] = ()
    remarks: tuple[str, ...] = ()
