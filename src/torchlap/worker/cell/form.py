"""The form of what a user's function returned: what the code that `torchlap tune` prints must know to use it."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from torch.utils.data import BatchSampler, DataLoader, IterableDataset

from torchlap.schema.own import Batches, Called, LossKind, OwnModel, Read, Role, StepTakes
from torchlap.worker.cell.calls import (
    by_name,
    many_arguments,
    member,
    of_outputs,
    of_scores,
    own_loss,
    parameters_of,
    usual_loss,
)
from torchlap.worker.cell.subject import Subject

MODEL_NAMES = ("model", "module", "net")
"""The first parameter of a step that takes the model, too."""


def form_of(
    subject: Subject, others: Sequence[tuple[Role, Any]], data: object, *, pair: bool, tensors: bool, has_batch: bool
) -> OwnModel:
    """The form of a user's model.

    Args:
        subject: what was made of it.
        others: the values after the module and the data, with their roles.
        data: the batch, or a DataLoader.
        pair: a batch is a pair of inputs and targets.
        tensors: these are a tensor each.
        has_batch: the function has a parameter named batch.
    """
    options: dict[Any, Any] = next((value for role, value in others if role == "options"), {})
    given: dict[Any, Any] = {role: value for role, value in others if role != "options"} | options
    is_made = {
        "loss": not isinstance(given.get("loss"), type),
        "optimizer": isinstance(given.get("optimizer"), Optimizer),
        "scheduler": isinstance(given.get("scheduler"), LRScheduler),
    }
    return OwnModel(
        has_batch=has_batch,
        others=tuple(role for role, _ in others),
        options=tuple(name for name, value in options.items() if value is not None),
        made=tuple(role for role in ("loss", "optimizer", "scheduler") if role in given and is_made[role]),
        batches=_batches(data),
        pair=pair,
        tensors=tensors,
        called=_called(subject),
        loss=_loss(subject.loss),
        items=subject.items or 0,
        step_takes=_step_takes(given["step"]) if given.get("step") else "",
    )


def _batches(data: object) -> Batches:
    if not isinstance(data, DataLoader):
        return "one"
    if isinstance(data.dataset, IterableDataset):
        return "iterable"
    return "loader" if type(data.batch_sampler) is BatchSampler else "batch_sampler"


def _called(subject: Subject) -> Called:
    if subject.call is many_arguments:
        return "*inputs"
    return "**inputs" if subject.call is by_name else "inputs"


def _loss(loss: Callable[..., Any]) -> LossKind:
    """What was made of the user's loss."""
    if isinstance(loss, partial) and loss.func in (of_scores, of_outputs):
        return "of_torch" if loss.func is of_scores else "of_outputs"
    if loss in (usual_loss, own_loss):
        return "cross_entropy" if loss is usual_loss else "own"
    return "of_both"


def _step_takes(step: Callable[..., Any]) -> StepTakes:
    required = parameters_of(step) or []
    if len(required) < 2:  # noqa: PLR2004  the model or the inputs, and something else
        return "batch" if required else ""
    return "model, batch" if required[0] in MODEL_NAMES else "inputs, targets"


def read_of(loss: LossKind, outputs: object) -> Read:
    """What of a module's outputs goes into a loss of that kind."""
    if loss in ("of_both", "of_outputs"):
        return "outputs"
    name = "loss" if loss == "own" else "logits"
    if member(outputs, name) is None:
        return "outputs[0]" if isinstance(outputs, tuple | list) and outputs else "outputs"
    is_plain = isinstance(outputs, Mapping) and not hasattr(outputs, name)
    expressions: dict[str, tuple[Read, Read]] = {
        "loss": ("outputs['loss']", "outputs.loss"),
        "logits": ("outputs['logits']", "outputs.logits"),
    }
    return expressions[name][0 if is_plain else 1]
