"""Run the operator suite on a device: every call beside float64 on the CPU, forward and every gradient.

The suite runs twice, the second time with NaN in the memory that the allocator reuses. Random operators are checked by
their statistics, optimizers over twenty steps in which every parameter must change.
"""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress

import torch
from torch import Tensor

from torchlap.schema.numerics import FaultKind, NumericsFault, OperatorSuite
from torchlap.worker import devices
from torchlap.worker.cell.timing import Beat
from torchlap.worker.errors import first_line
from torchlap.worker.numerics.deviation import NOT_FINITE, UNIT_16_BIT, Deviation, deviation_of, is_finite_where
from torchlap.worker.numerics.draws import check_generators
from torchlap.worker.numerics.faults import MOST_FAULTS, Where, described, fault_of, type_of
from torchlap.worker.numerics.inputs import dirty, laid_out
from torchlap.worker.numerics.optimizers import check_optimizers
from torchlap.worker.numerics.suite import CALLS, DTYPES, Call, Function
from torchlap.worker.numerics.tolerance import allowed, allowed_worst

SEED = 5
MOST_BYTES = 1 << 30
"""Calls that need more host memory than this are left out."""

COPIES_OF_A_CALL = 12
"""An input, its float64 copy and its gradients, about."""

LONGEST_REASON = 200


def check_operators(
    name: str, report: Callable[[str], None], *, thorough: bool, limit_seconds: float = math.inf
) -> OperatorSuite:
    """Run the suite on the named device.

    Args:
        name: of the device.
        report: called with what is being done.
        thorough: run the large sizes, too.
        limit_seconds: calls that would begin later are left out.
    """
    begun = time.perf_counter()
    device = devices.select(name)
    devices.set_precision("fp32", device)
    faults: list[NumericsFault] = []
    skipped: dict[str, str] = {}
    count, left_out, beat = 0, "", Beat(lambda calls: report(f"operator suite, {calls} calls"))
    for with_dirty_memory in (False, True):
        if with_dirty_memory and not left_out:
            dirty(device)
        for call, layout, dtype in _combinations(thorough=thorough):
            if time.perf_counter() - begun >= limit_seconds:
                left_out = "out of time; raise --budget"
                break
            beat(count)
            found = _check_call(call, layout, dtype, device, skipped)
            count += found is not None
            faults += found or ()
    if not left_out:
        report("random operators")
        faults += check_generators(device)
        report("optimizers")
        faults += check_optimizers(device)
    return OperatorSuite(
        device=name,
        calls=count,
        faults=tuple(faults)[:MOST_FAULTS],
        fault_count=len(faults),
        skipped=tuple(f"{call}: {why}" for call, why in skipped.items())[:MOST_FAULTS],
        left_out=left_out,
        seconds=time.perf_counter() - begun,
    )


def _combinations(*, thorough: bool) -> Iterator[tuple[Call, str, torch.dtype]]:
    for call in CALLS:
        if call.large and not thorough:
            continue
        for layout in call.layouts:
            for dtype in DTYPES:
                yield call, layout, dtype


def _check_call(
    call: Call, layout: str, dtype: torch.dtype, device: torch.device, skipped: dict[str, str]
) -> list[NumericsFault] | None:
    """The faults of one call; None if it could not be made, with the reason in `skipped` if there is one."""
    generator = torch.Generator().manual_seed(SEED)
    values = [torch.randn(shape, generator=generator).to(dtype) for shape in call.shapes]
    if COPIES_OF_A_CALL * 8 * sum(value.numel() for value in values) > MOST_BYTES:
        skipped[call.name] = "too large to check"
        return None
    first = laid_out(values[0], layout, device)
    if first is None:
        return None
    try:
        got = _results(call.function, [first, *(value.to(device) for value in values[1:])], layout)
        right = _results(call.function, [value.double() for value in values], layout)
    except (NotImplementedError, RuntimeError, TypeError) as error:
        skipped.setdefault(f"{call.name}, {type_of(values[0])}", first_line(error, LONGEST_REASON))
        return None
    own = _own_deviations(call, values, layout, right)
    faults = []
    for name, value in got.items():
        deviation, (limit, worst) = _deviation(value, right[name]), _limits(value, right[name], own[name])
        if deviation.error > limit or deviation.worst > worst:
            faults.append(_fault(call, layout, first, name=name, value=value, deviation=deviation, limit=limit))
    return faults


def _results(function: Function, inputs: Sequence[Tensor], layout: str) -> dict[str, Tensor]:
    """The output, and the gradient of every input; in one layout through `sum`, whose gradient has strides of 0."""
    leaves = [value.detach().requires_grad_() for value in inputs]
    out = function(*leaves)
    if layout == "transposed":
        out.sum().backward()  # type: ignore[no-untyped-call]  # torch's own
    else:
        weights = torch.randn(out.shape, generator=torch.Generator().manual_seed(SEED + 1)).to(out.dtype).to(out.device)
        out.backward(weights)  # type: ignore[no-untyped-call]
    gradients = {f"gradient of input {number}": leaf.grad for number, leaf in enumerate(leaves)}
    return {"output": out.detach(), **{name: grad for name, grad in gradients.items() if grad is not None}}


def _own_deviations(
    call: Call, values: Sequence[Tensor], layout: str, right: dict[str, Tensor]
) -> dict[str, Deviation]:
    """The CPU's deviations in the same type; where it lacks the operator, those of rounding alone."""
    rounded = {name: result.to(values[0].dtype) for name, result in right.items()}
    with suppress(NotImplementedError, RuntimeError):
        rounded = _results(call.function, [value.clone() for value in values], layout)
    return {name: deviation_of(rounded[name], result) for name, result in right.items()}


def _deviation(value: Tensor, right: Tensor) -> Deviation:
    got = value.cpu()
    return deviation_of(got, right) if is_finite_where(right, got) else NOT_FINITE


def _limits(value: Tensor, right: Tensor, own: Deviation) -> tuple[float, float]:
    """The limits of the error and of the worst element."""
    unit, rounding = UNIT_16_BIT.get(value.dtype, 0.0), deviation_of(right.to(value.dtype), right)
    error, worst = max(own.error, rounding.error), max(own.worst, rounding.worst)
    return allowed(error, value.numel(), unit), allowed_worst(worst, value.numel(), unit)


def _fault(
    call: Call, layout: str, first: Tensor, *, name: str, value: Tensor, deviation: Deviation, limit: float
) -> NumericsFault:
    issue = f", see {call.issue}" if call.issue else ""
    where = Where(name, f"{call.name} ({layout}{issue})")
    kind: FaultKind = "not_finite" if deviation == NOT_FINITE else "wrong"
    return fault_of(kind, where, call.name, value, deviation=deviation, limit=limit, inputs=(described(first),))
