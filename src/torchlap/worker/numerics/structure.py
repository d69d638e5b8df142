"""Errors that the norm of a tensor hides: one that has the shape of the result, and one of a faint row.

Rounding has no direction: where a difference is proportional to the reference, something else is wrong, such as an
epsilon that is left out, values that are cut off instead of rounded, or a gradient that is a hundredth too large.
"""

from math import sqrt

import torch
from msgspec import Struct
from torch import Tensor

from torchlap.worker.numerics.selection import counts
from torchlap.worker.numerics.tolerance import GROWTH, SINGLE

SLOPE, SLOPE_16_BIT = 32.0, 0.25
"""The largest error that all elements may have in common: in units of float32, or of a 16-bit type."""

SLOPE_TF32 = 2.0**-9
"""Of a product: some devices cut both operands off to TF32 instead of rounding them, each by up to a unit of 2**-10."""

OWN = 8.0
"""Times as far as a correct implementation leans."""

SMALL_SHARE = 0.01
"""Of the mean square: smaller elements have relative errors of any size."""

NORMAL_SPREAD, MEDIAN_ERROR = 1.4826, 1.2533
"""A normal distribution's deviation over its median absolute deviation; its median's error over its mean's."""

STANDARD_ERRORS = 6.0
LEAST_ELEMENTS = 16
"""That a share of all elements is judged from, in effect: fewer may be off in the same direction by chance."""

LEAST_ROWS = 8
"""The same for rows or channels, whose elements may be correlated."""

LEAST_OF_A_ROW = 16

ENOUGH = 1 << 13
"""Elements show a direction that all have in common."""


class Direction(Struct, frozen=True):
    """How far results lean away from their reference: as a sum, and as the median of their relative errors.

    Each with the standard error that differences without a direction would have.
    """

    slope: float = 0.0
    slope_error: float = 0.0
    median: float = 0.0
    median_error: float = 0.0

    def over_limit(self, base: float, own: "Direction") -> float:
        """The larger of the two over its limit.

        Args:
            base: how far any operator may lean.
            own: how far a correct implementation leans.
        """
        return max(
            abs(self.slope) / (base + OWN * abs(own.slope) + STANDARD_ERRORS * self.slope_error),
            abs(self.median) / (base + OWN * abs(own.median) + STANDARD_ERRORS * self.median_error),
        )


NONE = Direction()


def direction_of(got: Tensor, right: Tensor) -> Direction:
    """Where the difference of a result from its reference points; nowhere if few elements have most of the norm."""
    got, right = _thinned(got).double(), _thinned(right)
    finite = torch.isfinite(got) & torch.isfinite(right)
    values, difference = right.where(finite, 0.0), (got - right).where(finite, 0.0)
    largest = float(values.abs().max()) if values.numel() else 0.0
    values, difference = values / largest, difference / largest  # so that no square overflows
    squares = values.square()
    energy = float(squares.sum())
    if not energy > 0 or not _is_spread(squares):
        return NONE
    slope = float((difference * values).sum()) / energy
    rest = (difference - slope * values) * values
    plain = sqrt(float(rest.square().sum()))
    error = max([plain, *(_norm_of_sums(rest, dimension) for dimension in _long(rest))])
    large = squares > energy / squares.numel() * SMALL_SHARE
    relative = difference[large] / values[large]
    median = float(relative.median())
    spread = NORMAL_SPREAD * float((relative - median).abs().median())
    median_error = MEDIAN_ERROR * spread / sqrt(relative.numel()) * (error / plain if plain else 1.0)
    return Direction(slope, error / energy, median, median_error)


def _thinned(values: Tensor) -> Tensor:
    """About `ENOUGH` elements, at equal distances along each dimension, of the last dimensions first."""
    kept = counts(list(values.shape[::-1]), [0] * values.dim(), values.numel(), ENOUGH)[::-1]
    steps = tuple(slice(None, None, max(1, size // count)) for size, count in zip(values.shape, kept, strict=True))
    return values[steps] if steps else values


def _long(values: Tensor) -> list[int]:
    """The dimensions whose rows can be compared with each other."""
    return [dimension for dimension, size in enumerate(values.shape) if size >= LEAST_ELEMENTS]


def _sums(values: Tensor, dimension: int) -> Tensor:
    """Of each row along a dimension."""
    others = [other for other in range(values.dim()) if other != dimension]
    return values.sum(others) if others else values


def _norm_of_sums(values: Tensor, dimension: int) -> float:
    """The standard error of a sum whose elements are correlated within each row along a dimension.

    The nine weights of a filter that sees smooth images have almost the same gradient, and the same error.
    """
    return sqrt(float(_sums(values, dimension).square().sum()))


def _is_spread(squares: Tensor) -> bool:
    """Whether many elements, and many rows along each long dimension, have a part of the sum."""
    parts = [(squares.flatten(), LEAST_ELEMENTS), *((_sums(squares, d), LEAST_ROWS) for d in _long(squares))]
    return all(float(part.sum()) ** 2 >= least * float(part.square().sum()) for part, least in parts)


def rows_over_limit(got: Tensor, right: Tensor, dimension: int) -> tuple[Tensor, Tensor]:
    """The error of each row along a dimension relative to the row, and which of them exceed every operator's limit.

    Rows of few elements, and those that are 0, are within it.
    """
    others = [d for d in range(right.dim()) if d != dimension]
    norms = torch.linalg.vector_norm(right, dim=others)
    errors = torch.linalg.vector_norm(got.double() - right, dim=others) / norms
    enough = right.numel() // max(1, right.shape[dimension]) >= LEAST_OF_A_ROW
    return errors, (errors > GROWTH * SINGLE) & (norms > 0) & enough
