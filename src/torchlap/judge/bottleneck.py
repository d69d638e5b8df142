"""What bounds a step: the rule, the figures behind it, and what to try. docs/bottleneck.md explains the rule."""

from collections import Counter
from collections.abc import Iterable, Iterator
from statistics import mean, median
from typing import Literal

from msgspec import Struct
from msgspec.structs import replace

from torchlap.runs.figures import CellResult, watched
from torchlap.schema.breakdown import ATTENTION_KERNELS, Breakdown, LoaderRate, OperatorCost, Peaks
from torchlap.schema.events import Watched
from torchlap.schema.recipe import Precision, Recipe
from torchlap.schema.workload import StepPhase, is_own_file

Kind = Literal["input", "launch", "memory", "compute", "optimizer", "host"]
"""What bounds a step; "host" is none of the others: Python, a wait, or operators that are neither."""

HOST_BOUND = 0.9
"""The device waits for the host if enqueuing takes this share of the step. Below it, the host is ahead."""

STARVED = 0.15
"""A device that waits for its loader for this share of the step would be no faster with less to do."""

CLOSE = 0.8
"""The second bottleneck is named if its share is at least this much of the first's."""

LEAST = 0.3
"""A smaller share bounds nothing: the time goes elsewhere on the host, unless the host is ahead of its device."""

MOST = 0.5
"""What takes this share of the step is the bottleneck, whatever else is unknown."""

WORTH = 1.1
"""A loader or a precision must be this many times faster to be worth trying."""

LARGER_BATCH = 4
LEAST_JOULES = 1e-6
"""A meter that reads less did not count."""

MATRIX_PRECISIONS: tuple[Precision, ...] = ("tf32", "bf16", "fp16")
IMAGE_DIMENSIONS = 4
"""NCHW."""


class Spread(Struct, frozen=True):
    """The median, the minimum and the maximum of some values."""

    value: float
    low: float
    high: float


class Advice(Struct, frozen=True):
    """What to try: the reason, and the flag that tries it (empty if there is none)."""

    reason: str
    flag: str


class Bottleneck(Struct, frozen=True, kw_only=True):
    """What bounds a cell's step.

    Attributes:
        kind: the largest of the shares; None if too little is known.
        second: the next, if it is close.
        shares: fractions of the step's time: waiting for input, launching by the host, the operators' memory traffic
            and arithmetic at the device's measured peaks, and the optimizer.
        by_events: the device timed the phases; otherwise each phase was synchronized.
        host_seconds: the host's time to enqueue a step; None on the CPU.
        starved_seconds: how long the device waits for its batch in a step; None without a loader.
        flops: floating-point operations of a step; `bytes` are those that it moves.
        utilization: the rate of `flops` as a share of the device's peak; `bandwidth_utilization` is that of `bytes`.
        attention: the kernels of scaled dot-product attention in a step, each with its number of calls.
        joules: of a step.
        no_energy: why no energy was measured.
        loader_items_per_second: by the number of workers, with nothing training.
    """

    kind: Kind | None
    second: Kind | None
    shares: dict[Kind, float]
    step_seconds: float
    phases: dict[StepPhase, Spread]
    by_events: bool
    host_seconds: float | None
    starved_seconds: float | None
    operators: int
    flops: int
    bytes: int
    utilization: float | None
    bandwidth_utilization: float | None
    peak_memory_bytes: int | None
    joules: Spread | None
    items_per_joule: Spread | None
    meter: str
    no_energy: str
    loader_items_per_second: dict[int, float]
    advice: tuple[Advice, ...]
    attention: dict[str, int] = {}


