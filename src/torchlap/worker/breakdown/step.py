"""Break a step down: run a few more steps after the timed laps, and count what they cost on any device."""

import time
from collections.abc import Callable
from typing import TypeVar

from msgspec import Struct

from torchlap.schema.breakdown import Breakdown, LoaderRate, OperatorCost
from torchlap.schema.requests import Explain
from torchlap.worker import devices
from torchlap.worker.breakdown.attention import AttentionKernels
from torchlap.worker.breakdown.costs import Costs
from torchlap.worker.breakdown.energy import Energy, measure_energy
from torchlap.worker.breakdown.phases import time_phases
from torchlap.worker.cell.bench import Bench
from torchlap.worker.cell.step import Step
from torchlap.worker.errors import first_line

PHASES_SHARE = 0.4
"""Of the available time, at most."""

LOADER_SECONDS, LEAST_BATCHES = 1.0, 2

Result = TypeVar("Result")


class Work(Struct, frozen=True):
    """The operators of a step, and the calls of each kernel of attention."""

    operators: tuple[OperatorCost, ...]
    attention: dict[str, int]


def break_down(bench: Bench, step: Step, request: Explain, report: Callable[[str], None]) -> Breakdown:
    """Analyze a step that is warm, within about the limit; at least three steps are run.

    A part that fails is listed in `left_out`, and the other parts are still returned. The operators of a compiled or
    captured step are those of the step before that.
    """
    begun = time.perf_counter()
    end = begun + request.limit_seconds
    report("timing the phases of a step")
    peak_memory = devices.track_peak_memory(bench.device)
    phases = time_phases(bench, step, int(PHASES_SHARE * request.limit_seconds / request.step_seconds))
    peak_memory_bytes = peak_memory()
    left_out: list[str] = []
    loaders: list[LoaderRate] = []
    _attempt("Timing the loader alone", lambda: _time_loaders(bench, end, report, loaders), left_out)
    report("measuring energy")
    energy = _attempt("Energy", lambda: measure_energy(bench, step, request.step_seconds, end), left_out) or Energy()
    report("counting operators")
    work = _attempt("Counting operators", lambda: _count_work(bench, step), left_out) or Work((), {})
    return Breakdown(
        phases=phases.phases,
        steps=phases.steps,
        by_events=phases.by_events,
        operators=work.operators,
        attention=work.attention,
        peak_memory_bytes=peak_memory_bytes,
        energy=energy.windows,
        meter=energy.meter,
        no_energy=energy.reason,
        loaders=tuple(loaders),
        left_out=tuple(left_out),
        seconds=time.perf_counter() - begun,
    )


def _attempt(what: str, analyze: Callable[[], Result], left_out: list[str]) -> Result | None:
    """Run a part of the analysis; if it fails, add a sentence to `left_out`, because the other parts stay valid."""
    try:
        return analyze()
    except Exception as error:  # noqa: BLE001  drivers, users' loaders and operators fail in many ways
        left_out.append(f"{what} failed ({type(error).__name__}: {first_line(error)}).")
        return None


def _time_loaders(bench: Bench, end: float, report: Callable[[str], None], rates: list[LoaderRate]) -> None:
    """Time the DataLoader with no training, with its workers and, if it is torchlap's own, with twice as many."""
    needed = LOADER_SECONDS
    for workers in bench.loader_workers:
        if time.perf_counter() + needed > end:
            break
        report(f"timing a loader with {workers} workers alone")
        started = time.perf_counter()
        source = bench.loader(workers)
        for _ in range(workers + 1):  # by then all workers have started
            source.fetch()
        begun, batches = time.perf_counter(), 0
        while batches < LEAST_BATCHES or time.perf_counter() - begun < LOADER_SECONDS / 2:
            source.fetch()
            batches += 1
        rates.append(LoaderRate(workers, batches, time.perf_counter() - begun))
        needed = 2 * (time.perf_counter() - started)


def _count_work(bench: Bench, step: Step) -> Work:
    """Of one step; of a compiled or captured one, the operators before that, and compiled kernels of attention."""
    plain = step
    if bench.cell.recipe.compile or bench.cell.recipe.graph:
        plain = bench.step(bench.layout, plain=True)
        plain.find_scale()
        plain()  # an optimizer's first step creates its state
    with Costs("input") as costs, AttentionKernels() as kernels:
        plain.phased(costs.end_phase)
    if bench.cell.recipe.compile and step.captured is None:  # a replay calls no operator
        with AttentionKernels() as kernels:
            step()
    return Work(costs.counted(), kernels.calls)
