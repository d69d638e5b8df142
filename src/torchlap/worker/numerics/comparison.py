"""Is one result of an operator correct? Its deviation from the reference against the limits of `tolerance`."""

from collections.abc import Iterator

from msgspec import Struct
from torch import Tensor

from torchlap.schema.numerics import FaultKind
from torchlap.worker.numerics.deviation import (
    EXACT,
    NOT_FINITE,
    UNIT_16_BIT,
    Deviation,
    deviation_of,
    is_finite_where,
)
from torchlap.worker.numerics.reference import Reference
from torchlap.worker.numerics.tolerance import CANCELLATION, NEAR, PERTURBATION, allowed, allowed_worst


class Verdict(Struct, frozen=True):
    """How far a result is off, the limit that decided, and the kind of fault; None for a correct result."""

    kind: FaultKind | None
    deviation: Deviation
    limit: float


def compare(reference: Reference, number: int, result: Tensor, *, tf32: bool) -> Verdict:
    """Compare the operator's result `number` with its reference, one limit after the other until it clearly passes.

    Args:
        reference: the operator's correct results.
        number: index of the result.
        result: the device's.
        tf32: matrix products may round their operands to TF32.
    """
    right, got = reference.double[number], result.detach().cpu()
    if not is_finite_where(right, got):
        return Verdict("not_finite", NOT_FINITE, 0.0)
    deviation, limit, worst = deviation_of(got, right), 0.0, 0.0
    for next_limit, next_worst in _limits(reference, number, result, tf32=tf32):
        limit, worst = max(limit, next_limit), max(worst, next_worst)
        if deviation.error <= NEAR * limit and deviation.worst <= NEAR * worst:
            break
    if deviation.error <= limit and deviation.worst <= worst:
        return Verdict(None, deviation, limit)
    imprecise = reference.is_product and not tf32 and _is_of_lower_precision(reference, number, result, deviation)
    return Verdict("imprecise" if imprecise else "wrong", deviation, limit)


def _is_of_lower_precision(reference: Reference, number: int, result: Tensor, deviation: Deviation) -> bool:
    lower, unit = reference.in_next_lower(number, result.dtype)
    return deviation.error <= allowed(lower.error, result.numel(), unit)


def _limits(reference: Reference, number: int, result: Tensor, *, tf32: bool) -> Iterator[tuple[float, float]]:
    """The limits of the error and of the worst element, each more expensive to compute than the one before.

    First one that most results pass; then with a correct implementation's own error; then with cancellation.
    """
    right, elements, lowest = reference.double[number], result.numel(), reference.lowest(result.dtype)
    unit = UNIT_16_BIT.get(lowest, 0.0)
    rounding = deviation_of(right.to(lowest), right) if unit else EXACT
    yield allowed(rounding.error, elements, unit), allowed_worst(rounding.worst, elements, unit)
    own = deviation_of(reference.single(tf32=tf32)[number].to(lowest), right)
    limit, worst = allowed(own.error, elements, unit), allowed_worst(own.worst, elements, unit)
    yield limit, worst
    if not reference.is_product:
        change = deviation_of(reference.perturbed(unit / 2 if unit else PERTURBATION)[number], right)
        yield limit + CANCELLATION * change.error, worst + CANCELLATION * change.worst
