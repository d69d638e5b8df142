"""Check one step of a cell: operator by operator against float64, or as a whole if compiled; then run it again."""

import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from copy import deepcopy
from typing import Any

import torch

from torchlap.schema.numerics import Numerics, NumericsFault
from torchlap.schema.requests import Verify
from torchlap.worker import devices
from torchlap.worker.cell.bench import Bench
from torchlap.worker.cell.step import Step
from torchlap.worker.cell.timing import Beat
from torchlap.worker.numerics.call_check import SAMPLE
from torchlap.worker.numerics.deviation import Deviation
from torchlap.worker.numerics.faults import MOST_FAULTS, Where, fault_of
from torchlap.worker.numerics.functions import Functions
from torchlap.worker.numerics.inputs import dirty
from torchlap.worker.numerics.shadow import Shadow
from torchlap.worker.numerics.tracker import Tracker
from torchlap.worker.numerics.transfers import check_transfers
from torchlap.worker.numerics.whole_step import (
    Results,
    State,
    check_whole,
    eager,
    fresh_step,
    has_compiled_parts,
    repeated,
    results_of,
)

MOST_UNCHECKED = 20
STEPS_OF_A_REPEAT = 2
"""Plain steps that a second run takes at most: the step itself, and the comparison with the first."""

SECOND_RUN = "the second run of the step: more time (--budget)"


def verify(bench: Bench, request: Verify, report: Callable[[str], None]) -> Numerics:
    """Check one step of a cell; afterwards its model is as it was before.

    A compiled or captured step has no operators that could be checked one by one. It is compared as a whole with the
    same step without that, and may differ from it as much as that step does from itself with perturbed parameters.
    """
    begun = time.perf_counter()
    until = begun + request.limit_seconds
    devices.keep_freed_memory()  # the references are large, and many
    untouched = deepcopy(bench.module.state_dict())
    dirty(bench.device)
    recipe = bench.cell.recipe
    check = _whole if recipe.compile or recipe.graph else _operators
    fields, spread, spread_of = check(bench, untouched, request, until, report)
    bench.module.load_state_dict(untouched)
    bench.module.zero_grad(set_to_none=True)
    devices.release_cached_memory(bench.device)
    fields["faults"] = tuple(fields["faults"])[:MOST_FAULTS]
    return Numerics(**fields, spread=spread, spread_of=spread_of, seconds=time.perf_counter() - begun)


def _whole(
    bench: Bench, untouched: State, request: Verify, until: float, report: Callable[[str], None]
) -> tuple[dict[str, Any], float, str]:
    """Fields of `Numerics` for a compiled or captured step, how much it differs from itself, and where."""
    fields = check_whole(bench, untouched, report, request.limit_seconds, until)
    if fields.get("reason") or time.perf_counter() > until:
        return _not_repeated(fields), 0.0, ""
    begun = time.perf_counter()
    first = dict(results_of(bench, fresh_step(bench, untouched, plain=False)))
    if 2 * time.perf_counter() - begun > until:
        return _not_repeated(fields), 0.0, ""
    report("running the same step twice")
    spread, spread_of, faults = repeated(bench, untouched, first, nullcontext(), until)
    fields["faults"] += tuple(faults or ())
    return fields if faults is not None else _not_repeated(fields), spread, spread_of


def _not_repeated(fields: dict[str, Any]) -> dict[str, Any]:
    """The fields of a check that had no time for a second run of the step."""
    unchecked = (*fields["unchecked"][: MOST_UNCHECKED - 1], SECOND_RUN)
    return fields | {"unchecked": unchecked, "repeated": False}


