"""Along which axes an operator's results can be computed from a part of its arguments.

A row of a matrix product needs one row of its left operand; a channel of BatchNorm needs that channel. So a few
positions along such an axis can be compared with float64 at a fraction of the cost. Along a linear axis, a combination
of the results can be computed from the same combination of the arguments, which covers all positions at once.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from msgspec import Struct
from msgspec.structs import replace
from torch import Tensor
from torch.utils import _pytree

from torchlap.worker.numerics.operator_calls import Operator

Patch = Callable[[list[Any], Sequence[int]], None]
"""Adapts arguments that say how large others are: the arguments, and how many positions are kept along each axis."""


class Axis(Struct, frozen=True):
    """An axis along which an operator's results are independent of each other.

    Attributes:
        length: positions; a dimension that is longer has as many blocks.
        arguments: by position, the dimension of each argument that has the axis.
        results: by number, the dimension of each result that has it.
        keep: positions to check at most; 0 where that depends on the size of the call.
        draws: combinations along the axis; 0 where it is not linear.
        even: positions count alike in a combination, however small their results are.
    """

    length: int
    arguments: dict[int, int]
    results: dict[int, int]
    keep: int = 0
    draws: int = 0
    even: bool = False


class Piece(Struct, frozen=True):
    """Some results of a call, and the axes along which a part of them is checked.

    Attributes:
        results: their numbers; None for all.
        placeholders: arguments of which these results need only the shape.
    """

    axes: tuple[Axis, ...]
    results: tuple[int, ...] | None = None
    patch: Patch | None = None
    placeholders: tuple[int, ...] = ()


Arguments = Sequence[Any]
Rule = Callable[[Arguments], tuple[Piece, ...]]


def pieces(func: Operator, args: Arguments, kwargs: dict[str, Any]) -> tuple[Piece, ...]:
    """The pieces in which a call can be checked; none if it can only be checked as a whole."""
    name = func.overloadpacket.__name__
    rule = RULES.get(name)
    if rule is not None:
        return rule(args)
    if torch.Tag.pointwise in func.tags or name.removesuffix("_") in POINTWISE:
        return _pointwise([*args, *kwargs.values()], len(args))
    return ()


def size(tensor: Tensor, dimension: int) -> int:
    """The length of a dimension; 0 where the tensor does not have it."""
    return tensor.shape[dimension] if -tensor.dim() <= dimension < tensor.dim() else 0


def axis(args: Arguments, arguments: dict[int, int], results: dict[int, int], *, keep: int = 0, draws: int = 0) -> Axis:
    """An axis as long as the dimension of the first argument; others have it if they are tensors of that length."""
    first, dimension = next(iter(arguments.items()))
    length = size(args[first], dimension)

    def has_it(position: int) -> bool:
        value = args[position] if position < len(args) else None
        return isinstance(value, Tensor) and size(value, arguments[position]) == length

    found = {position: arguments[position] for position in arguments if has_it(position)}
    return Axis(length, found, results, keep, draws)


def _pointwise(values: list[Any], positional: int) -> tuple[Piece, ...]:
    """Every dimension of the broadcast shape; a tensor that is passed by name must have a single element."""
    tensors = {position: value for position, value in enumerate(values) if isinstance(value, Tensor)}
    if any(position >= positional and value.numel() > 1 for position, value in tensors.items()):
        return ()
    dimensions = max((value.dim() for value in tensors.values()), default=0)
    axes = []
    for dimension in range(-dimensions, 0):
        length = max(size(value, dimension) for value in tensors.values())
        arguments = {position: dimension for position, value in tensors.items() if size(value, dimension) == length}
        axes.append(Axis(length, arguments, {0: dimension}))
    return (Piece(tuple(axes)),)


def _like(values: Sequence[Any]) -> tuple[Piece, ...]:
    """zeros_like and others: every dimension of an argument of which only the shape counts."""
    (piece,) = _pointwise([values[0]], 1)
    return (replace(piece, placeholders=(0,)),)


def _leading(*positions: int, results: Sequence[int] = (0,), dimensions: int = 2) -> Rule:
    """A rule for operators that treat each item of the first dimensions alone, such as images and their channels."""

    def rule(args: Arguments) -> tuple[Piece, ...]:
        count = min(dimensions, args[positions[0]].dim() - 1)
        return (Piece(tuple(axis(args, dict.fromkeys(positions, d), dict.fromkeys(results, d)) for d in range(count))),)

    return rule


def _all_but(position: int, *tensors: int, results: Sequence[int] = (0,), default: int = -1) -> Rule:
    """A rule for operators that work along one dimension, which an argument names."""

    def rule(args: Arguments) -> tuple[Piece, ...]:
        along = args[position] if position < len(args) else default
        first = args[tensors[0]]
        if not isinstance(along, int) or not first.dim():
            return ()
        others = [d for d in range(first.dim()) if d != along % first.dim()]
        return (Piece(tuple(axis(args, dict.fromkeys(tensors, d), dict.fromkeys(results, d)) for d in others)),)

    return rule


def _reduced(args: Arguments) -> tuple[Piece, ...]:
    """A sum, mean or maximum over some dimensions: all others."""
    values, over = args[0], args[1] if len(args) > 1 else None
    if not over or not values.dim():
        return ()
    gone = {d % values.dim() for d in ([over] if isinstance(over, int) else over)}
    keeps = len(args) > 2 and args[2] is True  # noqa: PLR2004  the third argument, keepdim
    left = [d for d in range(values.dim()) if d not in gone]
    return (Piece(tuple(axis(args, {0: d}, {0: d if keeps else left.index(d)}) for d in left)),)


def _layer_norm(args: Arguments) -> tuple[Piece, ...]:
    """native_layer_norm(input, normalized_shape, weight, bias, eps)."""
    leading = range(args[0].dim() - len(args[1]))
    return (Piece(tuple(axis(args, {0: d}, {0: d, 1: d, 2: d}) for d in leading)),)


def _layer_norm_backward(args: Arguments) -> tuple[Piece, ...]:
    """native_layer_norm_backward(grad, input, normalized_shape, mean, rstd, weight, bias, mask)."""
    leading = range(args[0].dim() - len(args[2]))
    rows = Piece(tuple(axis(args, {0: d, 1: d, 3: d, 4: d}, {0: d}) for d in leading), (0,))
    if len(args[2]) != 1:
        return (rows, Piece((), (1, 2)))

    def columns(arguments: list[Any], kept: Sequence[int]) -> None:
        arguments[2] = [kept[0]]

    return (rows, Piece((axis(args, {0: -1, 1: -1, 5: 0, 6: 0}, {1: 0, 2: 0}),), (1, 2), columns))


def _group_norm(args: Arguments) -> tuple[Piece, ...]:
    """native_group_norm(input, weight, bias, N, C, HxW, groups, eps)."""

    def images(arguments: list[Any], kept: Sequence[int]) -> None:
        arguments[3] = kept[0]

    return (Piece((axis(args, {0: 0}, {0: 0, 1: 0, 2: 0}),), None, images),)


def _group_norm_backward(args: Arguments) -> tuple[Piece, ...]:
    """native_group_norm_backward(grad, input, mean, rstd, weight, N, C, HxW, groups, mask)."""
    channels, groups = args[6], args[8]

    def some_groups(arguments: list[Any], kept: Sequence[int]) -> None:
        arguments[6], arguments[8] = kept[0] * (channels // groups), kept[0]

    arguments = {0: 1, 1: 1, 2: 1, 3: 1, 4: 0} if isinstance(args[4], Tensor) else {0: 1, 1: 1, 2: 1, 3: 1}
    return (Piece((Axis(groups, arguments, {0: 1, 1: 0, 2: 0}),), None, some_groups),)


def _channels(arguments: dict[int, int], results: dict[int, int]) -> Rule:
    """A rule for BatchNorm's operators."""
    return lambda args: (Piece((axis(args, arguments, results),)),)


