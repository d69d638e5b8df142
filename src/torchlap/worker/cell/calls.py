"""How a module takes its inputs, where its loss comes from, and how many rows a batch has."""

import inspect
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

from torch import Tensor, nn
from torch.utils import _pytree

from torchlap.worker.errors import ModelError

PAIR = 2
IMAGE_DIMENSIONS = 3
BATCH_DIMENSIONS = 2
"""Rows are counted along one of the first dimensions: the second where time comes first."""

Values = Any
"""Tensors, or structures of them."""

Call = Callable[[Any, Values], Values]
"""Calls a module with the inputs of a batch."""

POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


def one_argument(module: Callable[[Values], Values], inputs: Values) -> Values:
    """`module(inputs)`."""
    return module(inputs)


def many_arguments(module: Callable[..., Values], inputs: Values) -> Values:
    """`module(*inputs)`."""
    return module(*inputs)


def by_name(module: Callable[..., Values], inputs: Values) -> Values:
    """`module(**inputs)`."""
    return module(**inputs)


def call_of(module: nn.Module, inputs: Values) -> Call:
    """How the module takes inputs of this structure, by the signature of its `forward`.

    A dictionary becomes keyword arguments if `forward` has parameters of those names, a tuple becomes positional
    arguments if it has as many parameters, and a list only if it requires as many: detection models take a list whole.
    """
    signature = inspect.signature(module.forward)
    kinds = [parameter.kind for parameter in signature.parameters.values()]
    required = len(_required(signature))
    if isinstance(inputs, Mapping):
        named = inspect.Parameter.VAR_KEYWORD in kinds or set(inputs) <= set(signature.parameters)
        return by_name if named else one_argument
    if isinstance(inputs, tuple) and not hasattr(inputs, "_fields"):
        most = sum(kind in POSITIONAL for kind in kinds)
        fits = inspect.Parameter.VAR_POSITIONAL in kinds or required <= len(inputs) <= most
        return many_arguments if fits else one_argument
    if isinstance(inputs, list) and len(inputs) == required > 1:
        return many_arguments
    return one_argument


def _required(signature: inspect.Signature) -> list[str]:
    parameters = signature.parameters.values()
    return [each.name for each in parameters if each.kind in POSITIONAL and each.default is inspect.Parameter.empty]


def parameters_of(function: Callable[..., object]) -> list[str] | None:
    """The names of the parameters that a function requires; None where Python cannot tell."""
    try:
        return _required(inspect.signature(function.forward if isinstance(function, nn.Module) else function))
    except (TypeError, ValueError):
        return None


def loss_of(given: Callable[..., Any] | None, *, has_targets: bool) -> Callable[[Values, Values], Any]:
    """The loss as a function of outputs and targets.

    Args:
        given: the user's: a function of outputs and targets, or of the outputs alone; or None.
        has_targets: without a loss, it is the cross-entropy with the targets if there are any, or the module's own.
    """
    if given is None:
        return usual_loss if has_targets else own_loss
    if isinstance(given, nn.modules.loss._Loss) or given.__module__ == "torch.nn.functional":  # noqa: SLF001  their base
        return partial(of_scores, given)
    required = parameters_of(given)
    if required is not None and len(required) == 1:
        return partial(of_outputs, given)
    return given


def of_scores(loss: Callable[..., Any], outputs: Values, targets: Values) -> Values:
    """A loss of torch, which takes tensors."""
    return loss(scores(outputs), targets)


def of_outputs(loss: Callable[..., Any], outputs: Values, _: Values) -> Values:
    """A loss that takes the outputs alone."""
    return loss(outputs)


def usual_loss(outputs: Values, targets: Values) -> Values:
    """The cross-entropy."""
    return nn.functional.cross_entropy(scores(outputs), targets)