def _operators(
    bench: Bench, untouched: State, request: Verify, until: float, report: Callable[[str], None]
) -> tuple[dict[str, Any], float, str]:
    """Fields of `Numerics` for a step whose operators are each checked, how much it differs from itself, and where."""
    beat = Beat(lambda count: report(f"checking results, {count} operators"))
    tracker = Tracker(bench.module)
    shadow = Shadow(
        tf32=bench.cell.recipe.precision == "tf32",
        sample=SAMPLE if request.sampled else 0,
        seed=request.seed,
        until=until,
        where=tracker.where,
        beat=beat,
    )
    step = fresh_step(bench, untouched, plain=True)
    functions = Functions(tracker.where)
    begun = time.perf_counter()
    with eager(), tracker, functions, shadow:
        step()
    step_seconds = time.perf_counter() - begun - shadow.seconds
    without_update = _without_update(bench, step, untouched)
    first = dict(results_of(bench, step, ran=True))
    by_hand = tuple(functions.faults(until))
    repeats = time.perf_counter() + STEPS_OF_A_REPEAT * step_seconds <= until
    spread, spread_of = 0.0, ""
    differing: list[NumericsFault] | None = None
    if repeats:
        _later(step, shadow, tracker)
        spread, spread_of, differing = _second_run(bench, untouched, first, shadow, tracker, until=until, report=report)
    unchecked = shadow.unchecked | functions.unchecked
    fields = {
        "operators": shadow.operators,
        "products": shadow.products,
        "imprecise": shadow.imprecise,
        "imprecise_share": shadow.imprecise_share,
        "unchecked": tuple(f"{name}: {why}" for name, why in unchecked.items())[:MOST_UNCHECKED],
        "closest": shadow.closest,
        "faults": (*check_transfers(bench), *shadow.faults.values(), *by_hand, *without_update, *(differing or ())),
        "complete": shadow.complete,
        "script": shadow.script,
        "seed": request.seed,
        "sampled": request.sampled,
    }
    return fields if differing is not None else _not_repeated(fields), spread, spread_of


def _second_run(
    bench: Bench,
    untouched: State,
    first: Results,
    shadow: Shadow,
    tracker: Tracker,
    *,
    until: float,
    report: Callable[[str], None],
) -> tuple[float, str, list[NumericsFault] | None]:
    """Run the step again: how much it differs from the first run, where most, and faults; None if time ran out."""
    follow: AbstractContextManager[Any] = shadow.again()
    in_parts: tuple[NumericsFault, ...] = ()
    if has_compiled_parts(bench.module):  # its operators were checked without compilation
        compared = check_whole(bench, untouched, report, 0.0, until)
        if compared.get("reason"):
            shadow.unchecked["the compiled parts"] = "more time (--budget)"
            return 0.0, "", None
        in_parts = compared["faults"]
        first, follow = dict(results_of(bench, fresh_step(bench, untouched, plain=True))), nullcontext()
    report("running the same step twice")
    with tracker:
        spread, spread_of, differing = repeated(bench, untouched, first, follow, until)
    return spread, spread_of, None if differing is None and not in_parts else [*in_parts, *(differing or ())]


def _later(step: Step, shadow: Shadow, tracker: Tracker) -> None:
    """Check a second update, whose moments are no longer 0, and what else the first step does not show."""
    with tracker, shadow:
        shadow.after_the_step()
        if step.trains:
            step.update()


def _without_update(bench: Bench, step: Step, untouched: State) -> list[NumericsFault]:
    """A fault if a training step has gradients but changes no parameter, as a scaler does that skips every update."""
    trained = [(name, parameter) for name, parameter in bench.module.named_parameters() if parameter.grad is not None]
    if not step.trains or not trained or any(not torch.equal(value, untouched[name]) for name, value in trained):
        return []
    if not any(bool(parameter.grad.any()) for _, parameter in trained if parameter.grad is not None):
        return []
    where, evidence = Where("optimizer", ""), ("no parameter changed",)
    deviation = Deviation(1.0, 1.0)
    return [fault_of("wrong", where, "the update", trained[0][1], deviation=deviation, limit=0.0, inputs=evidence)]