def _embedding(args: Arguments) -> tuple[Piece, ...]:
    """Embedding(weight, indices): columns, and every dimension of the indices."""
    ids = args[1].dim()
    return (Piece((axis(args, {0: 1}, {0: ids}), *(axis(args, {1: d}, {0: d}) for d in range(ids)))),)


def _cat(args: Arguments) -> tuple[Piece, ...]:
    """Cat(tensors, dim): every other dimension, if all tensors have it."""
    tensors = args[0]
    first = tensors[0]
    along = args[1] if len(args) > 1 else 0
    if len({tensor.dim() for tensor in tensors}) != 1:
        return ()
    others = [d for d in range(first.dim()) if d != along % first.dim()]
    return (Piece(tuple(Axis(first.shape[d], {0: d}, {0: d}) for d in others)),)


def _stack(args: Arguments) -> tuple[Piece, ...]:
    """Stack(tensors, dim): every dimension of the tensors."""
    first = args[0][0]
    along = (args[1] if len(args) > 1 else 0) % (first.dim() + 1)
    return (Piece(tuple(Axis(first.shape[d], {0: d}, {0: d + (d >= along)}) for d in range(first.dim()))),)


def _slice_backward(args: Arguments) -> tuple[Piece, ...]:
    """slice_backward(grad, sizes, dim, ...) and select_backward(grad, sizes, dim, index): every other dimension."""
    grad, sizes, along = args[0], args[1], args[2] % len(args[1])
    others = [d for d in range(len(sizes)) if d != along]
    shift = len(sizes) - grad.dim()

    def smaller(arguments: list[Any], kept: Sequence[int]) -> None:
        changed = list(sizes)
        for dimension, length in zip(others, kept, strict=True):
            changed[dimension] = length
        arguments[1] = changed

    axes = (Axis(sizes[d], {0: d - shift * (d > along)}, {0: d}) for d in others)
    return (Piece(tuple(axes), None, smaller),)


