"""Is a hand-written backward pass the derivative of its forward pass?

An `autograd.Function` may call kernels that no operator check sees, and its formula may be wrong though every operator
of it is right. So each class of functions that a step uses is run again in float64 on the CPU: the derivative along
random directions, by autograd and by differences of the forward pass. The incoming gradient comes contiguous and with
strides, because a kernel may ignore them.
"""

import time
from collections.abc import Callable, Iterator
from inspect import getattr_static
from math import inf
from typing import Any, Self

import torch
from torch import Tensor
from torch.autograd import Function
from torch.utils import _pytree

from torchlap.schema.numerics import NumericsFault
from torchlap.worker.errors import first_line
from torchlap.worker.numerics.deviation import Deviation
from torchlap.worker.numerics.faults import Where, fault_of
from torchlap.worker.numerics.operator_calls import copied_to_cpu, is_floating

STEPS = (1e-4, 1e-5, 1e-6)
"""Of the differences, relative to the size of the inputs: the best counts."""

TOLERANCE = 1e-4
"""Relative. Differences in float64 are within 1e-7 for smooth functions."""

MOSTLY_CONSTANT = 0.9
MOST_CALLS = 4
"""Of a class, that differ in shapes, types or numbers."""

MOST_ELEMENTS = 1 << 22
SEED = 11
LAYOUTS = ("contiguous", "strided")


class Functions:
    """Remembers calls of hand-written functions while it is entered: of a class, those that differ in more than values.

    Attributes:
        unchecked: the classes that could not be checked, each with the reason.
    """

    def __init__(self, where: Callable[[], Where]) -> None:
        self._where = where
        self._calls: dict[tuple[type[Function], str], tuple[Where, Any]] = {}
        self._apply: Any = None
        self._is_own = False
        self.unchecked: dict[str, str] = {}

    def __enter__(self) -> Self:
        self._apply = getattr_static(Function, "apply")
        self._is_own = "apply" in vars(Function)
        original = self._apply

        def apply(cls: type[Function], *args: Any, **kwargs: Any) -> Any:
            key = (cls, _signature(args))
            known = sum(other is cls for other, _ in self._calls)
            if key not in self._calls and known < MOST_CALLS and not cls.__module__.startswith("torch."):
                self._calls[key] = (self._where(), _pytree.tree_map(copied_to_cpu, args))
            return original.__get__(None, cls)(*args, **kwargs)

        Function.apply = classmethod(apply)
        return self

    def __exit__(self, *_: object) -> None:
        if self._is_own:
            Function.apply = self._apply
        else:
            del Function.apply

    def faults(self, until: float = inf) -> Iterator[NumericsFault]:
        """Check each class; none after `until`, by `time.perf_counter`."""
        wrong = set[type[Function]]()
        for (cls, _), (where, args) in self._calls.items():
            if cls in wrong:
                continue
            if time.perf_counter() > until:
                self.unchecked.setdefault(cls.__name__, "hand-written: more time (--budget)")
                continue
            try:
                with torch.enable_grad():
                    found = _check(cls, args)
            except Exception as error:  # noqa: BLE001  the user's code may raise anything
                self.unchecked[cls.__name__] = (
                    f"hand-written, and not usable in float64 on the CPU: {first_line(error)}"
                )
                continue
            if isinstance(found, str):
                self.unchecked[cls.__name__] = found
            elif found is not None:
                tensor, off = found
                wrong.add(cls)
                evidence = ("its backward is not the derivative of its forward",)
                deviation = Deviation(off, off)
                yield fault_of(
                    "wrong",
                    Where("backward", where.module),
                    cls.__name__,
                    tensor,
                    deviation=deviation,
                    limit=TOLERANCE,
                    inputs=evidence,
                )


def _signature(args: Any) -> str:
    """What a call's arguments are, but for the values of tensors."""
    leaves = _pytree.tree_leaves(args)
    kinds = (f"{leaf.dtype}{tuple(leaf.shape)}" if isinstance(leaf, Tensor) else _number(leaf) for leaf in leaves)
    return " ".join(kinds)


