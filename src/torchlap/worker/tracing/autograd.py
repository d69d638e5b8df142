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
)
"""Nodes that choose outputs by values, so that a batch may happen to use only some."""


class Path(Struct, frozen=True):
    """What was found.

    Attributes:
        by_value: which outputs the loss uses depends on values.
        compiled: the model is compiled, so its outputs cannot be followed.
        softmax_twice: cross_entropy, or nll_loss of log_softmax, of what already is a softmax's output.
        broadcasts: shapes of a difference that has more elements than what it was computed from.
    """

    by_value: bool = False
    compiled: bool = False
    softmax_twice: bool = False
    broadcasts: tuple[tuple[int, ...], tuple[int, ...]] | None = None


def path(loss: Tensor) -> Path:
    """Follow a loss back to the last layer of its model."""
    by_value = compiled = softmax_twice = False
    broadcasts = None
    pending: deque[Any] = deque([loss.grad_fn] if loss.grad_fn is not None else [])
    known: set[Any] = set(pending)
    while pending and len(known) < MOST_NODES:
        node = pending.popleft()
        name = node.name()
        if name.startswith(LAYERS):
            compiled |= name.startswith("Compiled")
            continue
        by_value |= name.startswith(BY_VALUE)
        if name.startswith("LogSoftmax"):
            softmax_twice |= _comes_from_softmax(node)
        if name.startswith(("Sub", "Rsub")):
            broadcasts = broadcasts or _broadcasts(node)
        for following, _ in node.next_functions:
            if following is not None and following not in known:
                known.add(following)
                pending.append(following)
    return Path(by_value, compiled, softmax_twice, broadcasts)


def _comes_from_softmax(node: Any) -> bool:  # noqa: ANN401  torch has no type for nodes
    """Whether a softmax is computed of probabilities; changes of shape and type between do not matter."""
    while node is not None:
        node = node.next_functions[0][0] if node.next_functions else None
        name = "" if node is None else node.name()
        if name.startswith("SoftmaxBackward"):
            return True
        if not name.startswith(("View", "Reshape", "Transpose", "Permute", "ToCopy", "Squeeze", "Unsqueeze", "T0")):
            return False
    return False


def _broadcasts(node: Any) -> tuple[tuple[int, ...], tuple[int, ...]] | None:  # noqa: ANN401  as above
    """The shapes of a column or row that learns, and of the square that its difference from constants has."""
    shape = _shape(node, 0)
    sides = [each for each in node.next_functions if each[0] is not None]
    if len(sides) == 1 and shape and len(shape) == 2 and shape[0] == shape[1] > 1:  # noqa: PLR2004  a matrix
        side = _shape(*sides[0])
        if side in {(shape[0], 1), shape[:1]}:
            return side, shape
    return None


def _shape(node: Any, number: int) -> tuple[int, ...] | None:  # noqa: ANN401  as above
    metadata = getattr(node, "_input_metadata", ())
    return tuple(metadata[number].shape) if number < len(metadata) else None
