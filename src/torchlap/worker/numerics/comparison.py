"""Is one result of an operator correct? Its deviation from the reference against the limits of `tolerance`."""

from collections.abc import Iterator, Sequence
from itertools import accumulate
from math import isfinite, sqrt

import torch
from msgspec import Struct
from torch import Tensor

from torchlap.schema.numerics import FaultKind
from torchlap.worker.numerics.deviation import (
    EXACT,
    NOT_FINITE,
    UNIT_16_BIT,
    Deviation,
    deviation_of,
    unlike,
)
from torchlap.worker.numerics.operator_calls import is_floating
from torchlap.worker.numerics.reference import Reference, as_real, present
from torchlap.worker.numerics.structure import (
    NONE,
    SLOPE,
    SLOPE_16_BIT,
    SLOPE_TF32,
    STANDARD_ERRORS,
    direction_of,
    rows_over_limit,
)
from torchlap.worker.numerics.tolerance import (
    CANCELLATION,
    CANCELLATION_OF_SUMS,
    ELEMENT,
    FACTOR,
    FACTOR_16_BIT,
    FACTOR_CUT,
    GROWTH,
    LOST,
    LUCK_16_BIT,
    NEAR,
    PERTURBATION,
    SINGLE,
    SMALLEST,
    WORST,
    allowed,
    allowed_worst,
)
from torchlap.worker.numerics.whole_numbers import agree


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
    got = as_real(result.detach().cpu())
    if not is_floating(result):
        right = agree(reference.name, reference.before[0], got, present(reference.double[number]))
        return _exact(reference, number, ~right, tf32=tf32)
    kind = _not_finite(reference, number, got, tf32=tf32)
    if kind is not None:
        return Verdict(kind, NOT_FINITE, 0.0)
    right, limit, worst = reference.right(number), 0.0, 0.0
    deviation = deviation_of(got, right)
    for next_limit, next_worst in _limits(reference, number, got, tf32=tf32):
        limit, worst = max(limit, next_limit), max(worst, next_worst)
        if deviation.error <= NEAR * limit and deviation.worst <= NEAR * worst:
            break
    if deviation.error <= limit and deviation.worst <= worst:
        return _closely(reference, number, got, tf32=tf32, verdict=Verdict(None, deviation, limit))
    imprecise = reference.is_product and not tf32 and _is_of_lower_precision(reference, number, got, deviation)
    return Verdict("imprecise" if imprecise else "wrong", deviation, limit)


def _exact(reference: Reference, number: int, differs: Tensor, *, tf32: bool) -> Verdict:
    """The verdict on whole numbers that differ there; where those of float32 differ from float64 too, any is right."""
    if bool(differs.any()):
        single = reference.single(number, tf32=tf32)
        differs &= single == present(reference.double[number])
    share = float(differs.double().mean())
    return Verdict("wrong" if share else None, Deviation(share, share), 0.0)


def _not_finite(reference: Reference, number: int, got: Tensor, *, tf32: bool) -> FaultKind | None:
    """The kind of fault where the result and its reference are not infinite or NaN alike.

    Where a correct implementation in float32 differs from float64 in this way too, an intermediate value overflowed.
    """
    right = reference.right(number)
    if bool(torch.isfinite(got).all()) and bool(torch.isfinite(right).all()):
        return None
    differs = unlike(got, right)
    if not bool(differs.any()):
        return None
    differs &= ~unlike(reference.single(number, tf32=tf32).to(got.dtype), right)
    if not bool(differs.any()):
        return None
    return "wrong" if bool(torch.isfinite(got[differs]).any()) else "not_finite"


def _closely(reference: Reference, number: int, got: Tensor, *, tf32: bool, verdict: Verdict) -> Verdict:
    """The verdict on a result that is right as a whole, after a look at its elements, rows and direction."""
    right = reference.right(number)
    verdict = _within_rounding(reference, number, got, right, verdict)
    unit = UNIT_16_BIT.get(got.dtype, 0.0)
    slope = _slope(reference, unit, tf32=tf32)
    leans = verdict.deviation.error > NEGLIGIBLE * slope  # none leans by more than the whole error
    if verdict.kind is None and leans and _is_systematic(reference, number, got, slope, tf32=tf32):
        verdict = Verdict("wrong", verdict.deviation, slope)
    if verdict.kind is None and not reference.cancels and not unit:
        verdict = _by_rows(reference, number, got, verdict, tf32=tf32)
    if verdict.kind is None and unit and reference.rounds_once:
        verdict = _by_rounded_rows(reference, number, got, verdict)
    return verdict


