"""What a step costs whatever runs it: each operator's floating-point operations and the bytes it cannot avoid."""

from collections import Counter
from collections.abc import Callable, Iterable
from math import prod
from typing import Any, Self, get_args

import torch
from torch import Tensor
from torch.utils import _pytree
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from torchlap.schema.breakdown import OperatorCost
from torchlap.schema.workload import StepPhase
from torchlap.worker.numerics.shadow import NOTHING_TO_SEE, written

READ_NOTHING_OF_WHAT_THEY_WRITE = ("copy_", "fill_", "zero_")
READ_AS_MUCH_AS_THEY_WRITE = ("embedding", "index", "index_select", "gather")
"""Of a table they touch what they return."""


class Costs:
    """While it is entered, notes what each operator costs; views cost nothing.

    Floating-point operations are those of torch's FlopCounterMode: of matrix products alone, a multiply-add is two.
    Bytes are the least: each input read once, each result written once.
    """

    def __init__(self, phase: StepPhase = "forward") -> None:
        self._flops = FlopCounterMode(display=False)
        self._noting = _Noting(self._flops.get_total_flops, phase)

    def __enter__(self) -> Self:
        self._flops.__enter__()  # type: ignore[no-untyped-call]
        self._noting.__enter__()  # type: ignore[no-untyped-call]
        return self

    def __exit__(self, *raised: object) -> None:
        self._noting.__exit__(*raised)  # type: ignore[no-untyped-call]
        self._flops.__exit__(*raised)  # type: ignore[no-untyped-call]

    def ended(self, phase: StepPhase) -> None:
        """Tell that a phase of the step has ended: what comes now is of the next."""
        phases = get_args(StepPhase)
        self._noting.phase = phases[min(phases.index(phase) + 1, len(phases) - 1)]

    def found(self) -> tuple[OperatorCost, ...]:
        """What was noted, in the order in which it first ran."""
        return tuple(
            OperatorCost(phase=phase, operator=name, calls=calls, flops=flops, bytes=size, pointwise=pointwise)
            for (phase, name, flops, size, pointwise), calls in self._noting.seen.items()
        )


class _Noting(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch's own
    def __init__(self, total_flops: Callable[[], int], phase: StepPhase) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.phase = phase
        self.seen: Counter[tuple[StepPhase, str, int, int, bool]] = Counter()
        self._total_flops = total_flops

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run the operator, and note what it cost."""
        kwargs = kwargs or {}
        packet = getattr(func, "overloadpacket", None)  # operators of a higher order have none
        if packet is None or self.phase == "input":  # what a loader without workers does is not the device's
            return func(*args, **kwargs)
        name = packet.__name__
        if func.is_view or name in NOTHING_TO_SEE:
            return func(*args, **kwargs)
        with self:  # an operator made of others, which inference mode leaves whole
            parts = func.decompose(*args, **kwargs)
        if parts is not NotImplemented:
            return parts
        before = self._total_flops()
        out = func(*args, **kwargs)
        flops = self._total_flops() - before
        self.seen[self.phase, name, flops, _bytes(func, args, kwargs, out), torch.Tag.pointwise in func.tags] += 1
        return out


def _bytes(func: Any, args: Any, kwargs: Any, out: Any) -> int:
    """What the operator reads and writes at least."""
    name = func.overloadpacket.__name__
    results = _tensors((out, written(func, args, kwargs)))
    if name in READ_AS_MUCH_AS_THEY_WRITE:
        return 2 * sum(map(_size, results))
    inputs = _tensors((args, kwargs))
    if name in READ_NOTHING_OF_WHAT_THEY_WRITE:
        inputs = inputs[1:]
    return sum(map(_size, inputs)) + sum(map(_size, results))


def _tensors(values: object) -> list[Tensor]:
    """Each tensor once."""
    leaves: Iterable[object] = _pytree.tree_leaves(values)
    return list({id(leaf): leaf for leaf in leaves if isinstance(leaf, Tensor)}.values())


def _size(tensor: Tensor) -> int:
    """Bytes in memory: what is expanded is there once."""
    steps = zip(tensor.shape, tensor.stride(), strict=True)
    return tensor.element_size() * prod(size for size, step in steps if step)
