"""Run each operator of a step beside its reference: the same operator on the same values in float64 on the CPU.

A whole step cannot be compared with float64: one ReLU that flips because of rounding changes gradients by a hundredth.
Each operator of the step can, because nothing is amplified: forward, backward and in the optimizer, with the real
shapes, layouts and types. Of a large call a part is computed again, and of a product random combinations; where one of
them is suspicious, all of it. Operators that draw random numbers are checked by their statistics.
"""

import time
from collections.abc import Callable
from functools import partial
from math import inf
from typing import Any

import torch
from msgspec.structs import replace
from torch import Tensor
from torch.utils import _pytree
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from torchlap.schema.numerics import NumericsFault
from torchlap.worker.errors import first_line
from torchlap.worker.numerics import draws
from torchlap.worker.numerics.afterwards import Afterwards
from torchlap.worker.numerics.attention import BACKWARD, FORWARD
from torchlap.worker.numerics.bug_report import script
from torchlap.worker.numerics.call_check import CallCheck, Judged, Settings, probe
from torchlap.worker.numerics.combination import Combiner
from torchlap.worker.numerics.comparison import Verdict
from torchlap.worker.numerics.deviation import Deviation
from torchlap.worker.numerics.faults import MOST_FAULTS, Where, described, fault_of
from torchlap.worker.numerics.operator_calls import WITHOUT_RESULTS, Operator, copied_to_cpu, leaves
from torchlap.worker.numerics.reference import OPERANDS, STAND_INS
from torchlap.worker.numerics.repeat import Call, Repeat, Trace, difference, trace_of
from torchlap.worker.numerics.selection import Sampler
from torchlap.worker.numerics.tolerance import GROWTH, SINGLE