def _is_systematic(reference: Reference, number: int, got: Tensor, base: float, *, tf32: bool) -> bool:
    """Whether the difference is proportional to the reference, but not that of a correct implementation."""
    right, unit = reference.right(number), UNIT_16_BIT.get(got.dtype, 0.0)
    direction = direction_of(got, right)
    if direction.over_limit(base, NONE) <= 1:
        return False
    single = reference.same_types(number) if unit else reference.single(number, tf32=tf32)
    numbers = direction_of(reference.perturbed(number, 0.0), right)  # 1 - 0.999 in float32 is off by a hundred units
    base += max(abs(numbers.slope), abs(numbers.median))
    base += 0.0 if unit else FACTOR * deviation_of(single, right).error  # a correct result may lean as far as that
    return direction.over_limit(base, direction_of(single.to(got.dtype), right)) > 1


def _slope(reference: Reference, unit: float, *, tf32: bool) -> float:
    """How far the results of any operator may lean."""
    return max(SLOPE * SINGLE, SLOPE_16_BIT * unit, SLOPE_TF32 if tf32 and reference.is_product else 0.0)


def _by_rows(reference: Reference, number: int, got: Tensor, verdict: Verdict, *, tf32: bool) -> Verdict:
    """The verdict, unless a row or channel of a product is wrong by itself."""
    right = reference.right(number)
    for dimension in range(min(2, right.dim())):
        errors, suspicious = rows_over_limit(got, right, dimension)
        if not bool(suspicious.any()):
            continue
        own, _ = rows_over_limit(reference.single(number, tf32=tf32), right, dimension)
        limits = GROWTH * SINGLE + FACTOR * own
        if tf32 and reference.is_product:
            cut, _ = rows_over_limit(reference.cut_off(number), right, dimension)
            limits = torch.maximum(limits, GROWTH * SINGLE + FACTOR_CUT * cut)
        wrong = suspicious & (errors > limits)
        if bool(wrong.any()):
            change, _ = rows_over_limit(reference.perturbed(number, PERTURBATION), right, dimension)
            wrong &= errors > limits + CANCELLATION * change
        if bool(wrong.any()):
            return Verdict(
                "wrong", Deviation(float(errors[wrong].max()), verdict.deviation.worst), float(limits[wrong].min())
            )
    return verdict


def _by_rounded_rows(reference: Reference, number: int, got: Tensor, verdict: Verdict) -> Verdict:
    """The verdict, unless a row or channel of a 16-bit result that was rounded once is wrong by itself."""
    right, unit = reference.right(number), UNIT_16_BIT[got.dtype]
    rounded = right.to(reference.lowest(got.dtype))
    for dimension in range(right.dim()):
        errors, suspicious = rows_over_limit(got, right, dimension)
        own, _ = rows_over_limit(rounded, right, dimension)
        length = right.numel() // right.shape[dimension]
        limits = GROWTH * SINGLE + FACTOR_16_BIT * own + LUCK_16_BIT * unit / sqrt(length)
        wrong = suspicious & (errors > limits)
        if bool(wrong.any()):
            change, _ = rows_over_limit(reference.perturbed(number, unit / 2), right, dimension)
            limits = limits + CANCELLATION_OF_SUMS * change
            wrong &= errors > limits
        if bool(wrong.any()):
            return Verdict(
                "wrong", Deviation(float(errors[wrong].max()), verdict.deviation.worst), float(limits[wrong].min())
            )
    return verdict


def _within_rounding(reference: Reference, number: int, got: Tensor, right: Tensor, verdict: Verdict) -> Verdict:
    """The verdict, unless single elements are further off than rounding explains.

    A sum or product of a few numbers has a bound for every element. The norm of a tensor would hide an update that
    is lost in large weights, or the small elements of a tensor.
    """
    over = _over_rounding(reference, number, got, right)
    if over is not None and bool((over > 1).any()):
        return Verdict("wrong", Deviation(verdict.deviation.error, float(over.max())), ELEMENT * SINGLE)
    return _updated(reference, number, got, right, verdict)


