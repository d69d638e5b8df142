"""Random numbers have no reference: do the draws follow their distribution?"""

from collections.abc import Callable, Iterator
from math import log, sqrt
from typing import Any

import torch
from msgspec import Struct
from torch import Tensor
from torch.nn import functional

from torchlap.schema.numerics import NumericsFault
from torchlap.worker.numerics.deviation import UNIT_16_BIT, Deviation, deviation_of
from torchlap.worker.numerics.faults import Where, fault_of
from torchlap.worker.numerics.inputs import laid_out
from torchlap.worker.numerics.operator_calls import Operator, arguments_by_name
from torchlap.worker.numerics.tolerance import allowed

SIGMAS = 6.0
"""A correct generator exceeds this many standard errors once in 500 million draws."""

WIDTH = 1.5
"""The standard error of a deviation over that of a mean, at most: the exponential distribution's is 1.41."""

SHAPE = (256, 257)
ISSUE = "#165267"


class DrawFault(Struct, frozen=True):
    """Draws that are not as requested: which tensor, how far off, the limit, and the request in words."""

    tensor: Tensor
    error: float
    limit: float
    request: str


def is_known(name: str, args: Any) -> bool:
    """Whether `check_draws` can check a call of this operator."""
    return (
        name == "native_dropout"
        or (name in ("bernoulli_", "bernoulli") and len(args) > 1 and isinstance(args[1], float))
        or (name == "bernoulli_" and len(args) == 1)
        or name in DISTRIBUTIONS
    )


def is_certain(func: Operator, args: Any, kwargs: Any) -> bool:
    """Whether an operator that may draw random numbers draws none in this call."""
    given = arguments_by_name(func, args, kwargs)
    names = {argument.name for argument in func._schema.arguments}  # noqa: SLF001  there is no public name
    if names & {"dropout_p", "dropout"}:
        return not given.get("dropout_p", given.get("dropout", 0.0))
    return func.overloadpacket.__name__ == "rrelu_with_noise" and not given.get("training", False)


def _normal(args: Any) -> tuple[float, float]:
    mean = float(args[1]) if len(args) > 1 else 0.0
    return mean, float(args[2]) if len(args) > SECOND else 1.0


def _uniform(args: Any) -> tuple[float, float]:
    low = float(args[1]) if len(args) > 1 else 0.0
    high = float(args[2]) if len(args) > SECOND else 1.0
    return (low + high) / 2, (high - low) / sqrt(12)


def _exponential(args: Any) -> tuple[float, float]:
    rate = float(args[1]) if len(args) > 1 else 1.0
    return 1 / rate, 1 / rate


DISTRIBUTIONS: dict[str, Callable[[Any], tuple[float, float]]] = {
    "normal_": _normal,
    "normal_functional": _normal,
    "randn": lambda _: (0.0, 1.0),
    "randn_like": lambda _: (0.0, 1.0),
    "uniform_": _uniform,
    "rand": lambda _: (0.5, sqrt(1 / 12)),
    "rand_like": lambda _: (0.5, sqrt(1 / 12)),
    "exponential_": _exponential,
}
"""Operators that draw numbers, and the mean and standard deviation for their arguments."""

SECOND = 2
LEAST_DRAWS = 64
"""From fewer numbers, mean and deviation say little."""


LEAST_CHANCE = 1e-9
"""That the same numbers are drawn twice; a mask that drops little may well repeat."""


def cannot_repeat(drawn: Tensor) -> bool:
    """Whether drawing exactly these numbers a second time would be too unlikely."""
    _, counts = torch.unique(drawn.double(), return_counts=True)
    shares = counts.double() / max(1, drawn.numel())
    return drawn.numel() * log(max(float(shares.square().sum()), 1e-300)) < log(LEAST_CHANCE)


