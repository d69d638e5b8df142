"""What a user's own function returned, as far as code that uses it must know."""

from typing import Literal

from msgspec import Struct

from torchlap.schema.base import Count

Role = Literal["loss", "optimizer", "scheduler", "step", "options"]
Option = Literal["loss", "optimizer", "scheduler", "clip", "step", "items", "unit", "validation"]

Called = Literal["inputs", "*inputs", "**inputs"]
"""How a module takes the inputs of a batch."""

Read = Literal["outputs", "outputs[0]", "outputs.logits", "outputs['logits']", "outputs.loss", "outputs['loss']"]
"""Where in a module's outputs the scores are that a loss of torch takes, or the module's own loss."""

LossKind = Literal["cross_entropy", "of_torch", "of_both", "of_outputs", "own"]
"""The usual one; a loss of torch; a function of outputs and targets, or of the outputs; the module's own."""

StepTakes = Literal["", "batch", "model, batch", "inputs, targets"]

Batches = Literal["one", "loader", "batch_sampler", "iterable"]
"""One fixed batch, or those of a DataLoader, by what makes them."""


class OwnModel(Struct, frozen=True, omit_defaults=True, kw_only=True):
    """The form of a user's model.

    Attributes:
        has_batch: the function has a parameter named batch.
        others: the role of each value after the module and the data; `options` is a dictionary.
        options: the keys of that dictionary.
        made: values that are made already; a loss, optimizer or scheduler may also be what makes one.
        pair: a batch is a pair of inputs and targets; otherwise it is the inputs.
        tensors: inputs and targets are a tensor each.
        items: in a batch, if they are not its rows; 0 otherwise.
        read: what of the outputs goes into the loss.
        step_takes: the parameters of a step of the user's own.
        lightning: the module has a `training_step`, and makes its own optimizer.
    """

    has_batch: bool = True
    others: tuple[Role, ...] = ()
    options: tuple[Option, ...] = ()
    made: tuple[Role, ...] = ()
    batches: Batches = "one"
    pair: bool = True
    tensors: bool = True
    called: Called = "inputs"
    loss: LossKind = "cross_entropy"
    items: Count = 0
    read: Read = "outputs"
    step_takes: StepTakes = ""
    lightning: bool = False
