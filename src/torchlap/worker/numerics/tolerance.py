"""How far an operator's result may be from float64: the rule by which numbers are right or wrong.

Error: the norm of the difference over the norm of the reference, of one tensor. The reference is the same operator on
the same values in float64 on the CPU; `own` is the error of a right implementation of that precision: of the CPU in
float32 (its operands rounded to TF32 where TF32 is on), rounded to the type of the result. The factors are by trial, on
right implementations and on wrong ones: docs/verify.md has the table.
"""

from math import sqrt

SINGLE = 2.0**-24
"""The unit round-off of float32; of TF32 it is 2**-11, of bfloat16 2**-8 at most, of float16 2**-11."""

GROWTH = 512.0
"""Units of float32 that any operator may be off, whatever its own error: long sums, fused operations, Winograd. A
product in TF32 is off by 3,000 or more."""

FACTOR, FACTOR_16_BIT = 8.0, 5.0
"""Of a right implementation's own error. A 16-bit result is off by its rounding, the same everywhere, so less."""

WORST = 4.0
"""The worst element may be so much further off, in terms of the root mean square."""

LUCK_16_BIT = 4.0
"""Units over the root of the number of elements: few elements may all be rounded well by one side, by luck."""

CANCELLATION = 8.0
"""Of the change that the reference shows when its inputs grow in magnitude by `WIGGLE`, or, where the result or an
input is of 16 bits, by half of its unit."""

WIGGLE = 16 * SINGLE

NEAR = 0.5
"""Of a limit: what is nearer is given the next look too, so that the limit told is the one that would decide."""


def allowed(own: float, elements: int, unit_16_bit: float = 0.0) -> float:
    """The error that a right operator may show.

    Args:
        own: the error of a right implementation; 0 for a first look without it.
        elements: of the tensor.
        unit_16_bit: the unit round-off of a 16-bit result; 0 for float32.
    """
    base = GROWTH * SINGLE
    if unit_16_bit:
        return base + FACTOR_16_BIT * own + LUCK_16_BIT * unit_16_bit / sqrt(elements)
    return base + FACTOR * own


def allowed_worst(own_worst: float, elements: int, unit_16_bit: float = 0.0) -> float:
    """The same for the worst element, over the reference's root mean square."""
    luck = LUCK_16_BIT * unit_16_bit / sqrt(elements) * (sqrt(elements) - 1)  # for one element there is one rule
    return WORST * (allowed(own_worst, elements, unit_16_bit) + luck)
