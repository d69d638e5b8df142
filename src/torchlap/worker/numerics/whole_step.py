"""A step as a whole: compiled or captured against neither, after one update and after five; and the same step again.

Rounding grows through a network, so that a step may differ from itself in another order of its sums by far more than an
operator may. How far is measured: by the same step with parameters that are perturbed by units of rounding.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, suppress
from typing import Any

import torch
from torch import Tensor, nn

from torchlap.schema.numerics import FaultKind, NumericsFault
from torchlap.worker.cell.bench import SEED, Bench
from torchlap.worker.cell.step import Step
from torchlap.worker.errors import NotFiniteError
from torchlap.worker.numerics.deviation import EXACT, NOT_FINITE, UNIT_16_BIT, Deviation, deviation_of
from torchlap.worker.numerics.faults import MOST_FAULTS, Where, fault_of
from torchlap.worker.numerics.tolerance import SINGLE, allowed

PERTURBATIONS = 3
PERTURBATION_UNITS = 32
"""Of float32. A step that adds in another order: as if its parameters were off by this much."""

UNIT = {"bf16": UNIT_16_BIT[torch.bfloat16], "fp16": UNIT_16_BIT[torch.float16], "tf32": 2.0**-11}

ROUNDED = 0.25
"""Of the unit of a 16-bit recipe: what a result may at least be off by itself. A compiler rounds other values between
operators than eager steps do, which perturbed parameters do not show where they are zero, as in many new heads."""

OUT_OF_TIME = "out of time; raise --budget"

State = dict[str, Tensor]
Results = dict[str, Tensor]
"""Of a step: its loss, and each parameter's gradient, by name; after some updates, the change of each parameter."""

UPDATES = 5
"""A captured step is recorded at the third call, and faults of a replay show later still."""


def fresh_step(bench: Bench, untouched: State, *, plain: bool) -> Step:
    """The cell's first step again: with the same weights, data and random numbers."""
    bench.module.load_state_dict(untouched)
    bench.module.zero_grad(set_to_none=True)
    step = bench.step(bench.layout, plain=plain, same_batch=True)
    if bench.cell.recipe.precision == "fp16":
        step.find_scale()
        bench.module.load_state_dict(untouched)
        bench.module.zero_grad(set_to_none=True)
    torch.manual_seed(SEED)
    return step


def results_of(bench: Bench, step: Step, *, ran: bool = False) -> Iterator[tuple[str, Tensor]]:
    """Run a step unless it `ran`: its loss, and in training each parameter's gradient."""
    if not ran:
        step()
    with suppress(NotFiniteError):  # the check of the operators reports it
        step.loss()
    yield "loss", step.last_loss
    if step.trains:
        for name, parameter in bench.module.named_parameters():
            if parameter.grad is not None:
                yield f"gradient of {name}", parameter.grad.detach().clone()


def repeated(
    bench: Bench, untouched: State, first: Results, follow: AbstractContextManager[Any], until: float
) -> tuple[float, str, list[NumericsFault] | None]:
    """Run the step again, while `follow` is entered.

    Returns:
        The largest relative difference from its first run and that tensor's name, 0 if identical; and faults, where a
        difference is larger than another order of the sums explains; None if there is no time to find out.
    """
    spread, spread_of = 0.0, ""
    differing: dict[str, Deviation] = {}
    step = fresh_step(bench, untouched, plain=False)
    begun = time.perf_counter()
    with follow:
        step()
    step_seconds = time.perf_counter() - begun
    for name, value in results_of(bench, step, ran=True):
        if torch.equal(torch.nan_to_num(value), torch.nan_to_num(first[name])):  # NaN equals NaN here
            continue
        differing[name] = deviation_of(value.cpu(), first[name].cpu().double())
        spread, spread_of = max((spread, spread_of), (max(differing[name].error, SINGLE / 1000), name))
    if not any(deviation.error > allowed(0.0, first[name].numel()) for name, deviation in differing.items()):
        return spread, spread_of, []
    if time.perf_counter() + PERTURBATIONS * step_seconds > until:
        return spread, spread_of, None
    plain = {name: first[name].cpu().double() for name in differing}
    own = _own_deviations(bench, untouched, plain)
    faults = []
    for name, deviation in differing.items():
        limit = allowed(own[name].error, first[name].numel())
        if deviation.error > limit:
            where = Where("second run", name)
            faults.append(fault_of("wrong", where, "the same step", first[name], deviation=deviation, limit=limit))
    return spread, spread_of, faults


def eager() -> AbstractContextManager[Any]:
    """While it is entered, nothing that was compiled runs as such."""
    stance: AbstractContextManager[Any] = torch.compiler.set_stance("force_eager")
    return stance


def has_compiled_parts(module: nn.Module) -> bool:
    """Whether the module's author compiled it or a part of it."""
    return any(
        type(part).__name__ == "OptimizedModule"
        or getattr(part, "_compiled_call_impl", None) is not None
        or hasattr(part.forward, "_torchdynamo_orig_callable")
        for part in module.modules()
    )


