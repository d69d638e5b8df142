"""Along which axes the operators that multiply can be checked: the rows, columns, images and channels of a product."""

from collections.abc import Sequence
from typing import Any

from msgspec.structs import replace

from torchlap.worker.numerics.axes import Arguments, Axis, Piece, Rule, axis

IMAGES, CHANNELS, GROUPS, ROWS, COLUMNS = 3, 8, 16, 4, 64
"""How many are compared with float64 exactly."""

DRAWS = 4
"""Combinations along an axis of which few numbers are left; one along an axis that leaves a whole image."""

LARGE = 1 << 22
"""Elements of a right operand that is itself combined: otherwise all of it would have to be copied to the CPU."""


def _convolution(args: Arguments) -> tuple[Piece, ...]:
    """convolution(input, weight, bias, stride, padding, dilation, transposed, output_padding, groups)."""
    transposed, groups = args[6], args[8]
    images = axis(args, {0: 0}, {0: 0}, keep=IMAGES, draws=1)
    if groups > 1:
        return (Piece((images, _groups(groups, {0: 1, 1: 0, 2: 0}, {0: 1})), None, _few_groups(8)),)
    channels = axis(args, {1: 1 if transposed else 0, 2: 0}, {0: 1}, keep=CHANNELS)
    return (Piece((images, channels)),)


def _convolution_backward(args: Arguments) -> tuple[Piece, ...]:
    """convolution_backward(grad, input, weight, bias_sizes, stride, padding, dilation, transposed, _, groups, mask)."""
    transposed, groups, mask = args[7], args[9], args[10]
    out, enter = (1, 0) if transposed else (0, 1)
    found = []
    if mask[0]:
        images = axis(args, {0: 0, 1: 0}, {0: 0}, keep=IMAGES, draws=1)
        channels = axis(args, {1: 1, 2: enter}, {0: 1}, keep=CHANNELS)
        by_group = _groups(groups, {0: 1, 1: 1, 2: 0}, {0: 1})
        axes = (images, channels if groups == 1 else by_group)
        found.append(Piece(axes, (0,), _masked((True, False, False), groups), placeholders=(1,)))
    draws = 0 if groups > 1 else DRAWS
    to = axis(args, {0: 1, 2: out}, {1: out, 2: 0}, keep=CHANNELS, draws=draws)
    if mask[1]:
        since = axis(args, {1: 1, 2: enter}, {1: enter}, keep=CHANNELS, draws=draws)
        by_group = _groups(groups, {0: 1, 1: 1, 2: 0}, {1: 0})
        both = (replace(to, even=True), since) if groups == 1 else (by_group,)
        found.append(Piece(both, (1,), _masked((False, True, False), groups), placeholders=(2,)))
    if mask[2]:
        found.append(Piece((replace(to, draws=DRAWS),), (2,), _bias_only(transposed=transposed), placeholders=(1, 2)))
    return tuple(found)


def _groups(groups: int, arguments: dict[int, int], results: dict[int, int]) -> Axis:
    return Axis(groups, arguments, results, GROUPS)


def _few_groups(position: int) -> Any:
    def patch(arguments: list[Any], kept: Sequence[int]) -> None:
        arguments[position] = kept[-1]

    return patch


def _masked(mask: tuple[bool, bool, bool], groups: int) -> Any:
    def patch(arguments: list[Any], kept: Sequence[int]) -> None:
        arguments[3] = [arguments[0].shape[1]] if arguments[3] else arguments[3]
        arguments[9] = kept[-1] if groups > 1 else 1
        arguments[10] = list(mask)

    return patch


def _bias_only(*, transposed: bool) -> Any:
    """The gradient of the bias, which needs no input and no weight: placeholders without groups stand for them."""

    def patch(arguments: list[Any], kept: Sequence[int]) -> None:
        inputs, weight = arguments[1], arguments[2]
        count, sizes = arguments[0].shape[1], weight.shape[2:]
        arguments[1] = inputs[:, :1].expand(-1, 1, *inputs.shape[2:])
        arguments[2] = (
            weight[:1, :1].expand(1, count, *sizes) if transposed else weight[:1, :1].expand(count, 1, *sizes)
        )
        _masked((False, False, True), 1)(arguments, kept)

    return patch


def _matrices(left: int, *, batches: bool = False) -> Rule:
    """A rule for mm, addmm, bmm and baddbmm; the left operand has the position `left`, an addend precedes it."""
    dimensions = 3 if batches else 2

    def rule(args: Arguments) -> tuple[Piece, ...]:
        right, first = left + 1, int(batches)
        large = args[right].numel() > LARGE
        rows = {left: first} | ({0: first - dimensions} if left else {})
        columns = {right: first + 1} | ({0: -1} if left else {})
        axes = [
            axis(args, rows, {0: first}, keep=ROWS, draws=DRAWS if large else 1),
            axis(args, columns, {0: first + 1}, keep=COLUMNS, draws=2 * DRAWS if large else 0),
        ]
        if batches:
            axes.insert(0, axis(args, {left: 0, right: 0} | ({0: -dimensions} if left else {}), {0: 0}, keep=2 * ROWS))
        return (Piece(tuple(axes)),)

    return rule


def _linear(args: Arguments) -> tuple[Piece, ...]:
    """Linear(input, weight, bias)."""
    if args[0].dim() == 1:
        return ()
    rows = axis(args, {0: 0}, {0: 0}, keep=ROWS, draws=1)
    return (Piece((rows, axis(args, {1: 0, 2: 0}, {0: -1}, keep=COLUMNS))),)


PRODUCTS: dict[str, Rule] = {
    "convolution": _convolution,
    "convolution_backward": _convolution_backward,
    "mm": _matrices(0),
    "addmm": _matrices(1),
    "bmm": _matrices(0, batches=True),
    "baddbmm": _matrices(1, batches=True),
    "linear": _linear,
}
"""By operator."""
