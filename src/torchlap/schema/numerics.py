"""Whether results are correct: what a check of one cell, or of one device, found."""

from typing import Annotated, Literal

from msgspec import Meta, Struct

from torchlap.schema.base import Count, Name, Positive, Seconds, Text

FaultKind = Literal["wrong", "imprecise", "not_finite", "random", "shape"]


class NumericsFault(Struct, frozen=True, kw_only=True):
    """An operator whose result differs from float64: where it ran, what it is, and by how much it is off.

    Attributes:
        kind: "wrong"; "imprecise", such as a matrix product in TF32 where float32 was requested; "not_finite" where
            the reference is finite; "random" for random numbers that do not follow their distribution; or "shape" for
            a result of another shape than the reference.
        error: relative error of the result; `allowed` is its limit.
        worst: error of the worst element, relative to the root mean square.
        result: index of the result among the operator's outputs.
        count: how many calls of the operator were off in this way.
    """

    kind: FaultKind
    phase: Text
    module: Text
    operator: Text
    result: Count
    shape: tuple[Count, ...]
    dtype: Text
    layout: Text
    error: Annotated[float, Meta(ge=0)]
    worst: Annotated[float, Meta(ge=0)]
    allowed: Annotated[float, Meta(ge=0)]
    inputs: tuple[Text, ...] = ()
    count: Positive = 1


class Numerics(Struct, frozen=True, kw_only=True):
    """Whether a cell computes correct results: one step of it, checked against float64 on the CPU.

    Attributes:
        reason: why nothing was checked; empty if something was.
        products: matrix products checked; `imprecise` counts those computed in a lower precision.
        imprecise_share: their share of the products' FLOP; None in older files.
        unchecked: operators that could not be checked, each with its reason.
        closest: the largest error among correct results, as a fraction of its limit.
        whole: the step was compared as a whole, because it is compiled.
        spread: how much the same step differed from itself the second time; 0 if it was identical.
        repeated: whether there was time for that second run.
        script: a script that reproduces the first fault with torch alone.
        sampled: a part of large calls was checked, which `seed` chose; otherwise all of each.
    """

    reason: Text = ""
    operators: Count = 0
    products: Count = 0
    imprecise: Count = 0
    imprecise_share: Annotated[float, Meta(ge=0, le=1)] | None = None
    unchecked: tuple[Text, ...] = ()
    closest: Annotated[float, Meta(ge=0)] = 0.0
    faults: tuple[NumericsFault, ...] = ()
    complete: bool = True
    whole: bool = False
    spread: Annotated[float, Meta(ge=0)] = 0.0
    spread_of: Text = ""
    repeated: bool = True
    seconds: Seconds = 0.0
    script: Text = ""
    sampled: bool = False
    seed: Count = 0


class OperatorSuite(Struct, frozen=True, kw_only=True):
    """What the operator suite found on a device: the first faults, how many there are, and what it could not call.

    Attributes:
        left_out: why calls were not made although the device may implement them; empty if all were.
    """

    device: Name
    calls: Count
    faults: tuple[NumericsFault, ...]
    fault_count: Count
    skipped: tuple[Text, ...] = ()
    left_out: Text = ""
    seconds: Seconds = 0.0