def _updated(reference: Reference, number: int, got: Tensor, right: Tensor, verdict: Verdict) -> Verdict:
    """The verdict, unless a small update is not made, or not as large as a correct implementation makes it."""
    before = _before_update(reference, number, got)
    if before is None:
        return verdict
    share, chance = _share_of_update(got, right, before)
    if abs(share - 1) <= LOST:
        return verdict
    own, _ = _share_of_update(reference.single(number, tf32=False), right, before)
    if abs(share - own) <= LOST + STANDARD_ERRORS * chance:
        return verdict
    return Verdict("wrong", Deviation(abs(share - own), verdict.deviation.worst), LOST)


def _share_of_update(got: Tensor, right: Tensor, before: Tensor) -> tuple[float, float]:
    """How much of an update was made, and how far that may be off by chance; all of one too small for float32."""
    update = right - before
    scale = float(update.abs().max()) if update.numel() else 0.0
    if scale <= SINGLE / 4 * float(before.abs().max()):
        return 1.0, 0.0
    update, made = update / scale, (got.double() - before) / scale
    energy = float(update.square().sum())
    share = float((made * update).sum()) / energy
    if not isfinite(share):  # the rule for infinities decides
        return 1.0, 0.0
    return share, float(((made - share * update) * update).square().sum()) ** 0.5 / energy


def _before_update(reference: Reference, number: int, got: Tensor) -> Tensor | None:
    """What an operator that changes its first argument a little started from, in float64; None for other operators."""
    name = reference.name.removeprefix("_foreach_")
    fused = name.startswith("_fused_")
    if got.dtype != torch.float32 or not got.numel() or not (fused or (name in FEW_ROUNDINGS and name.endswith("_"))):
        return None
    args = reference.before[0]
    before = args[number] if fused else args[0]
    before = before[0] if isinstance(before, list | tuple) else before
    return None if before.is_complex() or before.shape != got.shape else before.double()


def _over_rounding(reference: Reference, number: int, got: Tensor, right: Tensor) -> Tensor | None:
    """The difference of each element over its bound; None for an operator that has no such bound."""
    name = reference.name.removeprefix("_foreach_")
    fused = name.startswith("_fused_")
    if got.dtype != torch.float32 or not got.numel() or not (fused or name in FEW_ROUNDINGS):
        return None
    args = reference.before[0]
    before = args[number] if fused else args[0]
    before = before[0] if isinstance(before, list | tuple) else before
    if before.is_complex() or reference.is_complex(number):
        return None
    bound = ELEMENT * SINGLE * (right.abs() + before.double().abs()) + SMALLEST
    if fused:  # several operators at once: the update has an operator's limit
        bound = bound + GROWTH * SINGLE * (right - before.double()).abs()
    over: Tensor = ((got.double() - right).abs() / bound).nan_to_num(0.0)  # NaN where both are infinite
    return over


def _is_of_lower_precision(reference: Reference, number: int, result: Tensor, deviation: Deviation) -> bool:
    lower, unit = reference.in_next_lower(number, result.dtype)
    if deviation.error <= allowed(lower.error, result.numel(), unit):
        return True
    right = reference.right(number)
    return not unit and deviation.error <= _limit_cut(deviation_of(reference.cut_off(number).to(result.dtype), right))


def _limit_cut(cut: Deviation) -> float:
    """The largest error of a product with operands in TF32, from the error where they are cut off."""
    return GROWTH * SINGLE + FACTOR_CUT * cut.error


