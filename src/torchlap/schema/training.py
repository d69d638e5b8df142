"""Training until an accuracy on held-out data is reached: the plan of it, and what was observed."""

from typing import Annotated, Literal

from msgspec import Meta, Struct

from torchlap.schema.base import Count, Finite, Positive, Seconds, Share, Span, Text

MOST_SEEDS = 1000
Seeds = Annotated[tuple[Count, ...], Meta(min_length=1, max_length=MOST_SEEDS)]


class TrainingPlan(Struct, frozen=True, kw_only=True):
    """What `torchlap train` does with each cell of the plan's only group.

    Attributes:
        target: the accuracy on held-out data that ends a training.
        seeds: of the trainings; every cell trains once from each.
        learning_rate: of Adam; a file with an optimizer of its own has its own.
        epochs: after so many, a training has not reached the target.
        evaluate_steps: training steps from one evaluation to the next; None for an epoch.
    """

    target: Annotated[float, Meta(gt=0, le=1)]
    seeds: Seeds
    learning_rate: Annotated[float, Meta(gt=0, le=1e3)]
    epochs: Positive
    evaluate_steps: Positive | None = None


class TrainingStarted(Struct, frozen=True, tag="training_started", tag_field="event", kw_only=True):
    """A cell is about to train from a seed; earlier events of the same cell and seed are void.

    Attributes:
        warm_up_seconds: building excluded; the steps of the warm-up were undone.
        epoch_steps: training steps of an epoch.
        train_items: training examples; None if they were not counted.
        held_out: examples that accuracy is measured on.
    """

    group: Count
    cell: Count
    seed: Count
    warm_up_seconds: Seconds
    epoch_steps: Positive
    train_items: Count | None
    held_out: Positive
    parameters: Count


class Evaluated(Struct, frozen=True, tag="evaluated", tag_field="event", kw_only=True):
    """Some training steps, timed from an idle device to an idle device, and the evaluation that followed.

    Attributes:
        steps: since the last evaluation; `seconds` and `items` are theirs.
        loss: of the last step.
        correct: of the `of` held-out examples.
    """

    group: Count
    cell: Count
    seed: Count
    steps: Positive
    seconds: Span
    items: Count
    loss: Finite
    correct: Count
    of: Positive
    evaluation_seconds: Seconds

    @property
    def accuracy(self) -> Share:
        """The share of the held-out examples that were classified correctly."""
        return self.correct / self.of


Outcome = Literal["reached", "epochs", "budget", "not_finite", "failed"]
"""Why a training ended: the target was reached, or the last epoch; the budget was spent; the loss was not finite; the
worker failed."""


class TrainingEnded(Struct, frozen=True, tag="training_ended", tag_field="event", kw_only=True):
    """A training ended, and why."""

    group: Count
    cell: Count
    seed: Count
    outcome: Outcome
    reason: Text = ""
    detail: Text = ""