def bottleneck(cell: CellResult, peaks: Peaks | None) -> Bottleneck | None:
    """Find what bounds a cell's step; None if the step was not analyzed.

    Args:
        cell: its laps give the time of a step, its breakdown the rest.
        peaks: what its device reaches; None if that was not measured.
    """
    breakdown = cell.breakdown
    if breakdown is None or breakdown.reason or not breakdown.phases:
        return None
    step = _step_seconds(cell, breakdown)
    shares = _shares(cell, breakdown, peaks, step)
    kind, second = _largest(shares)
    flops = sum(operator.calls * operator.flops for operator in breakdown.operators)
    size = sum(operator.calls * operator.bytes for operator in breakdown.operators)
    peak = peaks.flops.get(cell.cell.recipe.precision) if peaks else None
    batch, host = cell.cell.workload.batch, watched(cell)
    if kind and shares[kind] < LEAST and not (host and _is_ahead(host)):
        kind, second = "host", None
    joules = _spread(window.joules / window.steps for window in breakdown.energy)
    counted = [window for window in breakdown.energy if window.joules >= LEAST_JOULES]
    per_joule = _spread(batch * window.steps / window.joules for window in counted)
    return Bottleneck(
        kind=kind,
        second=second,
        shares=shares,
        step_seconds=step,
        phases={phase: spread for phase, seconds in breakdown.phases.items() if (spread := _spread(seconds))},
        by_events=breakdown.by_events,
        host_seconds=host.enqueue_seconds if host else None,
        starved_seconds=_starved(cell, breakdown, step),
        operators=sum(operator.calls for operator in breakdown.operators),
        flops=flops,
        bytes=size,
        utilization=flops / step / peak if peak and breakdown.operators else None,
        bandwidth_utilization=size / step / peaks.copy_bytes if peaks and peaks.copy_bytes else None,
        peak_memory_bytes=breakdown.peak_memory_bytes,
        joules=joules if per_joule else None,
        items_per_joule=per_joule,
        meter=breakdown.meter,
        no_energy=breakdown.no_energy,
        loader_items_per_second={loader.workers: _rate(loader, batch) for loader in breakdown.loaders},
        advice=tuple(_advice(cell, kind, breakdown, peaks)) if kind else (),
        attention=attention(breakdown),
    )


def attention(breakdown: Breakdown | None) -> dict[str, int]:
    """The kernels of scaled dot-product attention in a step, each with its number of calls, the most frequent first.

    Older run files do not have them: there, the operators name the fused ones.
    """
    calls = Counter(breakdown.attention if breakdown else {})
    if breakdown and not calls:
        for operator in breakdown.operators:
            if operator.operator in ATTENTION_KERNELS:
                calls[ATTENTION_KERNELS[operator.operator]] += operator.calls
    return dict(calls.most_common())


def _spread(values: Iterable[float]) -> Spread | None:
    numbers = list(values)
    return Spread(median(numbers), min(numbers), max(numbers)) if numbers else None


def _step_seconds(cell: CellResult, breakdown: Breakdown) -> float:
    """The median of the timed laps, or else of the extra steps."""
    if cell.laps:
        return median(lap.seconds / lap.steps for lap in cell.laps)
    return max(1e-9, sum(map(median, breakdown.phases.values())))


def _shares(cell: CellResult, breakdown: Breakdown, peaks: Peaks | None, step: float) -> dict[Kind, float]:
    phases = _phase_seconds(breakdown)
    total = max(sum(phases.values()), 1e-9)
    shares: dict[Kind, float] = {
        "input": (phases.get("input", 0.0) + phases.get("transfer", 0.0)) / total,
        "optimizer": phases.get("optimizer", 0.0) / total,
    }
    host = watched(cell)
    if cell.cell.device == "cpu":
        if peaks and peaks.operator_seconds and not cell.cell.recipe.compile:
            calls = sum(operator.calls for operator in breakdown.operators)
            shares["launch"] = calls * peaks.operator_seconds / step
    elif host and not _is_ahead(host):
        shares["input"] = host.input_wait_seconds / host.step_seconds
        shares["launch"] = (host.enqueue_seconds - host.input_wait_seconds) / host.step_seconds
    shares["input"] = max(shares["input"], _loader_share(cell, breakdown, step))
    peak = peaks.flops.get(cell.cell.recipe.precision) if peaks else None
    if peak and peaks and peaks.copy_bytes:
        inner = [operator for operator in breakdown.operators if operator.phase in ("forward", "backward")]
        compute, memory = _roofline(inner, peak, peaks.copy_bytes, fused=cell.cell.recipe.compile)
        shares |= {"compute": compute / step, "memory": memory / step}
    return shares


