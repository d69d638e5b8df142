"""What is measured: workload, cell, group and plan."""

from typing import Annotated, Literal

from msgspec import Meta, Struct

from torchlap.schema.arm import MOST_ARMS, Arm, ArmName
from torchlap.schema.base import Count, Name, Positive, Span, Text
from torchlap.schema.effort import Tuning
from torchlap.schema.ranks import Scaling
from torchlap.schema.recipe import Recipe
from torchlap.schema.training import TrainingPlan

Phase = Literal["train", "eval"]
StepPhase = Literal["input", "transfer", "forward", "backward", "optimizer"]
"""The phases of a step, in order: waiting for the batch, moving it to the device, and so on."""

MOST_CELLS = 1000
"""Of a group, with candidates of a search."""

DataName = Literal["mnist-1k", "mnist", "synthetic"]
Weights = Literal["random", "pretrained"]


WITH_AUXILIARY_HEADS = ("googlenet", "inception_v3")
"""Models of torchvision with auxiliary heads, which return a tuple in training; it builds them without on request."""


class Workload(Struct, frozen=True, omit_defaults=True):
    """A model, its batch size and phase.

    Attributes:
        batch: rows a step.
        unit: what the throughput counts, in the plural. A lap has their number where it is not steps x batch.
        seq: tokens of a sequence, if that was chosen.
        asked: what the user's function is called with as `batch`, where its batches have other rows.
    """

    model: Name
    batch: Positive
    phase: Phase = "train"
    unit: Name = "images"
    seq: Positive | None = None
    asked: Positive | None = None


class Cell(Struct, frozen=True, omit_defaults=True):
    """Workload x recipe x device: what gets a row; in a run with arms, once for each arm."""

    workload: Workload
    recipe: Recipe
    device: Name
    arm: ArmName = ""

    @property
    def step_rows(self) -> int:
        """Rows of a step: of all batches whose gradients it adds up."""
        return self.workload.batch * self.recipe.accumulate

    def __str__(self) -> str:
        """One line that tells the cell from all others; the defaults (train, fp32) are left out."""
        workload = self.workload
        words = [workload.model, f"batch {workload.batch}", self.device]
        if workload.seq is not None:
            words.insert(2, f"{workload.seq} tokens")
        if workload.phase != "train":
            words.append(workload.phase)
        if self.recipe != Recipe():
            words.append(str(self.recipe))
        if self.arm:
            words.append(self.arm)
        return ", ".join(words)


class Group(Struct, frozen=True):
    """Cells that take turns because they are compared with each other; the first is the baseline of every speed-up."""

    cells: Annotated[tuple[Cell, ...], Meta(min_length=1, max_length=MOST_CELLS)]


class Identity(Struct, frozen=True, omit_defaults=True):
    """What a name stood for when it was measured.

    Attributes:
        sha256: of the user's file; empty for other models.
        inputs: shape and type of each tensor of a batch, such as `8x3x32x32 float32`; empty for images.
        arm: in which it stood for this.
    """

    model: Name
    parameters: Count
    sha256: Text = ""
    inputs: tuple[Text, ...] = ()
    arm: ArmName = ""


def changed(before: Identity, after: Identity) -> tuple[str, ...]:
    """What differs between two models of the same name, in a few words each."""
    differs = []
    if before.parameters != after.parameters:
        differs.append(f"{before.parameters:,} vs. {after.parameters:,} parameters")
    if before.sha256 != after.sha256:
        differs.append(f"file {before.sha256[:8] or 'unknown'} vs. {after.sha256[:8] or 'unknown'}")
    return tuple(differs)


class Plan(Struct, frozen=True, kw_only=True):
    """Everything that a run will measure, and how precisely. With `arms`, each group has a cell for each of them.

    Attributes:
        items: in a batch of the user's own model, if the user gave that number; `unit` is what the user calls them.
        tuning: set where faster recipes for the first cell are searched for; they join its group as candidates.
        scaling: of `torchlap scale`, whose groups are one device and several, with and without synchronization.
        energy: read the devices' energy meters during turns.
        training: set where cells train until they reach an accuracy.
    """

    suite: Name
    groups: Annotated[tuple[Group, ...], Meta(min_length=1, max_length=10_000)]
    data: DataName = "mnist-1k"
    weights: Weights = "random"
    precision_target: Annotated[float, Meta(gt=0, lt=1)] = 0.02
    budget_seconds: Span = 100.0
    confidence: Annotated[float, Meta(gt=0.5, lt=1)] = 0.95
    verify: bool = True
    explain: bool = True
    identities: tuple[Identity, ...] = ()
    items: Positive | None = None
    unit: Text = ""
    arms: Annotated[tuple[Arm, ...], Meta(max_length=MOST_ARMS)] = ()
    tuning: Tuning | None = None
    scaling: Scaling | None = None
    energy: bool = False
    training: TrainingPlan | None = None


def is_own_file(model: str) -> bool:
    """Whether the model is a `path/to/file.py:function`, and not a torchvision name."""
    return not is_hugging_face(model) and not is_timm(model) and (".py:" in model or model.endswith(".py"))


def is_hugging_face(model: str) -> bool:
    """Whether the model is an `hf:NAME`."""
    return model.startswith("hf:")


def is_timm(model: str) -> bool:
    """Whether the model is a `timm:NAME`."""
    return model.startswith("timm:")


def has_own_batch(model: str) -> bool:
    """Whether the model brings its own data, instead of being trained on digits."""
    return is_own_file(model) or is_hugging_face(model)
