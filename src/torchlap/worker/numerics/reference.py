"""An operator's correct results: the same operator on the same values, on the CPU in float64."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree

from torchlap.worker.numerics.deviation import UNIT_16_BIT, Deviation, deviation_of
from torchlap.worker.numerics.operator_calls import Operator, floating_tensors, written
from torchlap.worker.numerics.tolerance import SINGLE

OPERANDS: dict[str, tuple[int, ...]] = {
    "convolution": (0, 1),
    "convolution_backward": (0, 1, 2),
    "mm": (0, 1),
    "addmm": (1, 2),
    "bmm": (0, 1),
    "baddbmm": (1, 2),
    "linear": (0, 1),
    "linear_backward": (0, 1, 2),
}
"""Operators that multiply matrices, and the positions of the arguments that a tensor core rounds."""


class Reference:
    """An operator's correct results, from its arguments as they were before it ran.

    Attributes:
        double: the results in float64.
    """

    def __init__(self, func: Operator, before: Any) -> None:
        self.func, self.before = func, before
        self.name: str = func.overloadpacket.__name__
        self.is_product = self.name in OPERANDS
        self._singles: dict[bool, list[Tensor]] = {}
        try:
            self.double = self._run(torch.float64)
        except RuntimeError:  # an operator that supports float32 only
            self.double = [result.double() for result in self._run(torch.float32)]

    def lowest(self, result: torch.dtype) -> torch.dtype:
        """The 16-bit type of the result or an input, which a kernel may use for intermediate values; else float32."""
        types = [tensor.dtype for tensor in floating_tensors(self.before)]
        return next((dtype for dtype in (result, *types) if dtype in UNIT_16_BIT), result)

    def single(self, *, tf32: bool) -> list[Tensor]:
        """A correct implementation's results in float32; matrix products with operands in TF32 if `tf32`."""
        if tf32 not in self._singles:  # kept, because an operator may have several results
            self._singles[tf32] = self._run(torch.float32, OPERANDS.get(self.name, ()) if tf32 else ())
        return self._singles[tf32]

    def in_next_lower(self, number: int, dtype: torch.dtype) -> tuple[Deviation, float]:
        """A product's deviation in the next lower precision, and that precision's 16-bit unit.

        Next to float32 is TF32; next to float16 is bfloat16.
        """
        right = self.double[number]
        if dtype == torch.float16:
            return deviation_of(right.to(torch.bfloat16), right), UNIT_16_BIT[torch.bfloat16]
        return deviation_of(self.single(tf32=True)[number].to(dtype), right), UNIT_16_BIT.get(dtype, 0.0)

    def perturbed(self, size: float) -> list[Tensor]:
        """The results in float64 with all inputs larger in magnitude by `size`: they differ much where much cancels."""

        def perturb(leaf: Any) -> Any:
            if isinstance(leaf, Tensor) and leaf.is_floating_point():
                return leaf.double() + size * leaf.double().abs()
            return leaf * (1 + SINGLE) if isinstance(leaf, float) else leaf

        return self._results(*_pytree.tree_map(perturb, self._converted(torch.float64)))

    def _converted(self, dtype: torch.dtype) -> Any:
        """The arguments with floating-point values in that type."""

        def convert(leaf: Any) -> Any:
            if isinstance(leaf, Tensor):
                return leaf.to(dtype, copy=True) if leaf.is_floating_point() else leaf.clone()
            if isinstance(leaf, torch.dtype):
                return dtype if leaf.is_floating_point else leaf
            return torch.device("cpu") if isinstance(leaf, torch.device) else leaf

        return _pytree.tree_map(convert, self.before)

    def _run(self, dtype: torch.dtype, rounded: Sequence[int] = ()) -> list[Tensor]:
        args, kwargs = self._converted(dtype)
        args = tuple(
            to_tf32(arg) if number in rounded and isinstance(arg, Tensor) else arg for number, arg in enumerate(args)
        )
        return self._results(args, kwargs)

    def _results(self, args: Any, kwargs: Any) -> list[Tensor]:
        run: Callable[..., Any] = STAND_INS.get(self.name) or self.func
        out = run(*args, **kwargs)
        return floating_tensors((written(self.func, args, kwargs), out))


def _batch_norm(*args: Any, **_: Any) -> Any:
    """cudnn_batch_norm(input, weight, bias, running_mean, running_var, training, momentum, eps)."""
    return torch.ops.aten.native_batch_norm(*args[:8])


def _batch_norm_backward(*args: Any, **_: Any) -> Any:
    """cudnn_batch_norm_backward(input, grad, weight, running_mean, running_var, mean, inverse deviation, eps, ...)."""
    inputs, grad, weight, running_mean, running_var, mean, deviation, eps = args[:8]
    return torch.ops.aten.native_batch_norm_backward(
        grad, inputs, weight, running_mean, running_var, mean, deviation, True, eps, [True] * 3
    )


STAND_INS: dict[str, Callable[..., Any]] = {
    "cudnn_batch_norm": _batch_norm,
    "cudnn_batch_norm_backward": _batch_norm_backward,
    "miopen_batch_norm": _batch_norm,
}
"""Operators that have another name on the CPU."""


def to_tf32(values: Tensor) -> Tensor:
    """Round float32 to the ten bits of TF32's mantissa, to nearest."""
    bits = values.float().contiguous().view(torch.int32)
    rounded = (bits + 0x0FFF + ((bits >> 13) & 1)) & ~0x1FFF
    return rounded.view(torch.float32).reshape(values.shape).to(values.dtype)
