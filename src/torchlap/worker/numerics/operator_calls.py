"""What an operator call reads and writes."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

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

WRITES = {"native_batch_norm": (3, 4), "cudnn_batch_norm": (3, 4), "miopen_batch_norm": (3, 4)}
"""Arguments that these operators write into, when training, though their schemas do not say so."""

TRAINING = 5
"""The argument of those operators that says whether they train."""


def is_floating(leaf: Any) -> bool:
    """Whether it is a tensor of real or complex floating-point numbers."""
    return isinstance(leaf, Tensor) and (leaf.is_floating_point() or leaf.is_complex())


def leaves(values: Any) -> list[Any]:
    """What nested tuples, lists and dictionaries hold: faster than torch's own, for operators' calls."""
    found: list[Any] = []
    rest = [values]
    while rest:
        value = rest.pop()
        if isinstance(value, list | tuple):
            rest.extend(reversed(value))
        elif isinstance(value, dict):
            rest.extend(reversed(list(value.values())))
        else:
            found.append(value)
    return found


def floating_tensors(values: Any) -> list[Tensor]:
    """The floating-point tensors in a nested structure."""
    return [leaf for leaf in leaves(values) if is_floating(leaf)]


def arguments_by_name(func: Operator, args: Any, kwargs: Any) -> dict[str, Any]:
    """The arguments of a call that were given, by their names in the operator's schema."""
    declared = func._schema.arguments  # noqa: SLF001  there is no public name
    named: dict[str, Any] = {argument.name: value for argument, value in zip(declared, args, strict=False)}
    return {**named, **kwargs}


def written(func: Operator, args: Any, kwargs: Any) -> list[Any]:
    """The arguments that the operator writes into."""
    positions = WRITES.get(func.overloadpacket.__name__, ())
    if positions:
        return [args[position] for position in positions] if args[TRAINING] else []
    named = arguments_by_name(func, args, kwargs)
    names = [
        argument.name
        for argument in func._schema.arguments  # noqa: SLF001  there is no public name
        if argument.alias_info is not None and argument.alias_info.is_write
    ]
    return [named[name] for name in names if name in named]


def outputs(func: Operator, args: Any, kwargs: Any, out: Any) -> list[Tensor | None]:
    """What a call computed: what it returned, then the arguments that it wrote into; None for what is no tensor.

    A returned tensor that is such an argument is listed once.
    """
    declared = func._schema.returns  # noqa: SLF001  there is no public name
    returned = out if len(declared) > 1 else (out,)
    fresh = [
        value
        for value, result in zip(returned, declared, strict=False)
        if result.alias_info is None or not result.alias_info.is_write
    ]
    every = leaves([fresh, written(func, args, kwargs)])
    return [leaf if isinstance(leaf, Tensor) else None for leaf in every]


def read_only(func: Operator, args: Any, kwargs: Any) -> list[Tensor]:
    """The tensors that a call must not change."""
    changed = {id(leaf) for leaf in leaves(written(func, args, kwargs))}
    every = leaves((args, kwargs))
    return [leaf for leaf in every if isinstance(leaf, Tensor) and id(leaf) not in changed]


def elements(values: Sequence[Any]) -> int:
    """How many elements the largest of the tensors in a nested structure has."""
    return max((leaf.numel() for leaf in leaves(values) if isinstance(leaf, Tensor)), default=0)


def copied_to_cpu(leaf: Any) -> Any:
    """A tensor's copy on the CPU, with the same strides if the tensor is dense in memory; anything else as it is."""
    if not isinstance(leaf, Tensor):
        return leaf
    copy = leaf.detach().to("cpu", copy=True)
    if leaf.layout != torch.strided:
        return copy
    keeps_strides = not leaf.dim() or leaf.is_contiguous() or copy.stride() == leaf.stride()
    if keeps_strides or 0 in leaf.stride() or not is_dense(leaf):
        return copy
    return torch.empty_strided(leaf.shape, leaf.stride(), dtype=leaf.dtype).copy_(copy)


def is_dense(tensor: Tensor) -> bool:
    """Whether the tensor's elements fill its range of memory without gaps."""
    extent = 1 + sum((size - 1) * step for size, step in zip(tensor.shape, tensor.stride(), strict=True))
    return extent == tensor.numel()
