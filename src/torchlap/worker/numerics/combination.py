"""Random combinations of a product's results (Freivalds): they cover every element at a fraction of the product's cost.

A product is linear in each operand, so a combination of its results is the product of the same combination of an
operand: for y = x w, (r y) = (r x) w. The combinations of what the device computed, and of what it computed it from,
are sums in float64; the device forms them where it has float64, so that only they are copied, and some of each are
formed again on the CPU.
"""

from collections.abc import Sequence
from math import inf, prod, sqrt
from typing import Any

import torch
from msgspec import Struct
from torch import Tensor

from torchlap.worker.numerics.axes import Axis, Piece
from torchlap.worker.numerics.operator_calls import Operator, outputs
from torchlap.worker.numerics.parts import Outputs, arguments_of
from torchlap.worker.numerics.selection import Sampler
from torchlap.worker.numerics.tolerance import NEAR, WORST

CHUNK_CPU, CHUNK_DEVICE = 1 << 20, 1 << 25
"""Elements that are converted to float64 at a time."""

SIGMAS = 8.0
"""How far the worst number of a combination may stand out from the others, in their own noise."""

WITHIN_ONE_SIGMA = 0.68
CHECKED_AGAIN = 64
SMALLEST_SIZE = 1e-9
SUMS_AGREE = 1e-10
"""Relative difference of two float64 sums of the same numbers in another order: 2**-53 times their number, at most."""


class Combiner:
    """Forms combinations along dimensions of tensors on a device.

    Attributes:
        distrusted: the device's sums in float64 differed from the CPU's, which forms them since.
    """

    def __init__(self) -> None:
        self.distrusted = False
        self._without_double: set[torch.device] = set()

    def combine(self, tensor: Tensor, weights: dict[int, Tensor]) -> Tensor:
        """The combinations of a tensor along each of those dimensions, in float64 on the CPU."""
        tensor = tensor.detach()
        if self.distrusted or not self._has_double(tensor.device):
            tensor = tensor.cpu()
        for dimension, rows in sorted(weights.items(), key=lambda item: -item[1].shape[1]):
            tensor = self._along(tensor, dimension, rows)
        return tensor.cpu().double()

    def _has_double(self, device: torch.device) -> bool:
        if device in self._without_double:
            return False
        try:
            torch.zeros(1, dtype=torch.float64, device=device)
        except (RuntimeError, TypeError):
            self._without_double.add(device)
            return False
        return True

    def _along(self, tensor: Tensor, dimension: int, rows: Tensor) -> Tensor:
        """[draws, length] times the tensor's matrix [length, rest], a chunk of columns or blocks at a time."""
        moved = tensor.movedim(dimension, 0)
        combined = _in_chunks(moved, rows.to(tensor.device))
        if tensor.device.type != "cpu" and not _agrees(moved, rows, combined):
            self.distrusted = True
            combined = _in_chunks(moved.cpu(), rows)
        return combined.movedim(0, dimension)


