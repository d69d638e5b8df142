"""Check one step of a cell: operator by operator against float64, or as a whole if compiled; then run it twice."""

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
from torchlap.worker.cell.bench import SEED, Bench
from torchlap.worker.cell.step import Step
from torchlap.worker.cell.timing import Beat
from torchlap.worker.errors import NotFiniteError
from torchlap.worker.numerics.deviation import EXACT, NOT_FINITE, UNIT_16_BIT, Deviation, deviation_of
from torchlap.worker.numerics.faults import MOST_FAULTS, Where, fault_of
from torchlap.worker.numerics.inputs import dirty
from torchlap.worker.numerics.shadow import SAMPLE, Shadow
from torchlap.worker.numerics.tolerance import SINGLE, allowed
from torchlap.worker.numerics.tracker import Tracker

MOST_UNCHECKED = 20
PERTURBATIONS = 3
PERTURBATION_UNITS = 32
"""Of float32. A compiled step adds in another order: as if its parameters were off by this much."""

UNIT = {"bf16": UNIT_16_BIT[torch.bfloat16], "fp16": UNIT_16_BIT[torch.float16], "tf32": 2.0**-11}

State = dict[str, Tensor]


def verify(bench: Bench, request: Verify, report: Callable[[str], None]) -> Numerics:
    """Check one step of a cell; afterwards its model is as it was before.

    A compiled step has no operators that could be checked one by one. It is compared as a whole with the same step
    without compilation, and may differ from it as much as that step does from itself with perturbed parameters.
    """
    begun = time.perf_counter()
    devices.keep_freed_memory()  # the references are large, and many
    untouched = deepcopy(bench.module.state_dict())
    dirty(bench.device)
    if bench.cell.recipe.compile:
        checked = _check_compiled(bench, untouched, report)
    else:
        checked = _check_operators(bench, request, Beat(lambda count: report(f"checking results, {count} operators")))
    report("running the same step twice")
    spread, spread_of = _spread(bench, untouched)
    bench.module.load_state_dict(untouched)
    bench.module.zero_grad(set_to_none=True)
    devices.release_cached_memory(bench.device)
    return Numerics(**checked, spread=spread, spread_of=spread_of, seconds=time.perf_counter() - begun)


def _fresh_step(bench: Bench, untouched: State, *, compiled: bool) -> Step:
    """The cell's first step again: with the same weights, data and random numbers."""
    bench.module.load_state_dict(untouched)
    bench.module.zero_grad(set_to_none=True)
    torch.manual_seed(SEED)
    return bench.step(bench.layout, compiled=compiled, same_batch=True)


def _check_operators(bench: Bench, request: Verify, beat: Callable[[int], None]) -> dict[str, Any]:
    """Fields of `Numerics`, from a step whose operators are each checked."""
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


def _results(bench: Bench, step: Step) -> Iterator[tuple[str, Tensor]]:
    """Run a step: its loss, and in training each parameter's gradient."""
    step()
    with suppress(NotFiniteError):  # the check of the operators reports it
        step.loss()
    yield "loss", step.last_loss
    if step.trains:
        for name, parameter in bench.module.named_parameters():
            if parameter.grad is not None:
                yield f"gradient of {name}", parameter.grad.detach().clone()


def _spread(bench: Bench, untouched: State) -> tuple[float, str]:
    """The largest relative difference between two runs of the same step, and the tensor's name; 0 if identical."""
    compiled = bench.cell.recipe.compile
    first = dict(_results(bench, _fresh_step(bench, untouched, compiled=compiled)))
    spread, spread_of = 0.0, ""
    for name, value in _results(bench, _fresh_step(bench, untouched, compiled=compiled)):
        if not torch.equal(torch.nan_to_num(value), torch.nan_to_num(first[name])):  # NaN equals NaN here
            difference = deviation_of(value.cpu(), first[name].cpu().double()).error
            spread, spread_of = max((spread, spread_of), (max(difference, SINGLE / 1000), name))
    return spread, spread_of


def _check_compiled(bench: Bench, untouched: State, report: Callable[[str], None]) -> dict[str, Any]:
    """Fields of `Numerics`, from the compiled step and the same step without compilation."""
    torch._inductor.config.fallback_random = True  # noqa: SLF001  no public name; the same draws as without compilation
    report("checking the compiled step")
    plain = {
        name: value.cpu().double() for name, value in _results(bench, _fresh_step(bench, untouched, compiled=False))
    }
    own = _own_deviations(bench, untouched, plain)
    report("compiling")
    faults, closest = [], 0.0
    for name, value in _results(bench, _fresh_step(bench, untouched, compiled=True)):
        limit = allowed(own[name].error, value.numel())
        finite = bool(torch.isfinite(value).all()) or not bool(torch.isfinite(plain[name]).all())
        deviation = deviation_of(value.cpu(), plain[name]) if finite else NOT_FINITE
        if deviation.error <= limit:
            closest = max(closest, deviation.error / limit)
            continue
        kind: FaultKind = "wrong" if finite else "not_finite"
        where = Where("compiled", name)
        faults.append(fault_of(kind, where, "the compiled step", value, deviation=deviation, limit=limit))
    return {"operators": len(plain), "closest": closest, "faults": tuple(faults)[:MOST_FAULTS], "whole": True}


def _own_deviations(bench: Bench, untouched: State, plain: State) -> dict[str, Deviation]:
    """How much the step without compilation differs from itself with perturbed parameters."""
    size = UNIT.get(bench.cell.recipe.precision, PERTURBATION_UNITS * SINGLE)
    own = dict.fromkeys(plain, EXACT)
    for seed in range(PERTURBATIONS):
        step = _fresh_step(bench, untouched, compiled=False)
        _perturb(bench, size, seed)
        for name, value in _results(bench, step):
            own[name] = max(own[name], deviation_of(value.cpu(), plain[name]), key=lambda deviation: deviation.error)
    return own


def _perturb(bench: Bench, size: float, seed: int) -> None:
    """Change each parameter by a random fraction of itself, at most `size`."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in bench.module.parameters():
            noise = torch.rand(parameter.shape, generator=generator).mul_(2).sub_(1).to(parameter.device)
            parameter.add_(parameter * noise, alpha=size)