def _phase_seconds(breakdown: Breakdown) -> dict[StepPhase, float]:
    """The median of each phase; for waiting the mean, because a loader's batches come in bursts."""
    return {
        phase: mean(seconds) if phase == "input" else median(seconds) for phase, seconds in breakdown.phases.items()
    }


def _is_ahead(host: Watched) -> bool:
    """Whether the host enqueues faster than the device runs."""
    return host.enqueue_seconds < HOST_BOUND * host.step_seconds


def _starved(cell: CellResult, breakdown: Breakdown, step: float) -> float | None:
    """How long the device waits for its batch in a step; None for a cell without a loader.

    The timed laps include the whole wait, but in the extra steps the loader may still be ahead. On a device whose host
    is ahead, whatever a timed step takes longer than all phases but waiting therefore counts as waiting.
    """
    if not breakdown.loaders and not cell.cell.recipe.workers:
        return None
    phases = _phase_seconds(breakdown)
    wait = phases.pop("input", 0.0)
    host = watched(cell)
    return max(wait, step - sum(phases.values())) if host and _is_ahead(host) else wait


def _loader_share(cell: CellResult, breakdown: Breakdown, step: float) -> float:
    """The share of the step that the loader's workers need if they are the slowest part of the pipeline; otherwise 0.

    They are the slowest part if they take as long for a batch as the step takes, or if the device waits for them: then
    they work all the time.
    """
    loader = _batch_seconds(breakdown.loaders[0]) / step if breakdown.loaders else None
    workers = breakdown.loaders[0].workers if breakdown.loaders else cell.cell.recipe.workers
    if not workers:
        return 0.0
    slowest = loader is not None and loader >= HOST_BOUND
    starved = (_starved(cell, breakdown, step) or 0.0) >= STARVED * step
    return min(1.0, loader or 1.0) if slowest or starved else 0.0


def _roofline(operators: Iterable[OperatorCost], peak: float, bandwidth: float, *, fused: bool) -> tuple[float, float]:
    """Seconds at the peaks: of the operators whose arithmetic takes longer, and of those whose memory traffic does.

    The traffic of pointwise operators is left out of a compiled step: the compiler fuses them into their neighbors.
    """
    compute = memory = 0.0
    for operator in operators:
        arithmetic = operator.calls * operator.flops / peak
        traffic = 0.0 if fused and operator.pointwise else operator.calls * operator.bytes / bandwidth
        if arithmetic >= traffic:
            compute += arithmetic
        else:
            memory += traffic
    return compute, memory


def _largest(shares: dict[Kind, float]) -> tuple[Kind | None, Kind | None]:
    """The largest share, and the next if it is close; without the device's peaks only a share of at least half."""
    first, second = sorted(shares, key=lambda kind: -shares[kind])[:2]
    if "compute" not in shares and shares[first] < MOST:
        return None, None
    return first, second if shares[second] >= CLOSE * shares[first] else None


def _batch_seconds(loader: LoaderRate) -> float:
    return loader.seconds / loader.batches


def _rate(loader: LoaderRate, batch: int) -> float:
    return batch / _batch_seconds(loader)


