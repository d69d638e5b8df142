"""Are a cell's numbers right? Its step, operator by operator, beside float64; and the same step twice."""

import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor

from torchlap.schema.messages import Verify
from torchlap.schema.numerics import FaultKind, Numerics
from torchlap.worker import devices
from torchlap.worker.cell.recipes import SEED, Bench, NotFiniteError, Step
from torchlap.worker.cell.timing import Beat
from torchlap.worker.numerics.operators import dirty
from torchlap.worker.numerics.shadow import (
    EXACT,
    MOST_FAULTS,
    NOT_FINITE,
    SAMPLE,
    UNIT_16_BIT,
    Shadow,
    Tracker,
    Where,
    error_of,
    fault_of,
)
from torchlap.worker.numerics.tolerance import SINGLE, allowed

MOST_UNCHECKED = 20
WIGGLES = 3
WIGGLE_UNITS = 32
"""A compiled step is another order of the same sums: as if its parameters were off by so many units of float32."""

State = dict[str, Tensor]


def verify(bench: Bench, request: Verify, say: Callable[[str], None]) -> Numerics:
    """Check one step of a cell; its model is afterwards as it was before.

    A compiled step has no operators to look at one by one: it is compared as a whole with the same step not compiled,
    and may differ from it as much as that does from itself with parameters that are off by rounding.
    """
    begun = time.perf_counter()
    devices.keep_freed_memory()  # the references are large, and many
    untouched = deepcopy(bench.module.state_dict())
    dirty(bench.device)
    whole = bench.cell.recipe.compile
    seen = (
        _as_a_whole(bench, untouched, say)
        if whole
        else _by_operator(bench, request, Beat(lambda count: say(f"verifying, {count} operators")))
    )
    say("running the same step twice")
    spread, where = _spread(bench, untouched)
    bench.module.load_state_dict(untouched)
    bench.module.zero_grad(set_to_none=True)
    devices.hand_back_memory(bench.device)
    return Numerics(**seen, spread=spread, spread_of=where, seconds=time.perf_counter() - begun)


def _fresh(bench: Bench, untouched: State, *, compiled: bool) -> Step:
    """The cell's first step once more: the same weights, data and random numbers."""
    bench.module.load_state_dict(untouched)
    bench.module.zero_grad(set_to_none=True)
    torch.manual_seed(SEED)
    return bench.step(bench.layout, compiled=compiled, same_batch=True)


def _by_operator(bench: Bench, request: Verify, beat: Callable[[int], None]) -> dict[str, Any]:
    step = bench.step(bench.layout, same_batch=True)
    step.find_scale()
    with Tracker(bench.module) as tracker:
        shadow = Shadow(
            tf32=bench.cell.recipe.precision == "tf32",
            sample=SAMPLE if request.sampled else 0,
            until=time.perf_counter() + request.limit_seconds,
            where=tracker.where,
            beat=beat,
        )
        with shadow:
            step()
    return {
        "operators": shadow.operators,
        "products": shadow.products,
        "imprecise": shadow.imprecise,
        "unchecked": tuple(f"{name}: {why}" for name, why in shadow.unchecked.items())[:MOST_UNCHECKED],
        "closest": shadow.closest,
        "faults": tuple(shadow.faults.values())[:MOST_FAULTS],
        "complete": shadow.complete,
        "script": shadow.script,
    }


def results(bench: Bench, step: Step) -> Iterator[tuple[str, Tensor]]:
    """What a step computes: its loss, and each parameter's gradient; without training, its outputs' loss."""
    step()
    with suppress(NotFiniteError):  # which the check of the operators tells of
        step.loss()
    yield "loss", step.last_loss
    if step.trains:
        for name, parameter in bench.module.named_parameters():
            if parameter.grad is not None:
                yield f"gradient of {name}", parameter.grad.detach().clone()


def _spread(bench: Bench, untouched: State) -> tuple[float, str]:
    """How far the same step is from itself: the largest relative difference of a tensor, and its name; 0 for equal."""
    compiled = bench.cell.recipe.compile
    first = dict(results(bench, _fresh(bench, untouched, compiled=compiled)))
    spread, where = 0.0, ""
    for name, value in results(bench, _fresh(bench, untouched, compiled=compiled)):
        if not torch.equal(torch.nan_to_num(value), torch.nan_to_num(first[name])):  # NaN is like NaN
            difference = error_of(value.cpu(), first[name].cpu().double()).error
            spread, where = max((spread, where), (max(difference, SINGLE / 1000), name))
    return spread, where


def _as_a_whole(bench: Bench, untouched: State, say: Callable[[str], None]) -> dict[str, Any]:
    torch._inductor.config.fallback_random = True  # noqa: SLF001  the same draws as without compiling
    say("verifying the compiled step")
    plain = {name: value.cpu().double() for name, value in results(bench, _fresh(bench, untouched, compiled=False))}
    unit = {"bf16": UNIT_16_BIT[torch.bfloat16], "fp16": UNIT_16_BIT[torch.float16], "tf32": 2.0**-11}
    size = unit.get(bench.cell.recipe.precision, WIGGLE_UNITS * SINGLE)
    own = dict.fromkeys(plain, EXACT)
    for seed in range(WIGGLES):
        step = _fresh(bench, untouched, compiled=False)
        _wiggle(bench, size, seed)
        for name, value in results(bench, step):
            own[name] = max(own[name], error_of(value.cpu(), plain[name]), key=lambda error: error.error)
    say("compiling")
    faults, closest = [], 0.0
    for name, value in results(bench, _fresh(bench, untouched, compiled=True)):
        limit = allowed(own[name].error, value.numel())
        finite = bool(torch.isfinite(value).all()) or not bool(torch.isfinite(plain[name]).all())
        seen = error_of(value.cpu(), plain[name]) if finite else NOT_FINITE
        if seen.error <= limit:
            closest = max(closest, seen.error / limit)
        else:
            kind: FaultKind = "wrong" if finite else "not_finite"
            faults.append(fault_of(kind, Where("compiled", name), "the compiled step", value, seen=seen, limit=limit))
    return {"operators": len(plain), "closest": closest, "faults": tuple(faults)[:MOST_FAULTS], "whole": True}


def _wiggle(bench: Bench, size: float, seed: int) -> None:
    """Move each parameter by a random part of `size` of itself."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in bench.module.parameters():
            noise = torch.rand(parameter.shape, generator=generator).mul_(2).sub_(1).to(parameter.device)
            parameter.add_(parameter * noise, alpha=size)
