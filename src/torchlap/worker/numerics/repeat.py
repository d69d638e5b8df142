"""The same step again, operator by operator: what differs from its first run by more than rounding is checked.

Another order of a sum may change a result in its last digits, and all that follows by more. Until then every operator
has the same inputs, so that a result that changes is either of the first kind, or wrong in one of the runs: then it is
compared with float64.
"""

from collections.abc import Callable
from typing import Any

import torch
from msgspec import Struct
from torch import Tensor
from torch.utils import _pytree
from torch.utils._python_dispatch import TorchDispatchMode

from torchlap.worker.numerics.call_check import identical, probe
from torchlap.worker.numerics.deviation import UNIT_16_BIT, deviation_of
from torchlap.worker.numerics.operator_calls import (
    WITHOUT_RESULTS,
    Operator,
    is_floating,
    leaves,
    outputs,
    written,
)
from torchlap.worker.numerics.reference import as_real
from torchlap.worker.numerics.tolerance import FACTOR_16_BIT, GROWTH, SINGLE

CHECK_SECOND_RUN = 8
"""Operators that are compared with float64 at most."""

SMALL_STATE = 1 << 16
"""Elements of an argument that is changed, and so copied before: BatchNorm's running statistics have few."""

Call = tuple[Any, Any]
"""Of an operator: args and kwargs."""


class Trace(Struct, frozen=True):
    """What is remembered of a call: the operator, its numbers, and elements of its results on the device."""

    name: str
    numbers: tuple[str, ...]
    results: tuple[Tensor | None, ...]


def trace_of(func: Operator, args: Any, kwargs: Any, out: Any) -> Trace:
    """Remember a call."""
    numbers = tuple(str(leaf) for leaf in leaves((args, kwargs)) if isinstance(leaf, bool | int | float))
    found = outputs(func, args, kwargs, out)
    return Trace(str(func), numbers, tuple(probe(value) if value is not None else None for value in found))


class Repeat(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch's own
    """Follows the second run of a step while it is entered.

    Args:
        first: the traces of its first run.
        check: called with an operator, its call as it was before (None if that is not known), its call now, and what
            it returned, where the results differ too much; returns whether they are wrong.
    """

    def __init__(self, first: list[Trace], check: Callable[[Operator, Call | None, Call, Any], bool]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._first, self._check = iter(first), check
        self._together = True
        self._left = CHECK_SECOND_RUN

    def __torch_dispatch__(self, func: Operator, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run the operator, and compare its results with those of the first run."""
        kwargs = kwargs or {}
        if not self._together or func.is_view or func.overloadpacket.__name__ in WITHOUT_RESULTS:
            return func(*args, **kwargs)
        before = _before(func, args, kwargs)
        out = func(*args, **kwargs)
        self._follow(func, before, (args, kwargs), out)
        return out

    def _follow(self, func: Operator, before: Call | None, call: Call, out: Any) -> None:
        args, kwargs = call
        first, now = next(self._first, None), trace_of(func, args, kwargs, out)
        if first is None or (first.name, first.numbers) != (now.name, now.numbers):
            self._together = False
            return
        changed = [difference(earlier, later) for earlier, later in zip(first.results, now.results, strict=False)]
        if not any(changed):
            return
        random = torch.Tag.nondeterministic_seeded in func.tags
        if random or max(changed) <= 1 or self._left == 0:
            self._together = False
            return
        self._left -= 1
        self._together = not self._check(func, before, call, out)  # what follows a wrong result differs, too


def _before(func: Operator, args: Any, kwargs: Any) -> Call | None:
    """A call as it is now, with copies of what it will change; None if that is large."""
    changed = [leaf for leaf in leaves(written(func, args, kwargs)) if isinstance(leaf, Tensor)]
    if any(tensor.numel() > SMALL_STATE for tensor in changed):
        return None
    copies = {id(tensor): tensor.detach().clone() for tensor in changed}
    call: Call = _pytree.tree_map(lambda leaf: copies.get(id(leaf), leaf), (args, kwargs))
    return call


def difference(before: Tensor | None, after: Tensor | None) -> float:
    """How far two results are apart, over what another order of sums explains; 0 if they are identical."""
    if before is None or after is None or before.shape != after.shape:
        return 0.0
    before, after = before.cpu(), after.cpu()
    if identical(before, after):
        return 0.0
    if not is_floating(before):
        return 2.0
    before, after = as_real(before), as_real(after)
    if not bool((torch.isfinite(before) == torch.isfinite(after)).all()):
        return 2.0
    limit = max(GROWTH * SINGLE, FACTOR_16_BIT * UNIT_16_BIT.get(before.dtype, 0.0))
    return deviation_of(after, before.double()).error / limit