def _in_chunks(moved: Tensor, rows: Tensor) -> Tensor:
    """The combinations of the first dimension."""
    chunk = CHUNK_CPU if moved.device.type == "cpu" else CHUNK_DEVICE
    if moved.dim() < 2:  # noqa: PLR2004  a vector has no columns
        return rows @ moved.double()
    length, second = moved.shape[0], moved.shape[1]
    step = max(1, chunk * second // max(1, moved.numel()))
    shape = (rows.shape[0], -1, *moved.shape[2:])
    done = [
        (rows @ moved[:, begin : begin + step].reshape(length, -1).double()).reshape(shape)
        for begin in range(0, second, step)
    ]
    return torch.cat(done, 1)


def _agrees(moved: Tensor, rows: Tensor, combined: Tensor) -> bool:
    """Whether some of the sums are the CPU's."""
    columns, sums = moved.reshape(moved.shape[0], -1), combined.reshape(rows.shape[0], -1)
    step = max(1, columns.shape[1] // CHECKED_AGAIN)
    values = columns[:, ::step].cpu().double()
    difference = (rows @ values - sums[:, ::step].cpu()).abs()
    return not bool((difference > SUMS_AGREE * (rows.abs() @ values.abs())).any())


class Screening(Struct, frozen=True):
    """A combination's error, an estimate of the whole result's, and its worst number; over `NEAR` times the limits."""

    error: float
    worst: float

    @property
    def suspicious(self) -> bool:
        """Whether the whole result has to be compared; also if the error is not a number."""
        return not max(self.error, self.worst) <= 1

    @property
    def within_limit(self) -> bool:
        """Whether the result is within the limit itself, as far as a combination can tell."""
        return max(self.error, self.worst) <= 1 / NEAR


def is_linear(piece: Piece) -> bool:
    """Whether the piece has an axis along which results can be combined, and that is longer than what is checked."""
    return any(axis.draws and axis.length > axis.keep for axis in piece.axes)


def screen(
    func: Operator,
    call: tuple[Any, Any],
    results: Outputs,
    piece: Piece,
    *,
    combiner: Combiner,
    sampler: Sampler,
    known: dict[int, tuple[float, float]],
) -> dict[int, Screening]:
    """Compare combinations of a piece's results with the results of combinations.

    Args:
        func: the operator's overload.
        call: its arguments on the device: args and kwargs.
        results: what it computed.
        piece: one of its pieces.
        combiner: forms the combinations.
        sampler: draws their weights.
        known: by number of the result, its root mean square and the largest error of a correct one.
    """
    plain = [sampler.weights(axis.draws, axis.length) if axis.draws else None for axis in piece.axes]
    sizes = [_sizes(axis, results) if axis.even else None for axis in piece.axes]
    weights = [rows if rows is None or size is None else rows / size for rows, size in zip(plain, sizes, strict=True)]
    even = any(size is not None for size in sizes)
    lengths = [axis.draws or axis.length for axis in piece.axes]
    args, kwargs = arguments_of(
        piece, *call, lengths, lambda leaf, place: _operand(leaf, place, piece, weights, combiner)
    )
    right = outputs(func, args, kwargs, func(*args, **kwargs))
    found = {}
    for number, (rms, limit) in known.items():
        result, expected = results[number], right[number]
        if result is None or expected is None:
            continue
        rows = _rows_of(result, [axis.results.get(number) for axis in piece.axes], weights)
        difference = combiner.combine(result, rows) - expected
        unscaled = _rows_of(result, [axis.results.get(number) for axis in piece.axes], plain)
        growth = prod(float(row.square().sum(1).mean().sqrt()) for row in unscaled.values())
        found[number] = _screened(difference, growth, max(1.0 if even else rms, _rms(expected) / growth), limit)
    return found


def _sizes(axis: Axis, results: Outputs) -> Tensor | None:
    """The root mean square of a result at each position of an axis; of none less than a billionth of the largest."""
    number, dimension = next(iter(axis.results.items()))
    result = results[number]
    if result is None:
        return None
    others = [d for d in range(result.dim()) if d != dimension % result.dim()]
    norms = torch.linalg.vector_norm(result.detach().float(), dim=others).cpu().double()
    sizes = norms * sqrt(result.shape[dimension] / max(1, result.numel()))
    even: Tensor = sizes.clamp(min=SMALLEST_SIZE * float(sizes.max()) or 1.0)
    return even


def _operand(leaf: Tensor, place: int, piece: Piece, weights: Sequence[Tensor | None], combiner: Combiner) -> Tensor:
    """An argument as the combination of results needs it."""
    rows = _rows_of(leaf, [axis.arguments.get(place) for axis in piece.axes], weights)
    if place in piece.placeholders:
        shape = list(leaf.shape)
        for dimension, row in rows.items():
            shape[dimension] = len(row)
        return torch.zeros(1, dtype=torch.float64).expand(shape)
    return combiner.combine(leaf, rows)


def _rows_of(tensor: Tensor, dimensions: Sequence[int | None], weights: Sequence[Tensor | None]) -> dict[int, Tensor]:
    """By dimension of a tensor, the weights of its combinations."""
    return {
        dimension % tensor.dim(): rows
        for dimension, rows in zip(dimensions, weights, strict=True)
        if dimension is not None and rows is not None
    }


def _screened(difference: Tensor, growth: float, rms: float, limit: float) -> Screening:
    """A combination's difference against the limits; `growth` is that of independent errors in a combination."""
    size = difference.abs().flatten()
    noise = float(size.kthvalue(max(1, int(WITHIN_ONE_SIGMA * size.numel())))[0])
    error, worst = _rms(difference) / growth, float(size.max())
    most = NEAR * WORST * limit * rms + SIGMAS * min(noise, growth * limit * rms)
    return Screening(_over(error, NEAR * limit * rms), _over(worst, most))


def _rms(values: Tensor) -> float:
    return float(torch.linalg.vector_norm(values)) / sqrt(max(1, values.numel()))


def _over(value: float, limit: float) -> float:
    if value == 0:
        return 0.0
    return value / limit if limit else inf
