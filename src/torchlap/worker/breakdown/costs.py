"""What a step costs on any device: each operator's floating-point operations, and the bytes that it must move."""

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
from torchlap.worker.numerics.operator_calls import WITHOUT_RESULTS, written

OVERWRITING = ("copy_", "fill_", "zero_")
"""They read nothing of the tensor that they write."""

LOOKUPS = ("embedding", "index", "index_select", "gather")
"""Of a table, they read only as much as they return."""


class Costs:
    """Counts what each operator costs while it is entered; views cost nothing.

    Floating-point operations are those of torch's FlopCounterMode: of matrix products only, a multiply-add counts as
    two. Bytes are the minimum: each input read once, each result written once.
    """

    def __init__(self, phase: StepPhase = "forward") -> None:
        self._flops = FlopCounterMode(display=False)
        self._counter = _Counter(self._flops.get_total_flops, phase)

    def __enter__(self) -> Self:
        self._flops.__enter__()  # type: ignore[no-untyped-call]
        self._counter.__enter__()  # type: ignore[no-untyped-call]
        return self

    def __exit__(self, *raised: object) -> None:
        self._counter.__exit__(*raised)  # type: ignore[no-untyped-call]
        self._flops.__exit__(*raised)  # type: ignore[no-untyped-call]

    def end_phase(self, phase: StepPhase) -> None:
        """A phase of the step has ended: the following operators belong to the next one."""
        phases = get_args(StepPhase)
        self._counter.phase = phases[min(phases.index(phase) + 1, len(phases) - 1)]

    def counted(self) -> tuple[OperatorCost, ...]:
        """The operators, in the order in which they first ran."""
        return tuple(
            OperatorCost(phase=phase, operator=name, calls=calls, flops=flops, bytes=size, pointwise=pointwise)
            for (phase, name, flops, size, pointwise), calls in self._counter.calls.items()
        )


class _Counter(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch's own
    """Counts calls by phase, operator, flops, bytes and whether the operator is pointwise."""

    def __init__(self, total_flops: Callable[[], int], phase: StepPhase) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.phase = phase
        self.calls: Counter[tuple[StepPhase, str, int, int, bool]] = Counter()
        self._total_flops = total_flops

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run the operator, and count its cost."""
        kwargs = kwargs or {}
        packet = getattr(func, "overloadpacket", None)  # higher-order operators have none
        if packet is None or self.phase == "input":  # a loader without workers computes on the host, not the device
            return func(*args, **kwargs)
        name = packet.__name__
        if func.is_view or name in WITHOUT_RESULTS:
            return func(*args, **kwargs)
        with self:  # inference mode does not decompose composite operators
            parts = func.decompose(*args, **kwargs)
        if parts is not NotImplemented:
            return parts
        before = self._total_flops()
        out = func(*args, **kwargs)
        flops = self._total_flops() - before
        self.calls[self.phase, name, flops, _bytes(func, args, kwargs, out), torch.Tag.pointwise in func.tags] += 1
        return out


def _bytes(func: Any, args: Any, kwargs: Any, out: Any) -> int:
    """The least that the operator reads and writes."""
    name = func.overloadpacket.__name__
    results = _tensors((out, written(func, args, kwargs)))
    if name in LOOKUPS:
        return 2 * sum(map(_size, results))
    inputs = _tensors((args, kwargs))
    if name in OVERWRITING:
        inputs = inputs[1:]
    return sum(map(_size, inputs)) + sum(map(_size, results))


def _tensors(values: object) -> list[Tensor]:
    """The tensors in a nested structure, without duplicates."""
    leaves: Iterable[object] = _pytree.tree_leaves(values)
    return list({id(leaf): leaf for leaf in leaves if isinstance(leaf, Tensor)}.values())


def _size(tensor: Tensor) -> int:
    """Bytes in memory; expanded dimensions count once."""
    steps = zip(tensor.shape, tensor.stride(), strict=True)
    return tensor.element_size() * prod(size for size, step in steps if step)
