"""A part of an operator's call: its arguments on the CPU before it ran, and how to find its results afterwards."""

from collections.abc import Callable, Sequence
from math import prod
from typing import Any

import torch
from msgspec import Struct
from torch import Tensor
from torch.utils import _pytree

from torchlap.worker.numerics.axes import Axis, Piece, leaves_by_position
from torchlap.worker.numerics.operator_calls import Operator, copied_to_cpu, elements
from torchlap.worker.numerics.selection import Sampler, counts, take

Outputs = Sequence[Tensor | None]


class Part(Struct, frozen=True):
    """What is compared of a call.

    Attributes:
        before: the part's arguments on the CPU, before the call: args and kwargs.
        results: from the call's outputs, those of the part; None for one that the part does not have.
    """

    func: Operator
    before: Any
    results: Callable[[Outputs], list[Tensor | None]]


def whole(func: Operator, args: Any, kwargs: Any) -> Part:
    """All of a call."""
    return Part(func, _pytree.tree_map(copied_to_cpu, (args, kwargs)), list)


def cut(func: Operator, args: Any, kwargs: Any, piece: Piece, *, sampler: Sampler, most: int) -> Part:
    """The first, the last and random positions of a piece along each of its axes.

    Args:
        func: the operator's overload.
        args: its arguments on the device.
        kwargs: its arguments by name.
        piece: of the call.
        sampler: draws the positions.
        most: elements to keep, about.
    """
    axes = piece.axes
    lengths = [axis.length for axis in axes]
    kept = counts(lengths, [axis.keep for axis in axes], elements((args, kwargs)) or prod(lengths), most)
    chosen = [sampler.positions(axis.length, count) for axis, count in zip(axes, kept, strict=True)]

    def part_of(leaf: Tensor, position: int) -> Tensor:
        if position in piece.placeholders:
            shape = [*leaf.shape]
            for dimension, positions in cut_of(leaf, position, axes, chosen, of_results=False).items():
                shape[dimension] = len(positions)
            return torch.zeros((), dtype=leaf.dtype).expand(shape)
        part: Tensor = copied_to_cpu(take(leaf.detach(), cut_of(leaf, position, axes, chosen, of_results=False)))
        return part

    before = arguments_of(piece, args, kwargs, [len(positions) for positions in chosen], part_of)

    def results(outputs: Outputs) -> list[Tensor | None]:
        numbers = range(len(outputs)) if piece.results is None else piece.results
        return [
            take(output.detach(), cut_of(output, number, axes, chosen, of_results=True))
            if number in numbers and output is not None
            else None
            for number, output in enumerate(outputs)
        ]

    return Part(func, before, results)


def arguments_of(
    piece: Piece, args: Any, kwargs: Any, lengths: Sequence[int], change: Callable[[Tensor, int], Any]
) -> tuple[Any, Any]:
    """The arguments with `change` made to each tensor that has a position, which it gets too.

    Args:
        piece: of the call.
        args: its arguments on the device.
        kwargs: its arguments by name.
        lengths: of the piece's axes after the change.
        change: of a tensor.
    """
    leaves, spec = _pytree.tree_flatten(tuple(args))
    for position, numbers in enumerate(leaves_by_position(args)):
        for number in numbers:
            if isinstance(leaves[number], Tensor):
                leaves[number] = change(leaves[number], position)
    changed = list(_pytree.tree_unflatten(leaves, spec))
    if piece.patch is not None:
        piece.patch(changed, lengths)
    return tuple(changed), _pytree.tree_map(copied_to_cpu, kwargs)


def cut_of(
    tensor: Tensor, number: int, axes: Sequence[Axis], chosen: Sequence[Tensor], *, of_results: bool
) -> dict[int, Tensor]:
    """The positions that are kept of a tensor's dimensions; of a longer dimension than the axis, in blocks."""
    found: dict[int, Tensor] = {}
    for axis, positions in zip(axes, chosen, strict=True):
        dimension = (axis.results if of_results else axis.arguments).get(number)
        if dimension is None or not -tensor.dim() <= dimension < tensor.dim():
            continue
        dimension %= tensor.dim()
        block = tensor.shape[dimension] // max(axis.length, 1)
        if block:
            found[dimension] = (positions[:, None] * block + torch.arange(block)).flatten()
    return found