def _padded(args: Arguments) -> tuple[Piece, ...]:
    """constant_pad_nd(input, pad, value): the dimensions before those that are padded."""
    before = range(args[0].dim() - len(args[1]) // 2)
    return (Piece(tuple(axis(args, {0: d}, {0: d}) for d in before)),)


def _filled(position: int) -> Rule:
    """A rule for operators that make a tensor of a given size full of one value."""

    def rule(args: Arguments) -> tuple[Piece, ...]:
        shape = args[position]

        def smaller(arguments: list[Any], kept: Sequence[int]) -> None:
            arguments[position] = list(kept)

        return (Piece(tuple(Axis(length, {}, {0: d}) for d, length in enumerate(shape)), None, smaller),)

    return rule


POINTWISE = {
    *("copy", "_to_copy", "lift_fresh", "zero", "fill", "masked_fill"),
    *("relu", "hardtanh", "hardtanh_backward", "hardswish", "hardswish_backward", "hardsigmoid_backward"),
    *("leaky_relu", "leaky_relu_backward", "elu", "elu_backward", "gelu", "silu", "mish", "mish_backward"),
    *("softplus_backward", "_prelu_kernel", "clamp", "clamp_min", "clamp_max"),
}
"""Operators that treat each element alone, though not every version of torch tags them so; also in place."""

BATCH_NORM = _channels({0: 1, 1: 0, 2: 0, 3: 0, 4: 0}, {0: 1, 1: 0, 2: 0, 3: 0, 4: 0})
CUDNN_BATCH_NORM = _channels({0: 1, 1: 0, 2: 0, 3: 0, 4: 0}, {0: 1, 1: 0, 2: 0, 4: 0, 5: 0})
RULES: dict[str, Rule] = {
    "native_batch_norm": BATCH_NORM,
    "_native_batch_norm_legit": BATCH_NORM,
    "miopen_batch_norm": BATCH_NORM,
    "cudnn_batch_norm": CUDNN_BATCH_NORM,
    "native_batch_norm_backward": _channels({0: 1, 1: 1, 2: 0, 3: 0, 4: 0, 5: 0, 6: 0}, {0: 1, 1: 0, 2: 0}),
    "cudnn_batch_norm_backward": _channels({0: 1, 1: 1, 2: 0, 3: 0, 4: 0, 5: 0, 6: 0}, {0: 1, 1: 0, 2: 0}),
    "native_layer_norm": _layer_norm,
    "native_layer_norm_backward": _layer_norm_backward,
    "native_group_norm": _group_norm,
    "native_group_norm_backward": _group_norm_backward,
    "_softmax": _all_but(1, 0),
    "_log_softmax": _all_but(1, 0),
    "_softmax_backward_data": _all_but(2, 0, 1),
    "_log_softmax_backward_data": _all_but(2, 0, 1),
    "cumsum": _all_but(1, 0),
    "cumprod": _all_but(1, 0),
    "sort": _all_but(1, 0, results=(0, 1)),
    "topk": _all_but(2, 0, results=(0, 1)),
    "max_pool2d_with_indices": _leading(0, results=(0, 1)),
    "max_pool2d_with_indices_backward": _leading(0, 1, 7),
    "avg_pool2d": _leading(0),
    "avg_pool2d_backward": _leading(0, 1),
    "_adaptive_avg_pool2d": _leading(0),
    "_adaptive_avg_pool2d_backward": _leading(0, 1),
    "upsample_nearest2d": _leading(0),
    "upsample_bilinear2d": _leading(0),
    "upsample_bicubic2d": _leading(0),
    "embedding": _embedding,
    "embedding_dense_backward": lambda args: (Piece((axis(args, {0: -1}, {0: 1}),)),),
    "cat": _cat,
    "stack": _stack,
    "slice_backward": _slice_backward,
    "select_backward": _slice_backward,
    "constant_pad_nd": _padded,
    "index_select": _all_but(1, 0),
    "glu": _all_but(1, 0),
    "pixel_shuffle": _leading(0, dimensions=1),
    "pixel_unshuffle": _leading(0, dimensions=1),
    **dict.fromkeys(("zeros_like", "ones_like", "full_like"), _like),
    "sum": _reduced,
    "mean": _reduced,
    "amax": _reduced,
    "amin": _reduced,
    "var": _reduced,
    "zeros": _filled(0),
    "ones": _filled(0),
    "full": _filled(0),
    "new_zeros": _filled(1),
    "new_ones": _filled(1),
    "new_full": _filled(1),
}
"""By operator. Products have theirs in `products`."""


def leaves_by_position(args: Arguments) -> list[list[int]]:
    """Of each argument, the numbers of its leaves among all leaves of the arguments."""
    numbers, begin = [], 0
    for value in args:
        count = len(_pytree.tree_leaves(value))
        numbers.append(list(range(begin, begin + count)))
        begin += count
    return numbers