class Shadow(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch's own
    """Checks each operator while it is entered; holds the results afterwards.

    Args:
        tf32: matrix products may round their operands to TF32.
        sample: about how many elements of a large call to check; 0 for all.
        seed: of the positions and combinations that are checked.
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
        traces: of the step's calls, for its second run.
        seconds: what the checks took, without the operators that they check.
    """

    def __init__(
        self,
        *,
        tf32: bool = False,
        sample: int = 0,
        seed: int = 0,
        until: float = inf,
        where: Callable[[], Where] = lambda: Where("", ""),
        beat: Callable[[int], None] = lambda _: None,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._settings = Settings(Sampler(seed), Combiner(), sample, tf32)
        self._until = until
        self._where, self._beat = where, beat
        self.complete = True
        self.operators = 0
        self.unchecked: dict[str, str] = {}
        self.faults: dict[tuple[str, ...], NumericsFault] = {}
        self.closest = 0.0
        self.products, self._imprecise = 0, set[int]()
        self._flop, self._imprecise_flop = 0, 0
        self.script = ""
        self.traces: list[Trace] = []
        self.seconds = 0.0
        self._afterwards = Afterwards()
        self._last_draws: dict[tuple[str, torch.Size], Tensor] = {}

    @property
    def imprecise(self) -> int:
        """How many matrix products have a result in a lower precision than requested."""
        return len(self._imprecise)

    @property
    def imprecise_share(self) -> float:
        """Their share of the FLOP of all products."""
        return self._imprecise_flop / max(1, self._flop)

    def __torch_dispatch__(self, func: Operator, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run the operator, and check its results."""
        kwargs = kwargs or {}
        name = func.overloadpacket.__name__
        if name == "_local_scalar_dense":
            return self._read(func, args[0])
        if func.is_view or name in WITHOUT_RESULTS:
            return func(*args, **kwargs)
        if time.perf_counter() > self._until:
            self.complete = False
            return func(*args, **kwargs)
        self._beat(self.operators)
        may_draw = torch.Tag.nondeterministic_seeded in func.tags or name in BACKWARD  # not all of those have the tag
        if may_draw and not draws.is_certain(func, args, kwargs):
            out = self._drawn(func, args, kwargs)
        else:
            out = self._checked(func, args, kwargs)
        if not self._afterwards.has_begun:
            self.traces.append(trace_of(func, args, kwargs, out))
        return out

    def after_the_step(self) -> None:
        """Check what a first step does not show: whether draws repeat, and attention, of which dropout hides errors.

        It must be entered, and so must whatever knows where an operator runs.
        """
        self._afterwards.has_begun = True
        where = self._where
        for again in self._afterwards.calls():
            if time.perf_counter() > self._until:
                break
            self._where = partial(replace, again.where)
            try:
                again.call()
            except UNSUPPORTED:  # what its operator says of it stays
                continue
            if again.name in FORWARD:
                for name in {again.name, f"{again.name}_backward"} & self.unchecked.keys():
                    self.unchecked[name] = "with dropout; its calls were checked without"
        self._where = where

    def _read(self, func: Operator, tensor: Tensor) -> Any:
        """Read a number from the device, as `.item()` does."""
        value, copy = func(tensor), tensor.detach().cpu()
        right = func(copy)
        if value != right and not (value != value and right != right):  # noqa: PLR0124  NaN is not itself
            self.operators += 1
            verdict = Verdict("wrong", Deviation(1.0, 1.0), 0.0)
            self._add_fault(func, Judged(0, tensor, verdict, f"read {value}, copied {right}"), ((tensor,), {}))
        return value

    def _drawn(self, func: Operator, args: Any, kwargs: Any) -> Any:
        """Run an operator that draws random numbers; check their statistics."""
        name = func.overloadpacket.__name__
        before = _pytree.tree_map(copied_to_cpu, args)
        out = func(*args, **kwargs)
        if not self._afterwards.has_begun:
            self._afterwards.keep(func, args, kwargs, self._where())
        if draws.is_known(name, before):
            self._check_draws(name, before, out)
        else:
            self.unchecked.setdefault(name, "draws random numbers")
        return out

    def again(self) -> Repeat:
        """Follows the step's second run; its faults are added to these."""
        return Repeat(self.traces, self._check_again)

    def _check_again(self, func: Operator, before: Call | None, call: Call, out: Any) -> bool:
        """Compare a call of the second run with float64; whether it is wrong."""
        if before is None or time.perf_counter() > self._until:
            self.unchecked.setdefault(func.overloadpacket.__name__, "gives a different result in the second run")
            return False
        faults = len(self.faults)
        check = self._prepared(func, *before)
        if check is not None:
            check.call = call
        self._judge(check, func, call, out)
        return len(self.faults) > faults

    def _checked(self, func: Operator, args: Any, kwargs: Any) -> Any:
        """Run the operator; compare its results with their reference."""
        name = func.overloadpacket.__name__
        if name in UNREPEATABLE:
            self.unchecked.setdefault(name, UNREPEATABLE[name])
            return func(*args, **kwargs)
        begun = time.perf_counter()
        check = self._prepared(func, args, kwargs)
        runs = time.perf_counter()
        out = func(*args, **kwargs)
        ran = time.perf_counter()
        self._judge(check, func, (args, kwargs), out)
        self.seconds += runs - begun + time.perf_counter() - ran
        return out

    def _prepared(self, func: Operator, args: Any, kwargs: Any) -> CallCheck | None:
        """The check of a call; None, and a reason in `unchecked`, where it is not possible."""
        try:
            return CallCheck(func, args, kwargs, self._settings)
        except UNSUPPORTED as error:
            self._leave_out(func, error)
            return None

    def _judge(self, check: CallCheck | None, func: Operator, call: Any, out: Any) -> None:
        """Count what the check says, up to where it fails."""
        found: list[Judged] = []
        try:
            found.extend(check.judge(out) if check is not None else ())
        except UNSUPPORTED as error:
            self._leave_out(func, error)
        self._count(func, found, call, out)

    def _leave_out(self, func: Operator, error: Exception) -> None:
        self.unchecked.setdefault(func.overloadpacket.__name__, first_line(error))

    def _count(self, func: Operator, found: list[Judged], call: Any, out: Any) -> None:
        self.operators += bool(found)
        if found and func.overloadpacket.__name__ in OPERANDS:
            flop = _flop(func, call, out)
            self.products += 1
            self._flop += flop
            self._imprecise_flop += flop * any(judged.verdict.kind == "imprecise" for judged in found)
        for judged in found:
            verdict = judged.verdict
            if verdict.kind is None:
                self.closest = max(self.closest, verdict.deviation.error / verdict.limit if verdict.limit else 0.0)
                continue
            if verdict.kind == "imprecise":
                self._imprecise.add(self.products)
            self._add_fault(func, judged, call)

    def _add_fault(self, func: Operator, judged: Judged, call: Any) -> None:
        where, deviation, limit = self._where(), judged.verdict.deviation, judged.verdict.limit
        result, number, kind = judged.result, judged.number, judged.verdict.kind or "wrong"
        if not self.script and func.overloadpacket.__name__ not in STAND_INS:
            description = f"relative error {deviation.error:.1e}, limit {limit:.1e}"
            self.script = script(func, call, str(result.device), description, limit or GROWTH * SINGLE)
        expected = [judged.expected] if judged.expected else map(described, leaves(call)[:MOST_FAULTS])
        inputs = tuple(expected)
        fault = fault_of(kind, where, str(func), result, deviation=deviation, limit=limit, inputs=inputs, number=number)
        key = (kind, where.phase, where.module, str(func), str(number))
        earlier = self.faults.get(key)
        if earlier:
            error, worst = max(fault.error, earlier.error), max(fault.worst, earlier.worst)
            fault = replace(fault, error=error, worst=worst, count=1 + earlier.count)
        self.faults[key] = fault

    def _check_draws(self, name: str, args: Any, out: Any) -> None:
        where = self._where()
        drawn = next((value for value in leaves(out)[::-1] if isinstance(value, Tensor)), None)
        if where.phase == "forward" and drawn is not None and drawn.numel() >= draws.LEAST_DRAWS:
            self._check_fresh(name, where, probe(drawn), drawn)
        self.operators += 1
        for fault in draws.check_draws(name, args, out):
            deviation = Deviation(fault.error, 0.0)
            key = ("random", where.phase, where.module, name, fault.request)
            self.faults[key] = fault_of(
                "random", where, name, fault.tensor, deviation=deviation, limit=fault.limit, inputs=(fault.request,)
            )

    def _check_fresh(self, name: str, where: Where, now: Tensor | None, drawn: Tensor) -> None:
        """Whether draws differ from the last ones of the same shape."""
        key = (name, drawn.shape)
        last = self._last_draws.get(key)
        if now is None:
            return
        self._last_draws[key] = now
        if last is not None and difference(last, now) == 0 and draws.cannot_repeat(last):
            evidence, deviation = ("the same numbers again",), Deviation(1.0, 1.0)
            self.faults["random", where.phase, where.module, name, evidence[0]] = fault_of(
                "random", where, name, drawn, deviation=deviation, limit=0.0, inputs=evidence
            )


def _flop(func: Operator, call: Any, out: Any) -> int:
    """Floating-point operations of a product; 1 where torch has no formula."""
    formula = flop_registry.get(func.overloadpacket)
    return int(formula(*call[0], **call[1], out_val=out)) if formula else 1


UNREPEATABLE = {"mkldnn_rnn_layer_backward": "its workspace cannot be used twice"}
UNSUPPORTED = (NotImplementedError, RuntimeError, TypeError)
"""What torch raises where the CPU lacks an operator or a type."""
