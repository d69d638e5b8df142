"""A fault as it is reported: which operator, where in the step, on which tensor, and how far off."""

from math import isfinite
from typing import Any

import torch
from msgspec import Struct
from torch import Tensor

from torchlap.schema.numerics import FaultKind, NumericsFault
from torchlap.worker.cell.sources import IMAGE_DIMENSIONS
from torchlap.worker.numerics.deviation import Deviation

MOST_FAULTS = 20
LARGEST = 1e300
LONGEST_ARGUMENT = 100


class Where(Struct, frozen=True):
    """In which part of the step an operator ran, and for which module."""

    phase: str
    module: str


def fault_of(
    kind: FaultKind,
    where: Where,
    operator: str,
    tensor: Tensor,
    *,
    deviation: Deviation,
    limit: float,
    inputs: tuple[str, ...] = (),
    number: int = 0,
) -> NumericsFault:
    """A fault of the operator's result `number`; infinite errors become the largest number that a run file holds."""
    return NumericsFault(
        kind=kind,
        phase=where.phase,
        module=where.module,
        operator=operator,
        result=number,
        shape=tuple(tensor.shape),
        dtype=type_of(tensor),
        layout=layout_of(tensor),
        error=_bounded(deviation.error),
        worst=_bounded(deviation.worst),
        allowed=limit,
        inputs=inputs,
    )


def _bounded(value: float) -> float:
    return min(value, LARGEST) if isfinite(value) else LARGEST


def type_of(tensor: Tensor) -> str:
    """A tensor's type in a word, like float32."""
    return str(tensor.dtype).removeprefix("torch.")


def layout_of(tensor: Tensor) -> str:
    """A tensor's layout in memory, in a word or by its strides."""
    if tensor.is_contiguous():
        return "contiguous"
    if tensor.dim() == IMAGE_DIMENSIONS and tensor.is_contiguous(memory_format=torch.channels_last):
        return "channels_last"
    return f"strides {tuple(tensor.stride())}"


def described(argument: Any) -> str:
    """An operator's argument in words: of a tensor its type, shape and layout."""
    if isinstance(argument, Tensor):
        return f"{type_of(argument)}{list(argument.shape)} {layout_of(argument)}"
    return str(argument)[:LONGEST_ARGUMENT]