def own_loss(outputs: Values, _: Values) -> Values:
    """The loss that the module returned itself.

    Raises:
        ModelError: when there is none.
    """
    loss = member(outputs, "loss")
    if loss is None and isinstance(outputs, Tensor) and outputs.numel() == 1:
        return outputs
    if loss is None and isinstance(outputs, tuple) and isinstance(outputs[0], Tensor) and outputs[0].numel() == 1:
        return outputs[0]
    if loss is None:
        raise ModelError(
            f"The batch has no targets and the module returned {type(outputs).__name__} without a loss: return "
            "module, batch, loss, such as lambda outputs: outputs.mean()."
        )
    return loss


def scores(outputs: Values) -> Values:
    """The tensor among a module's outputs that a loss of torch takes: the logits, or the first of a tuple."""
    if isinstance(outputs, Tensor):
        return outputs
    logits = member(outputs, "logits")
    if logits is not None:
        return logits
    return outputs[0] if isinstance(outputs, tuple | list) and outputs else outputs


def member(outputs: Values, name: str) -> Values:
    """An item or attribute of outputs, which may be a dictionary, an object or both."""
    if isinstance(outputs, Mapping) and name in outputs:
        return outputs[name]
    return None if isinstance(outputs, Mapping | Tensor) else getattr(outputs, name, None)


def tensors(values: Values) -> Iterator[Tensor]:
    """The tensors with dimensions in a structure."""
    for leaf in _pytree.tree_leaves(plain(values)):
        if isinstance(leaf, Tensor) and leaf.dim():
            yield leaf


def plain(values: Values) -> Values:
    """A mapping of another class, such as a tokenizer's result, as a plain dictionary."""
    return dict(values) if isinstance(values, Mapping) and type(values) is not dict else values


def split(batch: Values) -> tuple[Values, Values] | None:
    """Inputs and targets of a batch; None if it is neither a pair, nor a dictionary or a tensor without targets."""
    if isinstance(batch, Mapping | Tensor):
        return plain(batch), None
    if isinstance(batch, tuple | list) and len(batch) == PAIR:
        inputs, targets = plain(batch[0]), plain(batch[1])
        return (list(inputs), list(targets)) if _are_samples(inputs, targets) else (inputs, targets)
    return None


def _are_samples(inputs: Values, targets: Values) -> bool:
    """Whether each input has a target of its own, a dictionary, as `tuple(zip(*samples))` makes them."""
    both = isinstance(inputs, tuple) and isinstance(targets, tuple) and len(inputs) == len(targets)
    return both and bool(targets) and all(isinstance(each, Mapping) for each in targets)


def rows_of(inputs: Values, targets: Values) -> int | None:
    """How many rows a batch has; None if its tensors do not show it.

    It is the number of targets, if an input has the same size in its first or second dimension; otherwise the length
    of lists of inputs, one of which has images of several sizes, or the size of the first dimension in which all inputs
    have the same size.
    """
    shapes = [tuple(tensor.shape) for tensor in tensors(inputs)]
    count = _length(targets)
    if count is not None and (
        any(count in shape[:BATCH_DIMENSIONS] for shape in shapes) or _length(inputs) == count or not shapes
    ):
        return count
    lists = inputs if isinstance(inputs, tuple) else (inputs,)
    if shapes and all(isinstance(each, list) for each in lists) and (len(lists) > 1 or _are_images(lists[0])):
        lengths = {len(each) for each in lists}
        if len(lengths) == 1:
            return lengths.pop()
    for dimension in range(min((len(shape) for shape in shapes), default=0)):
        sizes = {shape[dimension] for shape in shapes}
        if len(sizes) == 1:
            return sizes.pop()
    return None


def _are_images(values: list[Values]) -> bool:
    """Whether a list has single images, channels first, as detection models take them."""
    shapes = [tuple(each.shape) for each in values if isinstance(each, Tensor)]
    channels = {shape[0] for shape in shapes if len(shape) == IMAGE_DIMENSIONS}
    return len(shapes) == len(values) and len(channels) == 1 and all(len(shape) == IMAGE_DIMENSIONS for shape in shapes)


def _length(values: Values) -> int | None:
    """Of a tensor's first dimension, of a list, or of the first tensor in another structure."""
    if isinstance(values, list):
        return len(values)
    first = next(tensors(values), None)
    return None if first is None else len(first)