def _number(leaf: Any) -> str:
    return repr(leaf) if isinstance(leaf, bool | int | float | str | None) else type(leaf).__name__


def _check(cls: type[Function], args: Any) -> tuple[Tensor, float] | str | None:
    """The input and relative error of a wrong derivative; why nothing can be said; or None for a right one."""
    leaves, spec = _pytree.tree_flatten(args)
    places = [number for number, leaf in enumerate(leaves) if is_floating(leaf) and not leaf.is_complex()]
    if not places:
        return "hand-written, without inputs that have gradients"
    if sum(leaves[number].numel() for number in places) > MOST_ELEMENTS:
        return "hand-written, and too large to check"
    values = [leaf.double() if is_floating(leaf) else leaf for leaf in leaves]

    def run(inputs: list[Any]) -> list[Tensor]:
        out = cls.apply(*_pytree.tree_unflatten(inputs, spec))
        return [leaf for leaf in _pytree.tree_leaves(out) if is_floating(leaf)]

    with torch.no_grad():
        plain = run(values)
    if any(torch.equal(out, values[number]) for out in plain for number in places if out.shape == values[number].shape):
        return "hand-written, and its forward pass changes nothing, so its backward pass may be anything"
    worst: tuple[Tensor, float] | None = None
    for layout in LAYOUTS:
        for number in places:
            found = _derivative(run, values, number, layout)
            if found is None:
                return "hand-written, and its forward pass is piecewise constant, so its backward pass may be anything"
            if found > TOLERANCE and (worst is None or found > worst[1]):
                worst = (leaves[number], found)
    return worst


def _derivative(run: Callable[[list[Any]], list[Tensor]], values: list[Any], number: int, layout: str) -> float | None:
    """The relative error of the derivative by one input; None if the function does not change with it but should."""
    generator = torch.Generator().manual_seed(SEED)
    inputs = list(values)
    inputs[number] = values[number].detach().clone().requires_grad_()
    outs = [out for out in run(inputs) if out.requires_grad]
    if not outs:
        return 0.0
    weights = [torch.randn(out.shape, generator=generator, dtype=torch.float64) for out in outs]
    incoming = [torch.stack([weight, weight], -1)[..., 0] if layout == "strided" else weight for weight in weights]
    (gradient,) = torch.autograd.grad(outs, [inputs[number]], incoming, allow_unused=True)
    along = torch.randn(values[number].shape, generator=generator, dtype=torch.float64)
    claimed = 0.0 if gradient is None else float((gradient * along).sum())
    size = float(values[number].abs().max()) or 1.0
    scale = 0.0 if gradient is None else float(gradient.norm())
    if claimed and _is_constant(run, values, number, along * (STEPS[-1] * size)):
        return None
    errors = []
    for step in STEPS:
        found = _difference(run, values, number, along * (step * size), weights) / (2 * step * size)
        errors.append(abs(found - claimed) / max(abs(found), abs(claimed), scale, 1e-12))
    return min(errors)


def _is_constant(run: Callable[[list[Any]], list[Tensor]], values: list[Any], number: int, along: Tensor) -> bool:
    """Whether nearly all results stay exactly as they are when the input moves a little."""
    moved = list(values)
    moved[number] = values[number] + along
    with torch.no_grad():
        pairs = zip(run(values), run(moved), strict=True)
        same = torch.cat([(before == after).flatten() for before, after in pairs])
    return float(same.double().mean()) > MOSTLY_CONSTANT


def _difference(
    run: Callable[[list[Any]], list[Tensor]], values: list[Any], number: int, along: Tensor, weights: list[Tensor]
) -> float:
    """The change of the weighted results from one side of the input to the other."""
    ends = []
    for side in (1, -1):
        moved = list(values)
        moved[number] = values[number] + side * along
        with torch.no_grad():
            outs = run(moved)
        same = [out for out in outs if any(out.shape == weight.shape for weight in weights)]
        ends.append(sum(float((out * weight).sum()) for out, weight in zip(same, weights, strict=False)))
    return ends[0] - ends[1]
