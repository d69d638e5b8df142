"""Look for denormal numbers on the CPU: in gradients, activations, parameters and the state of optimizers.

A few values of each tensor are read, on the thread that trains, which has just written them.
"""

from collections.abc import Iterable

import torch
from msgspec import Struct
from torch import Tensor

from torchlap.schema.trace import Place

TINY = torch.finfo(torch.float32).tiny
MOST_NUMBERS = 4096
MOST_TENSORS = 200


class Found(Struct):
    """The largest share of the nonzero values that was denormal, and in which step; `first` is the first such step."""

    share: float
    step: int
    first: int


class Denormals:
    """Records denormal numbers, by line and kind of value."""

    def __init__(self) -> None:
        self.found: dict[tuple[Place, str], Found] = {}

    def check(self, tensors: Iterable[Tensor], words: str, place: Place, step: int) -> None:
        """Look at some values of each tensor of 32-bit floats on the CPU."""
        denormal = nonzero = 0
        for tensor in list(tensors)[:MOST_TENSORS]:
            is_usual = type(tensor) in PLAIN and tensor.layout is torch.strided and tensor.device.type == "cpu"
            if not is_usual or tensor.dtype != torch.float32 or not tensor.numel():
                continue
            values = sampled(tensor)
            is_nonzero = values != 0
            denormal += int((is_nonzero & (values.abs() < TINY)).sum())
            nonzero += int(is_nonzero.sum())
        share = denormal / nonzero if nonzero else 0.0
        if share > 0:
            found = self.found.setdefault((place, words), Found(share, step, step))
            if share > found.share:
                found.share, found.step = share, step


PLAIN = (Tensor, torch.nn.Parameter)


def sampled(tensor: Tensor) -> Tensor:
    """Some of the values, evenly, without a copy of the others."""
    tensor = tensor.detach()
    every = 1 + tensor.numel() // MOST_NUMBERS
    if tensor.is_contiguous() or tensor.is_contiguous(memory_format=torch.channels_last):
        return tensor.as_strided((-(-tensor.numel() // every),), (every,))
    return tensor.flatten()[::every]
