"""Operators on lists of tensors, as optimizers use them: a few elements of every tensor, checked in one call.

What is kept of each tensor is laid end to end, so that one reference and one copy to the CPU serve a whole list. Each
tensor is still judged alone; one that may be wrong is compared again by itself, with all limits.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from msgspec import Struct
from torch import Tensor
from torch.utils import _pytree

from torchlap.worker.numerics.operator_calls import OF_LISTS, Operator, copied_to_cpu
from torchlap.worker.numerics.parts import Outputs, Part
from torchlap.worker.numerics.selection import Sampler, counts, take

REDUCING = {"_foreach_norm", "_foreach_max"}
"""Operators of which each tensor's result needs all of its elements."""


class Joined(Struct, frozen=True):
    """Parts of all tensors of a call's lists, end to end.

    Attributes:
        whole: the part of the call that has them all.
        sizes: how many elements each tensor has in it.
    """

    whole: Part
    sizes: tuple[int, ...]

    def single(self, number: int) -> Part:
        """The part of one tensor of the lists."""
        begin = sum(self.sizes[:number])
        end = begin + self.sizes[number]

        def piece(leaf: Any) -> Any:
            return leaf[begin:end] if isinstance(leaf, Tensor) and leaf.shape == (sum(self.sizes),) else leaf

        def results(outputs: Outputs) -> list[Tensor | None]:
            return [piece(output) for output in self.whole.results(outputs)]

        return Part(self.whole.func, _pytree.tree_map(piece, self.whole.before), results)


def length_of(func: Operator, args: Any) -> int:
    """The length of the lists of tensors that the operator treats alike; 0 if it has none."""
    if not func.overloadpacket.__name__.startswith(OF_LISTS):
        return 0
    return max((len(value) for value in args if _is_list(value)), default=0)


def _is_list(value: Any) -> bool:
    return isinstance(value, list | tuple) and bool(value) and isinstance(value[0], Tensor)


def joined(func: Operator, args: Any, kwargs: Any, *, sampler: Sampler, most: int) -> Joined | None:
    """A few elements of every tensor, end to end; None if the tensors are not alike, or their numbers differ.

    Args:
        func: the operator's overload.
        args: its arguments on the device.
        kwargs: its arguments by name.
        sampler: draws the positions.
        most: elements to keep of each tensor, about.
    """
    length = length_of(func, args)
    lists = [value for value in args if _is_list(value)]
    if not _are_alike(lists, length):
        return None
    shapes = [max((value[number].shape for value in lists), key=len) for number in range(length)]
    takers = [_taker(shape, sampler, most) for shape in shapes]

    def join(tensors: Sequence[Tensor]) -> Any:
        if all(tensor.shape == shape for tensor, shape in zip(tensors, shapes, strict=True)):
            return [torch.cat([taker(tensor) for taker, tensor in zip(takers, tensors, strict=True)]).cpu()]
        return _the_same([float(value) for value in torch.stack(list(tensors)).cpu()], tensors[0])

    try:
        before = tuple(_joined_argument(value, join) for value in args), _pytree.tree_map(copied_to_cpu, kwargs)
    except _DifferError:
        return None

    def results(outputs: Outputs) -> list[Tensor | None]:
        tensors = [output for output in outputs if output is not None]
        groups = [tensors[begin : begin + length] for begin in range(0, len(tensors), length)]
        return [join(group)[0] for group in groups]

    sizes = tuple(
        int(taker(torch.empty(shape, device="meta")).numel()) for taker, shape in zip(takers, shapes, strict=True)
    )
    return Joined(Part(func, before, results), sizes)


def separate(func: Operator, args: Any, kwargs: Any, *, sampler: Sampler, most: int) -> list[Part]:
    """A part for each tensor of the lists; of a large one, only some elements if `most` is not 0."""
    length = length_of(func, args)
    named = _pytree.tree_map(copied_to_cpu, kwargs)
    found = []
    for number in range(length):
        shape = max((value[number].shape for value in args if _is_list(value) and len(value) == length), key=len)
        part_of = _cutter(number, length, _taker(shape, sampler, most) if most else None, shape)
        before = (tuple(_pytree.tree_map(copied_to_cpu, part_of(value)) for value in args), named)
        found.append(Part(func, before, _results_of(length, part_of)))
    return found


def _results_of(length: int, part_of: Callable[[Any], Any]) -> Callable[[Outputs], list[Tensor | None]]:
    def results(outputs: Outputs) -> list[Tensor | None]:
        return [part_of(list(outputs[begin : begin + length]))[0] for begin in range(0, len(outputs), length)]

    return results


def _cutter(
    number: int, length: int, taker: Callable[[Tensor], Tensor] | None, shape: torch.Size
) -> Callable[[Any], Any]:
    """A function that reduces a list of that length to its item, or to a part of it."""

    def part_of(value: Any) -> Any:
        if not isinstance(value, list | tuple) or len(value) != length:
            return value
        item = value[number]
        return [taker(item) if taker and isinstance(item, Tensor) and item.shape == shape else item]

    return part_of


def _are_alike(lists: Sequence[Sequence[Tensor]], length: int) -> bool:
    """Whether all lists have that length, and each the same type and device throughout."""
    return all(
        len(value) == length and len({(tensor.dtype, tensor.device) for tensor in value}) == 1 for value in lists
    )


def _taker(shape: torch.Size, sampler: Sampler, most: int) -> Callable[[Tensor], Tensor]:
    """What is kept of a tensor of that shape, as a vector."""
    kept = counts(list(shape), [0] * len(shape), shape.numel(), most)
    cut = {d: sampler.positions(size, count) for d, (size, count) in enumerate(zip(shape, kept, strict=True))}

    def taken(tensor: Tensor) -> Tensor:
        return take(tensor.detach(), {d: positions.to(tensor.device) for d, positions in cut.items()}).reshape(-1)

    return taken


class _DifferError(Exception):
    """The tensors of a list need different numbers, so that one call cannot serve them all."""


def _joined_argument(value: Any, join: Callable[[Sequence[Tensor]], Any]) -> Any:
    if _is_list(value):
        return join(value)
    if isinstance(value, list | tuple) and value:  # a number for each tensor
        return _the_same(list(value), None)
    return copied_to_cpu(value)


def _the_same(numbers: list[Any], like: Tensor | None) -> list[Any]:
    """One number instead of many that are equal."""
    if any(number != numbers[0] for number in numbers):
        raise _DifferError
    return [numbers[0] if like is None else torch.full((), numbers[0], dtype=like.dtype)]
