"""Results that are whole numbers or booleans are exact; an index may also point to another value that is as large."""

from typing import Any

import torch
from torch import Tensor

DIMENSION = {"topk": 2, "sort": 1, "max": 1, "min": 1, "median": 1, "kthvalue": 2, "mode": 1, "argmax": 1, "argmin": 1}
"""Operators that return indices along a dimension, and the argument that names it."""

DISTINCT = {"topk", "sort", "argsort"}
CUMULATIVE = {"cummax", "cummin"}
POOLS = {"max_pool2d_with_indices", "max_pool3d_with_indices", "adaptive_max_pool2d", "fractional_max_pool2d"}
PLANE = {"max_pool3d_with_indices": 3}


def agree(name: str, args: Any, got: Tensor, right: Tensor) -> Tensor:
    """Where whole numbers are right: equal to the reference, or an index of an equal value.

    Args:
        name: of the operator.
        args: its arguments, on the CPU.
        got: one of its results, on the CPU.
        right: the reference.
    """
    equal = got == right.to(got.dtype)
    if bool(equal.all()) or got.dtype != torch.int64:
        return equal
    if name in POOLS:
        planes = PLANE.get(name, 2)
        values = args[0].flatten(-planes)
        same = _same_values(values, got.flatten(-planes), right.flatten(-planes), -1)
        return equal | same.reshape(got.shape)
    if name in DIMENSION or name in CUMULATIVE:
        return equal | _along(name, args, got, right)
    return equal


def _along(name: str, args: Any, got: Tensor, right: Tensor) -> Tensor:
    """Where indices along a dimension point to equal values; where they must differ from each other, they do."""
    values, place = args[0], DIMENSION.get(name, 1)
    dimension = args[place] if len(args) > place and isinstance(args[place], int) else None
    if dimension is None and name in ("argmax", "argmin"):
        values, got, right, dimension = values.flatten(), got.reshape(1), right.reshape(1), 0
    dimension = -1 if dimension is None else dimension
    if not values.dim():
        return torch.zeros_like(got, dtype=torch.bool)
    dropped = got.dim() < values.dim()
    if dropped:
        got, right = got.unsqueeze(dimension), right.unsqueeze(dimension)
    same = _same_values(values, got, right, dimension)
    if name in DISTINCT:
        ordered = got.sort(dimension)[0]
        repeated = (ordered.diff(dim=dimension) == 0).any(dimension, keepdim=True)
        same &= ~repeated
    return same.squeeze(dimension) if dropped else same


def _same_values(values: Tensor, got: Tensor, right: Tensor, dimension: int) -> Tensor:
    length = values.shape[dimension]
    inside = (got >= 0) & (got < length)
    chosen = values.gather(dimension, got.clamp(0, max(0, length - 1)))
    expected = values.gather(dimension, right)
    return inside & ((chosen == expected) | (chosen.isnan() & expected.isnan()))