def _check_moments(drawn: Tensor, mean: float, deviation: float) -> Iterator[DrawFault]:
    """Whether the mean, the deviation and the mean of the first half are those of the distribution."""
    values = drawn.detach().cpu().double().flatten()
    if values.numel() < LEAST_DRAWS or deviation <= 0:
        return
    unit = deviation / sqrt(values.numel())
    half = values[: values.numel() // 2]
    off = max(
        abs(float(values.mean()) - mean) / unit,
        abs(float(values.std()) - deviation) / (WIDTH * unit),
        abs(float(half.mean()) - mean) / (sqrt(2) * unit),
    )
    if not off <= SIGMAS:
        yield DrawFault(drawn, off, SIGMAS, "standard errors off")


def check_draws(name: str, args: Any, out: Any) -> Iterator[DrawFault]:
    """Check a call of Dropout or Bernoulli: only zeros and ones, as many as requested, and used as drawn.

    Args:
        name: of the operator, one that `is_known`.
        args: its arguments, on the CPU, before it ran.
        out: what it returned.
    """
    if name in DISTRIBUTIONS:
        yield from _check_moments(out, *DISTRIBUTIONS[name](args))
        return
    if name == "native_dropout":
        values, keep, (dropped, drawn, *_) = args[0], 1.0 - float(args[1]), out
        draws = drawn.detach().cpu().double()
        yield from _check_dropped(values, draws / keep, dropped)
    else:
        keep, drawn = args[1] if len(args) > 1 else 0.5, out
        draws = drawn.detach().cpu().double()
    ones, count = float(draws.sum()), draws.numel()
    limit = SIGMAS * sqrt(count * keep * (1 - keep)) + 0.5
    if abs(ones - keep * count) > limit or not bool(((draws == 0) | (draws == 1)).all()):
        yield DrawFault(drawn, abs(ones / count - keep), limit / count, f"keep probability {keep:g}")
    first = draws.flatten()[: count // 2]
    half_limit = SIGMAS * sqrt(first.numel() * keep * (1 - keep)) + 0.5
    if abs(float(first.sum()) - keep * first.numel()) > half_limit:
        evidence = f"keep probability {keep:g}, in the first half"
        yield DrawFault(drawn, abs(float(first.mean()) - keep), half_limit / first.numel(), evidence)


def _check_dropped(values: Tensor, factors: Tensor, dropped: Tensor) -> Iterator[DrawFault]:
    """Whether Dropout's output is its input times the factors of its mask."""
    deviation = deviation_of(dropped.detach().cpu(), values.double() * factors)
    limit = allowed(UNIT_16_BIT.get(dropped.dtype, 0.0), dropped.numel())
    if not deviation.error <= limit:
        yield DrawFault(dropped, deviation.error, limit, "differs from its mask")


class Generator(Struct, frozen=True):
    """A random operator, and its distribution's mean and standard deviation."""

    name: str
    draw: Callable[[Tensor], Tensor]
    mean: float
    deviation: float


GENERATORS = (
    Generator("normal_", lambda x: x.normal_(), 0.0, 1.0),
    Generator("uniform_", lambda x: x.uniform_(), 0.5, sqrt(1 / 12)),
    Generator("bernoulli_", lambda x: x.bernoulli_(0.3), 0.3, sqrt(0.21)),
    Generator("dropout", lambda x: (functional.dropout(x + 1, 0.3) != 0).float(), 0.7, sqrt(0.21)),
)


def check_generators(device: torch.device) -> list[NumericsFault]:
    """Draw into contiguous and transposed tensors; check mean, spread, share and neighbors of the draws."""
    faults = []
    for layout in ("contiguous", "transposed"):
        for generator in GENERATORS:
            values = laid_out(torch.zeros(SHAPE), layout, device)
            if values is None:
                continue
            off = _standard_errors(generator.draw(values).detach().cpu().double(), generator)
            if not off <= SIGMAS:
                where = Where("statistics", f"{generator.name} ({layout}, see {ISSUE})")
                evidence, deviation = (f"{off:.0f} standard errors off",), Deviation(off, 0.0)
                faults.append(
                    fault_of(
                        "random", where, generator.name, values, deviation=deviation, limit=SIGMAS, inputs=evidence
                    )
                )
    return faults


def _standard_errors(drawn: Tensor, generator: Generator) -> float:
    """How far the draws are off, in standard errors: the largest of mean, spread, a half's mean, and correlation."""
    count, mean, deviation = drawn.numel(), generator.mean, generator.deviation
    half = drawn[:, : SHAPE[1] // 2]
    return max(
        abs(float(drawn.mean()) - mean) / (deviation / sqrt(count)),
        abs(float(drawn.std()) - deviation) / (deviation / sqrt(count)),
        abs(float(half.mean()) - mean) / (deviation / sqrt(count / 2)),
        abs(float((drawn[:-1] - mean).mul(drawn[1:] - mean).mean())) / (deviation**2 / sqrt(count)),
    )