def check_whole(
    bench: Bench, untouched: State, report: Callable[[str], None], limit_seconds: float, until: float
) -> dict[str, Any]:
    """Fields of `Numerics`, from the step as its recipe says, and the same step neither compiled nor captured.

    Updates after the first are left out if they would take longer than the limit. If the steps that the comparison
    needs would not end before `until`, there is only a reason.
    """
    report("checking the step as a whole")
    with eager():
        step = fresh_step(bench, untouched, plain=True)
        begun, before = time.perf_counter(), _random_state(bench)
        first = host(results_of(bench, step))
        if before is None or not all(map(torch.equal, before, _random_state(bench) or ())):
            # compiled again, for the same draws as eager's
            torch._inductor.config.fallback_random = True  # noqa: SLF001  no public name
        step_seconds = time.perf_counter() - begun
        if time.perf_counter() + step_seconds * (1 + PERTURBATIONS) > until:
            return {"reason": OUT_OF_TIME, "faults": (), "unchecked": ()}
        in_time = step_seconds * (1 + PERTURBATIONS) * UPDATES < limit_seconds
        updates = UPDATES if in_time and step.trains else 1
        step = fresh_step(bench, untouched, plain=True)
        plain = first if updates == 1 else host(results_after(bench, step, updates))
        own = _own_deviations(bench, untouched, plain, updates)
    report("compiling" if bench.cell.recipe.compile else "capturing")
    faults, closest = [], 0.0
    for name, value in results_after(bench, fresh_step(bench, untouched, plain=False), updates):
        limit = allowed(max(own[name].error, _rounding(bench)), value.numel())
        finite = bool(torch.isfinite(value).all()) or not bool(torch.isfinite(plain[name]).all())
        deviation = deviation_of(value.cpu(), plain[name]) if finite else NOT_FINITE
        if deviation.error <= limit:
            closest = max(closest, deviation.error / limit)
            continue
        kind: FaultKind = "wrong" if finite else "not_finite"
        where = Where("compiled" if bench.cell.recipe.compile else "captured", name)
        faults.append(fault_of(kind, where, f"the {where.phase} step", value, deviation=deviation, limit=limit))
    left_out = () if in_time else (f"updates 2 to {UPDATES}: more time (--budget)",)
    return {
        "operators": len(plain),
        "closest": closest,
        "faults": tuple(faults)[:MOST_FAULTS],
        "unchecked": left_out,
        "whole": True,
    }


def _random_state(bench: Bench) -> tuple[Tensor, ...] | None:
    """Of the generators that a step may draw from, before its first; None where a device does not tell."""
    if bench.device.type == "cpu":
        return (torch.get_rng_state(),)
    get = getattr(torch.get_device_module(bench.device), "get_rng_state", None)
    return None if get is None else (torch.get_rng_state(), get())


def _rounding(bench: Bench) -> float:
    """How much a result may at least be off by itself, because a recipe in 16 bits rounds what is between operators."""
    precision = bench.cell.recipe.precision
    return ROUNDED * UNIT[precision] if precision in ("bf16", "fp16") else 0.0


def host(results: Iterator[tuple[str, Tensor]]) -> State:
    """Results in float64, in the host's memory."""
    return {name: value.cpu().double() for name, value in results}


def results_after(bench: Bench, step: Step, updates: int) -> Iterator[tuple[str, Tensor]]:
    """The results of a step, and of more than one the change of each parameter."""
    before = {name: parameter.detach().clone() for name, parameter in bench.module.named_parameters()}
    yield from results_of(bench, step)
    if updates == 1:
        return
    for _ in range(updates - 1):
        step()
    for name, parameter in bench.module.named_parameters():
        if parameter.grad is not None:
            yield f"{updates} updates of {name}", parameter.detach() - before[name]


def _own_deviations(bench: Bench, untouched: State, plain: State, updates: int = 1) -> dict[str, Deviation]:
    """How much results of the step without compilation differ from `plain` with perturbed parameters."""
    size = UNIT.get(bench.cell.recipe.precision, PERTURBATION_UNITS * SINGLE)
    own = dict.fromkeys(plain, EXACT)
    for seed in range(PERTURBATIONS):
        step = fresh_step(bench, untouched, plain=True)
        perturb(bench, size, seed)
        for name, value in results_after(bench, step, updates):
            if name in plain:
                deviation = deviation_of(value.cpu(), plain[name])
                own[name] = max(own[name], deviation, key=lambda each: each.error)
    return own


def perturb(bench: Bench, size: float, seed: int) -> None:
    """Change each parameter by a random fraction of itself, at most `size`."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in bench.module.parameters():
            noise = torch.rand(parameter.shape, generator=generator).mul_(2).sub_(1).to(parameter.device)
            parameter.add_(parameter * noise, alpha=size)
