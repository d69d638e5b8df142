"""How far an operator's result may be from float64: the rule by which results are correct or wrong.

The error is the norm of the difference over the norm of the reference, of one tensor. The reference is the same
operator on the same values in float64 on the CPU. `own` is the error of a correct implementation in that precision: the
CPU in float32 (with operands rounded to TF32 where TF32 is on), rounded to the type of the result. The factors come
from trials on correct and on wrong implementations: docs/verify.md has the table.
"""

from math import sqrt

SINGLE = 2.0**-24
"""The unit round-off of float32. TF32's is 2**-11, bfloat16's at most 2**-8, float16's 2**-11."""

GROWTH = 512.0
"""The error that any operator may have, in units of float32: long sums, fused operations, Winograd's algorithm. A
product in TF32 has an error of 3,000 or more."""

FACTOR, FACTOR_16_BIT = 8.0, 5.0
"""Times a correct implementation's own error. A 16-bit result's error is its rounding, the same everywhere, so less."""

FACTOR_CUT = 2.0
"""Times the error of a product whose operands are cut off to TF32. All of them are then too small, so their errors add
up where those of rounding average out; but they are the same on every device that cuts off."""

WORST = 4.0
"""How much further off the worst element may be, relative to the root mean square."""

LUCK_16_BIT = 4.0
"""Units over the root of the number of elements: one side may round all of a few elements well by chance."""

CANCELLATION = 8.0
"""Times the change of the reference when its inputs grow in magnitude by `PERTURBATION`, or, where the result or an
input has 16 bits, by half of its unit."""

CANCELLATION_OF_SUMS = 2.0
"""The same for 16-bit results of operators that treat each element alone or add: they compute in float32 and round
once, so that only some intermediate value may have been rounded, too."""

PERTURBATION = 16 * SINGLE

NEAR = 0.5
"""Results within half of a limit pass; the others get the next limit too, so that the limit in the report is the one
that decided."""

ELEMENT = 16.0
"""Units of float32 by which an element may be off that was rounded a few times: a sum, a product, an update. Relative
to the correct result and the operator's first argument together."""

LOST = 0.25
"""Of an update: by how much less or more it may be than a correct implementation's, beyond chance."""

SMALLEST = 1e-36
"""What may be lost of any element, because devices flush numbers below 1e-38 to 0, also within an operator."""


def allowed(own: float, elements: int, unit_16_bit: float = 0.0) -> float:
    """The largest error of a correct operator.

    Args:
        own: the error of a correct implementation; 0 for a first limit without it.
        elements: of the tensor.
        unit_16_bit: the unit round-off of a 16-bit result; 0 for float32.
    """
    base = GROWTH * SINGLE
    if unit_16_bit:
        return base + FACTOR_16_BIT * own + LUCK_16_BIT * unit_16_bit / sqrt(elements)
    return base + FACTOR * own


def allowed_worst(own_worst: float, elements: int, unit_16_bit: float = 0.0) -> float:
    """The largest error of the worst element of a correct operator, relative to the reference's root mean square."""
    luck = LUCK_16_BIT * unit_16_bit / sqrt(elements) * (sqrt(elements) - 1)  # a single element has one rule only
    return WORST * (allowed(own_worst, elements, unit_16_bit) + luck)