def _limits(reference: Reference, number: int, result: Tensor, *, tf32: bool) -> Iterator[tuple[float, float]]:
    """The limits of the error and of the worst element, each more expensive to compute than the one before.

    First one that most results pass; then with a correct implementation's own error; then with cancellation.
    """
    right, elements, lowest = reference.right(number), result.numel(), reference.lowest(result.dtype)
    unit = UNIT_16_BIT.get(lowest, 0.0)
    rounding = deviation_of(right.to(lowest), right) if unit else EXACT
    yield allowed(rounding.error, elements, unit), allowed_worst(rounding.worst, elements, unit)
    own = deviation_of(reference.single(number, tf32=tf32).to(lowest), right)
    limit, worst = allowed(own.error, elements, unit), allowed_worst(own.worst, elements, unit)
    yield limit, worst
    if tf32 and reference.is_product:
        cut = deviation_of(reference.cut_off(number).to(lowest), right)
        yield _limit_cut(cut), allowed_worst(cut.worst, elements, unit)
    if reference.cancels:
        change = deviation_of(reference.perturbed(number, unit / 2 if unit else PERTURBATION), right)
        factor = _cancellation(reference, unit)
        yield limit + factor * change.error, worst + factor * change.worst


def _cancellation(reference: Reference, unit: float) -> float:
    """How many times the change by a perturbation a result may be off."""
    return CANCELLATION_OF_SUMS if unit and reference.rounds_once else CANCELLATION


NEGLIGIBLE = 0.1
"""Of the limit: a tensor's error from which its direction is looked for. A tenth, because the median element may be off
by more than the norm."""

FEW_ROUNDINGS = {"add_", "sub_", "mul_", "lerp_", "addcmul_", "addcdiv_", "add", "sub", "mul"}
"""Operators whose results are rounded a few times at most, each no more than the result and the first argument."""


def suspects(reference: Reference, number: int, result: Tensor, sizes: Sequence[int]) -> tuple[Verdict, list[int]]:
    """Compare a result that is many tensors end to end, each by the first limit.

    Returns:
        A verdict on those within it, and the numbers of the others.
    """
    got, right = result.detach().cpu(), present(reference.double[number])
    if not is_floating(got) or got.is_complex():
        return Verdict(None, EXACT, 0.0), list(range(len(sizes)))
    difference = (got.double() - right).square_()
    errors = _sums(difference, sizes)
    norms = _sums(right.square(), sizes)
    unit = UNIT_16_BIT.get(reference.lowest(got.dtype), 0.0)
    rounding = (
        _sums((right.to(reference.lowest(got.dtype)) - right).square_(), sizes) if unit else torch.zeros_like(norms)
    )
    counts = torch.tensor(sizes, dtype=torch.float64)
    limits = (
        GROWTH * SINGLE * norms.sqrt() + FACTOR_16_BIT * rounding.sqrt() + LUCK_16_BIT * unit * (norms / counts).sqrt()
    )
    over = errors.sqrt() / (NEAR * limits).clamp(min=SMALLEST)
    largest = torch.stack([part.max() for part in _each(difference, sizes)]).sqrt()
    over = torch.maximum(over, largest / (NEAR * WORST * limits / counts.sqrt()).clamp(min=SMALLEST))
    strict = _over_rounding(reference, number, got, right)
    if strict is not None:
        over = torch.maximum(over, torch.stack([part.max() for part in _each(strict, sizes)]))
    before = _before_update(reference, number, got)
    if before is not None:
        parts = zip(_each(got, sizes), _each(right, sizes), _each(before, sizes), strict=True)
        shares = [_share_of_update(*part)[0] for part in parts]
        over = torch.maximum(over, (torch.tensor(shares, dtype=torch.float64) - 1).abs() / LOST)
    doubtful = (~(over <= 1)).nonzero().flatten().tolist()
    passed = over[over <= 1]
    closest = NEAR * float(passed.max()) if passed.numel() else 0.0
    return Verdict(None, Deviation(closest, closest), 1.0), doubtful


def _sums(values: Tensor, sizes: Sequence[int]) -> Tensor:
    return torch.stack([part.sum() for part in _each(values, sizes)])


def _each(values: Tensor, sizes: Sequence[int]) -> tuple[Tensor, ...]:
    """The tensors that were laid end to end."""
    return values.tensor_split(list(accumulate(sizes))[:-1])


def root_mean_square(values: Tensor) -> float:
    """Of the finite elements of a tensor."""
    return float(torch.linalg.vector_norm(torch.nan_to_num(values, posinf=0.0, neginf=0.0))) / sqrt(values.numel())
