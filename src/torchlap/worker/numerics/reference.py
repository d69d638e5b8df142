"""An operator's correct results: the same operator on the same values, on the CPU in float64."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree

from torchlap.worker.numerics.attention import ATTENTION, BACKWARD, FORWARD, attention
from torchlap.worker.numerics.axes import POINTWISE
from torchlap.worker.numerics.deviation import UNIT_16_BIT, Deviation, deviation_of
from torchlap.worker.numerics.operator_calls import Operator, floating_tensors, is_floating, outputs
from torchlap.worker.numerics.tolerance import SINGLE

Results = list[Tensor | None]
OPERANDS: dict[str, tuple[int, ...]] = {
    "convolution": (0, 1),
    "convolution_backward": (0, 1, 2),
    "mm": (0, 1),
    "addmm": (1, 2),
    "bmm": (0, 1),
    "baddbmm": (1, 2),
    "linear": (0, 1),
    "linear_backward": (0, 1, 2),
    **dict.fromkeys(FORWARD, (0, 1, 2)),
    **dict.fromkeys(BACKWARD, (0, 1, 2, 3)),
}
"""Operators that multiply matrices, and the positions of the arguments that a tensor core rounds."""


SUMS = {
    *("sum", "mean", "cumsum", "cumprod", "scatter_add", "index_add", "index_put", "embedding_dense_backward", "cat"),
    *("_softmax", "_log_softmax", "_softmax_backward_data", "_log_softmax_backward_data"),
}
"""Operators that add in float32, whatever the type of the result; also in place."""


class Reference:
    """An operator's correct results, from its arguments as they were before it ran.

    Attributes:
        is_product: it multiplies matrices.
        cancels: its results may be differences of numbers that are much larger.
        rounds_once: it treats each element alone or adds, so that a 16-bit result was rounded once.
        double: the results, in float64 if they are floating-point numbers; None for what cannot be compared.
    """

    def __init__(self, func: Operator, before: Any) -> None:
        self.func, self.before = func, before
        self.name: str = func.overloadpacket.__name__
        self.is_product = self.name in OPERANDS
        self.cancels = self.name not in OPERANDS or self.name in ATTENTION
        plain = self.name.removesuffix("_")
        self.rounds_once = torch.Tag.pointwise in func.tags or plain in POINTWISE or plain in SUMS
        self._types: tuple[torch.dtype, ...] | None = None
        self._singles: dict[Callable[[Tensor], Tensor] | None, Results] = {}
        """In float32, kept because an operator may have several results; by how a product's operands are rounded."""
        try:
            self.double = self._run(torch.float64)
        except RuntimeError:  # an operator that supports float32 only
            self.double = [widened(result) if is_floating(result) else result for result in self._run(torch.float32)]

    def lowest(self, result: torch.dtype) -> torch.dtype:
        """The 16-bit type of the result or an input, which a kernel may use for intermediate values; else float32."""
        if self._types is None:
            self._types = tuple(dict.fromkeys(tensor.dtype for tensor in floating_tensors(self.before)))
        return next((dtype for dtype in (result, *self._types) if dtype in UNIT_16_BIT), result)

    def right(self, number: int) -> Tensor:
        """A floating-point result in float64, as real numbers."""
        return as_real(present(self.double[number]))

    def is_complex(self, number: int) -> bool:
        """Whether a result has complex numbers, which `right` returns as pairs."""
        return present(self.double[number]).is_complex()

    def single(self, number: int, *, tf32: bool) -> Tensor:
        """A correct implementation's result in float32; of a matrix product with operands in TF32 if `tf32`."""
        return self._in_float32(number, to_tf32 if tf32 else None)

    def cut_off(self, number: int) -> Tensor:
        """A product's result in float32 from operands that were cut off to TF32, as some devices do, not rounded."""
        return self._in_float32(number, cut_to_tf32)

    def _in_float32(self, number: int, rounding: Callable[[Tensor], Tensor] | None) -> Tensor:
        if rounding not in self._singles:
            self._singles[rounding] = self._run(torch.float32, rounding)
        return as_real(present(self._singles[rounding][number]))

    def same_types(self, number: int) -> Tensor:
        """The CPU's result in the types of the call; in float32 where it does not support them."""
        try:
            args, kwargs = _pytree.tree_map(_cloned_for_cpu, self.before)
            return as_real(present(self._results(args, kwargs)[number]))
        except (NotImplementedError, RuntimeError):
            return self.single(number, tf32=False)

    def in_next_lower(self, number: int, dtype: torch.dtype) -> tuple[Deviation, float]:
        """A product's deviation in the next lower precision, and that precision's 16-bit unit.

        Next to float32 is TF32; next to float16 is bfloat16.
        """
        right = self.right(number)
        if dtype == torch.float16:
            return deviation_of(right.to(torch.bfloat16), right), UNIT_16_BIT[torch.bfloat16]
        return deviation_of(self.single(number, tf32=True).to(dtype), right), UNIT_16_BIT.get(dtype, 0.0)

    def perturbed(self, number: int, size: float) -> Tensor:
        """A result in float64 with all inputs larger in magnitude by `size`: it differs much where much cancels."""

        def perturb(leaf: Any) -> Any:
            if is_floating(leaf):
                return leaf + size * (torch.sgn(leaf) * leaf.abs() if leaf.is_complex() else leaf.abs())
            return leaf * (1 + SINGLE) if isinstance(leaf, float) else leaf

        changed = self._results(*_pytree.tree_map(perturb, self._converted(torch.float64)))
        return as_real(present(changed[number]))

    def _converted(self, dtype: torch.dtype) -> Any:
        """The arguments with floating-point values in that type."""

        def convert(leaf: Any) -> Any:
            if isinstance(leaf, Tensor):
                return leaf.to(_like(leaf.dtype, dtype), copy=True)
            if isinstance(leaf, torch.dtype):
                return _like(leaf, dtype)
            return torch.device("cpu") if isinstance(leaf, torch.device) else leaf

        return _pytree.tree_map(convert, self.before)

    def _run(self, dtype: torch.dtype, rounding: Callable[[Tensor], Tensor] | None = None) -> Results:
        args, kwargs = self._converted(dtype)
        if rounding is not None:
            operands = OPERANDS.get(self.name, ())
            args = tuple(
                rounding(arg) if number in operands and isinstance(arg, Tensor) else arg
                for number, arg in enumerate(args)
            )
        return self._results(args, kwargs)

    def _results(self, args: Any, kwargs: Any) -> Results:
        if self.name in ATTENTION:
            return list(attention(self.func, args, kwargs))
        run: Callable[..., Any] = STAND_INS.get(self.name) or self.func
        out = run(*args, **kwargs)
        return outputs(self.func, args, kwargs, out)


