"""What is measured: workload, cell, group and plan."""

from typing import Annotated, Literal

from msgspec import Meta, Struct

from torchlap.schema.base import Name, Positive, Span
from torchlap.schema.recipe import Recipe

Phase = Literal["train", "eval"]
StepPhase = Literal["input", "transfer", "forward", "backward", "optimizer"]
"""The phases of a step, in order: waiting for the batch, moving it to the device, and so on."""

DataName = Literal["mnist-1k", "mnist", "synthetic"]
Weights = Literal["random", "pretrained"]


class Workload(Struct, frozen=True, omit_defaults=True):
    """A model, its batch size and phase. A step processes `batch` items; `unit` is their name, in the plural."""

    model: Name
    batch: Positive
    phase: Phase = "train"
    unit: Name = "images"


class Cell(Struct, frozen=True):
    """Workload x recipe x device: what gets a row."""

    workload: Workload
    recipe: Recipe
    device: Name

    def __str__(self) -> str:
        """One line that tells the cell from all others; the defaults (train, fp32) are left out."""
        workload = self.workload
        words = [workload.model, f"batch {workload.batch}", self.device]
        if workload.phase != "train":
            words.append(workload.phase)
        if self.recipe != Recipe():
            words.append(str(self.recipe))
        return ", ".join(words)


class Group(Struct, frozen=True):
    """Cells that take turns because they are compared with each other; the first is the baseline of every speed-up."""

    cells: Annotated[tuple[Cell, ...], Meta(min_length=1, max_length=1000)]


class Plan(Struct, frozen=True, kw_only=True):
    """Everything that a run will measure, and how precisely."""

    suite: Name
    groups: Annotated[tuple[Group, ...], Meta(min_length=1, max_length=10_000)]
    data: DataName = "mnist-1k"
    weights: Weights = "random"
    precision_target: Annotated[float, Meta(gt=0, lt=1)] = 0.02
    budget_seconds: Span = 100.0
    confidence: Annotated[float, Meta(gt=0.5, lt=1)] = 0.95
    verify: bool = True
    explain: bool = True


def is_own_file(model: str) -> bool:
    """Whether the model is a `path/to/file.py:function`, and not a torchvision name."""
    return ".py:" in model or model.endswith(".py")