def _advice(cell: CellResult, kind: Kind, breakdown: Breakdown, peaks: Peaks | None) -> Iterator[Advice]:
    recipe, workload = cell.cell.recipe, cell.cell.workload
    on_cpu = cell.cell.device == "cpu"
    if kind == "input":
        yield from _loader_advice(cell, breakdown)
    elif on_cpu and _half_suffices(cell, breakdown):
        flag = f"--workers {(recipe.workers or 0) // 2}"
        yield Advice("loading takes cores from training, and half of the workers would suffice", flag)
    if kind in ("launch", "optimizer"):
        own = ", if your function accepts a batch" if is_own_file(workload.model) else ""
        flag = f"--batch {LARGER_BATCH * workload.batch}"
        yield Advice(f"a larger batch gives each operator more work{own}", flag)
    if kind == "optimizer" and not recipe.fused:
        yield Advice("a fused optimizer updates all parameters in one kernel", _flag(recipe, fused=True))
    if kind == "launch" and not recipe.graph and cell.cell.device.startswith("cuda"):
        yield Advice("a captured step is launched in one call", _flag(recipe, graph=True))
    if kind in ("launch", "memory") and not recipe.compile:
        reason = (
            "compiling fuses operators, so fewer are launched"
            if kind == "launch"
            else "fused operators need less memory traffic"
        )
        yield Advice(reason, _flag(recipe, compile=True))
    if kind in ("memory", "compute") and recipe.memory_format == "auto" and not on_cpu and _has_images(cell):
        yield Advice("convolutions may be faster in channels_last", _flag(recipe, memory_format="channels_last"))
    if kind == "memory" and recipe.precision in ("fp32", "tf32") and not on_cpu:
        yield Advice("bf16 halves the memory traffic", _flag(recipe, precision="bf16"))
    if kind == "compute" and peaks:
        yield from _precisions(recipe, peaks)


def _flag(recipe: Recipe, **changes: object) -> str:
    return f"--recipe {replace(recipe, workers=None, pinned=False, persistent=False, prefetch=None, **changes)}"


def _half_suffices(cell: CellResult, breakdown: Breakdown) -> bool:
    """Whether half of the workers would still load faster than the step trains."""
    if not (breakdown.loaders and (cell.cell.recipe.workers or 0) > 1):
        return False
    return 2 * _batch_seconds(breakdown.loaders[0]) < HOST_BOUND * _step_seconds(cell, breakdown)


def _has_images(cell: CellResult) -> bool:
    return cell.prepared is not None and len(cell.prepared.input_shape) == IMAGE_DIMENSIONS


def _precisions(recipe: Recipe, peaks: Peaks) -> Iterator[Advice]:
    """The precisions in which the device multiplies faster, by its measured peaks."""
    peak = peaks.flops.get(recipe.precision)
    times = {
        precision: peaks.flops[precision] / peak
        for precision in MATRIX_PRECISIONS
        if peak and precision in peaks.flops and precision != recipe.precision
    }
    for precision in sorted(times, key=lambda precision: -times[precision]):
        if times[precision] > WORTH:
            reason = f"{times[precision]:.1f}x the peak of {recipe.precision} on this device"
            yield Advice(reason, _flag(recipe, precision=precision))


def _loader_advice(cell: CellResult, breakdown: Breakdown) -> Iterator[Advice]:
    """More workers, if they load faster; otherwise no loader."""
    workload = cell.cell.workload
    if len(breakdown.loaders) > 1:
        few, many = breakdown.loaders[:2]
        slow, fast = _rate(few, workload.batch), _rate(many, workload.batch)
        workers = "1 worker" if few.workers == 1 else f"{few.workers} workers"
        reason = f"{slow:.0f} {workload.unit}/s from the loader alone with {workers}, {fast:.0f} with {many.workers}"
        yield Advice(reason, f"--workers {many.workers}" if fast > WORTH * slow else "")
    if cell.cell.recipe.workers is not None:
        yield Advice("the data then stays on the device, without a loader", "--data-through resident")
    elif breakdown.loaders:
        yield Advice("A DataLoader with more num_workers or lighter transforms would load faster", "")
    else:
        yield Advice("The time goes to moving the batch to the device and resizing it there", "")
