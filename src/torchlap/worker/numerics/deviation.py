"""How far a result is from its reference."""

from math import inf, sqrt

import torch
from msgspec import Struct
from torch import Tensor

UNIT_16_BIT = {torch.bfloat16: 2.0**-8, torch.float16: 2.0**-11}
"""The unit round-off of each 16-bit type."""


class Deviation(Struct, frozen=True):
    """How far a tensor is from another: relative to its norm, and the worst element relative to its root mean square.

    Where the reference's norm is 0, both are absolute.
    """

    error: float
    worst: float


EXACT, NOT_FINITE = Deviation(0.0, 0.0), Deviation(inf, inf)


def deviation_of(got: Tensor, right: Tensor) -> Deviation:
    """How far `got` is from the reference, over the elements where both are finite."""
    difference = got.double() - right  # a new tensor: `got` may be the step's own
    if not bool(torch.isfinite(difference).all()):
        difference = torch.nan_to_num_(difference, nan=0.0, posinf=0.0, neginf=0.0)
        right = torch.nan_to_num(right, nan=0.0, posinf=0.0, neginf=0.0)
    norm, error = float(torch.linalg.vector_norm(right)), float(torch.linalg.vector_norm(difference))
    worst = float(torch.linalg.vector_norm(difference, inf))
    if norm == 0:
        return Deviation(error, worst)
    return Deviation(error / norm, worst / norm * sqrt(right.numel()))


def is_finite_where(right: Tensor, got: Tensor) -> bool:
    """Whether the result is finite wherever the reference, rounded to the result's type, is finite."""
    if bool(torch.isfinite(got).all()):
        return True
    rounded = right.to(got.dtype)
    return bool((torch.isfinite(got) | ~torch.isfinite(rounded)).all())


def unlike(got: Tensor, right: Tensor) -> Tensor:
    """Where one is infinite or NaN and the other is not the same; the reference is rounded to the result's type first.

    A finite result within a hundredth of the largest number may be infinite in the reference, and the reverse.
    """
    rounded = right.to(got.dtype)
    both_finite = torch.isfinite(got) & torch.isfinite(rounded)
    same = (got == rounded) | (torch.isnan(got) & torch.isnan(rounded))
    largest = torch.finfo(got.dtype).max
    border = ((right.abs() / largest - 1).abs() < BORDER) & (torch.sign(got) == torch.sign(rounded))
    return ~(both_finite | same | border)


BORDER = 0.01
