"""Which part of a large call is checked: the first, the last and random positions, by a seed that is recorded."""

from collections.abc import Mapping

import torch
from torch import Tensor

LEAST = 4
"""Positions along an axis that is cut: the first, the last, and two between them."""

LEAST_WEIGHT = 0.25
MOST_TRIES = 100

Cut = Mapping[int, Tensor]
"""Dimensions of a tensor, and the positions that are kept of each."""


class Sampler:
    """Draws positions and weights; the same seed gives the same ones."""

    def __init__(self, seed: int) -> None:
        self._generator = torch.Generator().manual_seed(seed)

    def positions(self, length: int, count: int) -> Tensor:
        """The first, the last and random positions between them, in order; all if they are no more than `count`."""
        if length <= count:
            return torch.arange(length)
        ends = 1 + (length - 2) * torch.arange(count - 1) // (count - 2)
        low, high = ends[:-1], ends[1:]
        shares = torch.rand(count - 2, generator=self._generator, dtype=torch.float64)
        inner = low + (shares * (high - low)).long()  # one in each stretch
        return torch.cat([torch.tensor([0]), inner, torch.tensor([length - 1])])

    def weights(self, draws: int, length: int) -> Tensor:
        """Rows of random weights in float64, each with the sum 1 and no weight near 0: [draws, length].

        With that sum, the combination of results that have a constant term has the same constant term.
        """
        rows = [self._row(length) for _ in range(draws)]
        return torch.stack(rows)

    def _row(self, length: int) -> Tensor:
        for _ in range(MOST_TRIES):
            sizes = torch.rand(length, generator=self._generator, dtype=torch.float64) + 0.5
            signs = torch.randint(0, 2, (length,), generator=self._generator) * 2 - 1
            row = sizes * signs
            row -= (row.sum() - 1) / length
            if bool((row.abs() >= LEAST_WEIGHT).all()):
                break
        return row


def counts(lengths: list[int], fixed: list[int], total: int, most: int) -> list[int]:
    """How many positions to keep along each axis, so that about `most` of `total` elements are left.

    Args:
        lengths: of the axes; the first is cut first.
        fixed: how many to keep at most, whatever is left; 0 where that depends on `most`.
        total: elements that the axes span together with what is not cut.
        most: elements.
    """
    kept = []
    for length, limit in zip(lengths, fixed, strict=True):
        count = min(length, limit or max(LEAST, most * length // max(total, 1)))
        total = total // max(length, 1) * count
        kept.append(count)
    return kept


def take(tensor: Tensor, cut: Cut) -> Tensor:
    """The part of a tensor that is kept, on its device."""
    for dimension, positions in sorted(cut.items(), key=lambda item: len(item[1]) / tensor.shape[item[0]]):
        if len(positions) < tensor.shape[dimension]:
            tensor = tensor.index_select(dimension, positions.to(tensor.device))
    return tensor
