"""What lies between a loss and its model, read from the graph that backward will follow; nothing is computed."""

from collections import deque
from typing import Any

from msgspec import Struct
from torch import Tensor

MOST_NODES = 200
LAYERS = ("Addmm", "Mm", "Bmm", "Convolution", "Linear", "Compiled", "Native", "Cudnn")
"""Nodes at which the loss ends and the model begins, by the start of their names."""

BY_VALUE = (
    "Gather",
    "Index",
    "Embedding",
    "Take",
    "Masked",
    "Topk",
    "Max",
    "Min",
    "Where",
    "Sort",
    "Relu",
    "Threshold",
    "Clamp",
    "Hard",
    "Softshrink",
    "Amax",
    "Amin",
)
"""Nodes that choose outputs by values, so that a batch may happen to use only some."""


class Path(Struct, frozen=True):
    """What was found.

    Attributes:
        by_value: which outputs the loss uses depends on values.
        compiled: the model is compiled, so its outputs cannot be followed.
        probabilities: a loss that expects logits, or logarithms, was given a softmax's or sigmoid's output; in words.
        broadcasts: shapes of a difference that has more elements than what it was computed from.
    """

    by_value: bool = False
    compiled: bool = False
    probabilities: str = ""
    broadcasts: tuple[tuple[int, ...], tuple[int, ...]] | None = None


def path(loss: Tensor) -> Path:
    """Follow a loss back to the last layer of its model."""
    by_value = compiled = False
    probabilities, broadcasts = "", None
    pending: deque[Any] = deque([loss.grad_fn] if loss.grad_fn is not None else [])
    known: set[Any] = set(pending)
    while pending and len(known) < MOST_NODES:
        node = pending.popleft()
        name = node.name()
        if name.startswith(LAYERS):
            compiled |= name.startswith("Compiled")
            continue
        by_value |= name.startswith(BY_VALUE)
        probabilities = probabilities or _of_probabilities(node, name)
        if name.startswith(("Sub", "Rsub")):
            broadcasts = broadcasts or _broadcasts(node)
        for following, _ in node.next_functions:
            if following is not None and following not in known:
                known.add(following)
                pending.append(following)
    return Path(by_value, compiled, probabilities, broadcasts)


def _of_probabilities(node: Any, name: str) -> str:  # noqa: ANN401  torch has no type for nodes
    """In words, the probabilities that a loss was given instead of logits or logarithms; empty if it was not."""
    for start, loss, activations in LOGITS:
        if name.startswith(start):
            source = _source(node)
            return next((f"{loss} was given outputs of a {each}" for each in activations if each == source), "")
    return ""


LOGITS = (
    ("LogSoftmax", "the loss", ("softmax", "sigmoid")),
    ("BinaryCrossEntropyWithLogits", "binary_cross_entropy_with_logits", ("sigmoid", "softmax")),
    ("NllLoss", "nll_loss", ("softmax", "sigmoid")),
)
"""The nodes of losses: what they are called, and activations whose output they should not be given."""

SHAPE_CHANGES = ("View", "Reshape", "Transpose", "Permute", "ToCopy", "Squeeze", "Unsqueeze", "TBackward", "Select")


def _source(node: Any) -> str:  # noqa: ANN401  as above
    """The activation that a node's input is the output of; changes of shape and type between do not matter."""
    while node is not None:
        node = node.next_functions[0][0] if node.next_functions else None
        name = "" if node is None else node.name()
        if name.startswith(("SoftmaxBackward", "SigmoidBackward")):
            return "softmax" if name.startswith("Softmax") else "sigmoid"
        if not name.startswith(SHAPE_CHANGES):
            return ""
    return ""


ON_PURPOSE = ("Unsqueeze", "Transpose", "Permute", "TBackward")
"""Who turns outputs into a column or row, just before a difference, wants all pairs."""


def _broadcasts(node: Any) -> tuple[tuple[int, ...], tuple[int, ...]] | None:  # noqa: ANN401  as above
    """The shapes of a column or row that learns, and of the square that its difference from constants has."""
    shape = _shape(node, 0)
    sides = [each for each in node.next_functions if each[0] is not None]
    if len(sides) == 1 and sides[0][0].name().startswith(ON_PURPOSE):
        return None
    if len(sides) == 1 and shape and len(shape) == 2 and shape[0] == shape[1] > 1:  # noqa: PLR2004  a matrix
        side = _shape(*sides[0])
        if side in {(shape[0], 1), shape[:1]}:
            return side, shape
    return None


def _shape(node: Any, number: int) -> tuple[int, ...] | None:  # noqa: ANN401  as above
    metadata = getattr(node, "_input_metadata", ())
    return tuple(metadata[number].shape) if number < len(metadata) else None
