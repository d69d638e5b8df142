"""What `torchlap tune` records beside laps: candidates, loss trajectories, and the code that was run."""

from typing import Annotated, Literal

from msgspec import Meta, Struct

from torchlap.schema.base import Count, Finite, Name, Seconds, Span, Text
from torchlap.schema.workload import Cell

Tier = Literal["same", "lower", "training"]
"""What a candidate changes: nothing in the arithmetic, its precision, or the training itself."""

TRAJECTORY_STEPS = 50


class CandidateAdded(Struct, frozen=True, tag="candidate", tag_field="event", kw_only=True):
    """A cell joins a group; its number is the next one there.

    Attributes:
        added: the cell.
        word: of the recipe, or the batch, by which it differs from the cell `over` which it is raced.
    """

    group: Count
    added: Cell
    tier: Tier
    word: Name
    over: Count


class LeftOut(Struct, frozen=True, tag="left_out", tag_field="event", kw_only=True):
    """A word that was not tried, and why."""

    group: Count
    tier: Tier
    word: Name
    reason: Text


class Trajectory(Struct, frozen=True, kw_only=True):
    """The losses of the first training steps from the untouched weights.

    Attributes:
        losses: one a step; shorter if a loss was not finite.
        seed: of random numbers in the model, such as those of dropout.
        perturbation: by which each weight was changed before the first step, relative to itself.
        moved: parameters that changed, of `parameters`.
        still: names of some that did not.
        reason: why there are no losses; empty if there are.
    """

    losses: Annotated[tuple[Finite, ...], Meta(max_length=1000)] = ()
    seed: Count = 0
    perturbation: Annotated[float, Meta(ge=0, le=1)] = 0.0
    moved: Count = 0
    parameters: Count = 0
    still: Annotated[tuple[Text, ...], Meta(max_length=20)] = ()
    reason: Text = ""


class TrajectoryFollowed(Struct, frozen=True, tag="trajectory", tag_field="event", kw_only=True):
    """A cell was trained for some steps from the untouched weights; the plain step several times."""

    group: Count
    cell: Count
    trajectory: Trajectory


class CodeRun(Struct, frozen=True, tag="code", tag_field="event", kw_only=True):
    """The code that sets a cell's recipe was run in a process of its own.

    Attributes:
        rates: items a second of its laps, as it printed them.
        reason: why there are none.
        seconds: that it took.
    """

    group: Count
    cell: Count
    code: Text
    rates: Annotated[tuple[Span, ...], Meta(max_length=100)] = ()
    reason: Text = ""
    seconds: Seconds = 0.0
