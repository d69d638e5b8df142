"""What an operator call reads and writes, and how a call on much data is split into parts."""

from collections.abc import Callable, Iterator, Sequence
from math import prod
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree

Operator = Any
"""An operator's overload; torch has no public type for it."""

WITHOUT_RESULTS = (
    "detach",
    "empty",
    "empty_like",
    "empty_strided",
    "empty_permuted",
    "new_empty",
    "new_empty_strided",
    "resize_",
    "_local_scalar_dense",
)
"""Operators that compute nothing: no result to check, and no cost to count."""

OF_LISTS = ("_foreach", "_fused")
"""Prefixes of operators that do the same to each tensor of a list."""


def is_floating(leaf: Any) -> bool:
    """Whether it is a tensor of floating-point numbers."""
    return isinstance(leaf, Tensor) and leaf.is_floating_point()


def floating_tensors(values: Any) -> list[Tensor]:
    """The floating-point tensors in a nested structure."""
    return [leaf for leaf in _pytree.tree_leaves(values) if is_floating(leaf)]


def written(func: Operator, args: Any, kwargs: Any) -> list[Any]:
    """The arguments that the operator writes into."""
    arguments = func._schema.arguments  # noqa: SLF001  there is no public name
    named = {argument.name: value for argument, value in zip(arguments, args, strict=False)} | kwargs
    names = [
        argument.name for argument in arguments if argument.alias_info is not None and argument.alias_info.is_write
    ]
    return [named[name] for name in names if name in named]


def copied_to_cpu(leaf: Any) -> Any:
    """A tensor's copy on the CPU, with the same strides if the tensor is dense in memory; anything else as it is."""
    if not isinstance(leaf, Tensor):
        return leaf
    copy = leaf.detach().to("cpu", copy=True)
    keeps_strides = not leaf.dim() or leaf.is_contiguous() or copy.stride() == leaf.stride()
    if keeps_strides or 0 in leaf.stride() or not _is_dense(leaf):
        return copy
    return torch.empty_strided(leaf.shape, leaf.stride(), dtype=leaf.dtype).copy_(copy)


def _is_dense(tensor: Tensor) -> bool:
    """Whether the tensor's elements fill its range of memory without gaps."""
    extent = 1 + sum((size - 1) * step for size, step in zip(tensor.shape, tensor.stride(), strict=True))
    return extent == tensor.numel()


def parts(
    func: Operator, before: Any, after: Any, results: Sequence[Tensor], sample: int
) -> Iterator[tuple[Any, Sequence[Tensor]]]:
    """The call in parts that fit into memory: arguments, and their results.

    Lists of tensors are split into their tensors; of large element-wise calls only the first rows are kept.

    Args:
        func: the operator's overload.
        before: its arguments on the CPU, before it ran: args and kwargs.
        after: its arguments on the device, after it ran.
        results: its results.
        sample: about how many elements of an element-wise call to keep; 0 for all.
    """
    name = func.overloadpacket.__name__
    lists = [leaf for leaf in before[0] if isinstance(leaf, list | tuple) and leaf and isinstance(leaf[0], Tensor)]
    if not (name.startswith(OF_LISTS) and lists):
        yield _sampled(func, before, results, sample)
        return
    length, changed = len(lists[0]), written(func, *after)
    for number in range(length):
        pick = _picker(number, length)
        part_results = floating_tensors([pick(value) for value in changed]) if changed else [results[number]]
        args, kwargs = before
        part = (tuple(map(pick, args)), {key: pick(value) for key, value in kwargs.items()})
        yield _sampled(func, part, part_results, sample, elementwise=True)


def _picker(number: int, length: int) -> Callable[[Any], Any]:
    """A function that reduces a list of that length to one of its items."""

    def pick(value: Any) -> Any:
        is_list = isinstance(value, list | tuple) and len(value) == length
        return [value[number]] if is_list else value

    return pick


def _sampled(
    func: Operator, before: Any, results: Sequence[Tensor], sample: int, *, elementwise: bool = False
) -> tuple[Any, Sequence[Tensor]]:
    """The first rows of a large element-wise call; any other call as it is."""
    pointwise = elementwise or torch.Tag.pointwise in func.tags
    leaves = _pytree.tree_leaves((before, results))
    shapes = {leaf.shape for leaf in leaves if isinstance(leaf, Tensor) and leaf.dim()}
    if not (sample and pointwise and len(shapes) == 1):
        return before, results
    (shape,) = shapes
    rows = max(1, sample * int(shape[0]) // max(1, prod(shape)))
    if rows >= shape[0]:
        return before, results

    def cut(leaf: Any) -> Any:
        return leaf[:rows] if isinstance(leaf, Tensor) and leaf.dim() else leaf

    return _pytree.tree_map(cut, before), [cut(result) for result in results]