def _batch_norm(*args: Any, **_: Any) -> Any:
    """cudnn_batch_norm(input, weight, bias, running_mean, running_var, training, momentum, eps)."""
    return (*torch.ops.aten.native_batch_norm(*args[:8]), None)


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


def _cloned_for_cpu(leaf: Any) -> Any:
    if isinstance(leaf, Tensor):
        return leaf.clone()
    return torch.device("cpu") if isinstance(leaf, torch.device) else leaf


def _like(kind: torch.dtype, dtype: torch.dtype) -> torch.dtype:
    """The type in which values of a type are computed: whole numbers in their own."""
    if kind.is_complex:
        return torch.complex128 if dtype == torch.float64 else torch.complex64
    return dtype if kind.is_floating_point else kind


def widened(tensor: Any) -> Tensor:
    """A floating-point tensor in float64 or complex128."""
    wide: Tensor = tensor.to(_like(tensor.dtype, torch.float64))
    return wide


def as_real(tensor: Tensor) -> Tensor:
    """Complex numbers as pairs of real ones; others as they are."""
    return torch.view_as_real(tensor.resolve_conj()) if tensor.is_complex() else tensor


def present(tensor: Tensor | None) -> Tensor:
    """A result that the reference has."""
    if tensor is None:
        raise TypeError("the reference lacks a result")
    return tensor


def to_tf32(values: Tensor) -> Tensor:
    """Round float32 to the ten bits of TF32's mantissa, to nearest; of complex numbers both parts."""
    return _cut(values, lambda bits: bits + 0x0FFF + ((bits >> 13) & 1))


def cut_to_tf32(values: Tensor) -> Tensor:
    """Cut float32 off to the ten bits of TF32's mantissa; of complex numbers both parts."""
    return _cut(values, lambda bits: bits)


def _cut(values: Tensor, prepare: Callable[[Tensor], Tensor]) -> Tensor:
    """Cut the bits of float32 off to TF32's, after `prepare`."""
    if values.is_complex():
        return torch.view_as_complex(_cut(torch.view_as_real(values.resolve_conj()), prepare).contiguous())
    bits = prepare(values.float().contiguous().view(torch.int32)) & ~0x1FFF
    return bits.view(torch.float32).reshape(values.shape).to(values.dtype)
