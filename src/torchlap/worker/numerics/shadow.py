"""Run each operator of a step beside its reference: the same operator on the same values in float64 on the CPU.

A whole step cannot be compared with float64: one ReLU that flips because of rounding changes gradients by a hundredth.
Each operator of the step can, because nothing is amplified: forward, backward and in the optimizer, with the real
shapes, layouts and types. Operators that draw random numbers are checked by their statistics.
"""

import time
from collections.abc import Callable, Sequence
from math import inf
from typing import Any

import torch
from msgspec.structs import replace
from torch import Tensor
from torch.utils import _pytree
from torch.utils._python_dispatch import TorchDispatchMode

from torchlap.schema.numerics import NumericsFault
from torchlap.worker.errors import first_line
from torchlap.worker.numerics import draws
from torchlap.worker.numerics.bug_report import script
from torchlap.worker.numerics.comparison import Verdict, compare
from torchlap.worker.numerics.deviation import Deviation
from torchlap.worker.numerics.faults import MOST_FAULTS, Where, described, fault_of
from torchlap.worker.numerics.operator_calls import (
    WITHOUT_RESULTS,
    Operator,
    copied_to_cpu,
    floating_tensors,
    parts,
    written,
)
from torchlap.worker.numerics.reference import OPERANDS, STAND_INS, Reference
from torchlap.worker.numerics.tolerance import GROWTH, SINGLE

SAMPLE = 1 << 20
"""Elements of a large element-wise operator that are checked by default."""


class Shadow(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch's own
    """Checks each operator while it is entered; holds the results afterwards.

    Args:
        tf32: matrix products may round their operands to TF32.
        sample: about how many elements of a large element-wise operator to check; 0 for all.
        until: time by `time.perf_counter` after which nothing more is checked.
        where: returns the part of the step in which the current operator runs.
        beat: called with the number of operators that were checked.

    Attributes:
        complete: everything was checked before `until`.
        operators: how many operators were checked.
        products: how many of them are matrix products.
        unchecked: operators that could not be checked, each with the reason.
        faults: by kind, place and operator; the same fault again is counted.
        closest: the largest error of a correct result, over its limit.
        script: reproduces the first fault with torch alone.
    """

    def __init__(
        self,
        *,
        tf32: bool = False,
        sample: int = 0,
        until: float = inf,
        where: Callable[[], Where] = lambda: Where("", ""),
        beat: Callable[[int], None] = lambda _: None,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._tf32, self._sample, self._until = tf32, sample, until
        self._where, self._beat = where, beat
        self.complete = True
        self.operators = 0
        self.unchecked: dict[str, str] = {}
        self.faults: dict[tuple[str, ...], NumericsFault] = {}
        self.closest = 0.0
        self.products, self._imprecise = 0, set[int]()
        self.script = ""

    @property
    def imprecise(self) -> int:
        """How many matrix products have a result in a lower precision than requested."""
        return len(self._imprecise)

    def __torch_dispatch__(self, func: Operator, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run the operator, and check its results."""
        kwargs = kwargs or {}
        name = func.overloadpacket.__name__
        if func.is_view or name in WITHOUT_RESULTS:
            return func(*args, **kwargs)
        if time.perf_counter() > self._until:
            self.complete = False
            return func(*args, **kwargs)
        self._beat(self.operators)
        before = _pytree.tree_map(copied_to_cpu, (args, kwargs))
        out = func(*args, **kwargs)
        try:
            self._check(func, before, (args, kwargs), out)
        except (NotImplementedError, RuntimeError, TypeError) as error:
            self.unchecked.setdefault(name, first_line(error))
        return out

    def _check(self, func: Operator, before: Any, after: Any, out: Any) -> None:
        name = func.overloadpacket.__name__
        if torch.Tag.nondeterministic_seeded in func.tags:
            self._check_draws(name, before[0], out)
            return
        results = floating_tensors((written(func, *after), out))
        if not results:
            return
        self.operators += 1
        self.products += name in OPERANDS
        for part_before, part_results in parts(func, before, after, results, self._sample):
            self._compare(Reference(func, part_before), part_results)

    def _compare(self, reference: Reference, results: Sequence[Tensor]) -> None:
        for number, (result, right) in enumerate(zip(results, reference.double, strict=False)):
            if result.shape != right.shape:
                reason = f"the result has shape {tuple(result.shape)}, but {tuple(right.shape)} on the CPU"
                self.unchecked.setdefault(reference.name, reason)
                continue
            if not result.numel():
                continue
            verdict = compare(reference, number, result, tf32=self._tf32)
            if verdict.kind is None:
                self.closest = max(self.closest, verdict.deviation.error / verdict.limit)
                continue
            if verdict.kind == "imprecise":
                self._imprecise.add(self.products)
            self._add_fault(verdict, reference, number, result)

    def _add_fault(self, verdict: Verdict, reference: Reference, number: int, result: Tensor) -> None:
        func, where, deviation, limit = reference.func, self._where(), verdict.deviation, verdict.limit
        if not self.script and reference.name not in STAND_INS:
            description = f"relative error {deviation.error:.1e}, limit {limit:.1e}"
            self.script = script(func, reference.before, str(result.device), description, limit or GROWTH * SINGLE)
        inputs = tuple(map(described, _pytree.tree_leaves(reference.before)[:MOST_FAULTS]))
        kind = verdict.kind or "wrong"
        fault = fault_of(kind, where, str(func), result, deviation=deviation, limit=limit, inputs=inputs, number=number)
        key = (kind, where.phase, where.module, str(func), str(number))
        earlier = self.faults.get(key)
        if earlier:
            error, worst = max(fault.error, earlier.error), max(fault.worst, earlier.worst)
            fault = replace(fault, error=error, worst=worst, count=1 + earlier.count)
        self.faults[key] = fault

    def _check_draws(self, name: str, args: Any, out: Any) -> None:
        if not draws.is_known(name, args):
            return
        self.operators += 1
        for fault in draws.check_draws(name, args, out):
            where, deviation = self._where(), Deviation(fault.error, 0.0)
            key = ("random", where.phase, where.module, name, fault.request)
            self.faults[key] = fault_of(
                "random", where, name, fault.tensor, deviation=deviation, limit=fault.limit, inputs=(fault.request,)
            )
