"""What bounds a step, by which figures, and what to try: docs/bottleneck.md has the rule."""

from collections.abc import Iterable, Iterator
from statistics import mean, median
from typing import Literal

from msgspec import Struct
from msgspec.structs import replace

from torchlap.runs.figures import CellResult, watched
from torchlap.schema.breakdown import Breakdown, LoaderRate, OperatorCost, Peaks
from torchlap.schema.events import Watched
from torchlap.schema.recipe import Precision, Recipe
from torchlap.schema.workload import StepPhase, is_own_file

Word = Literal["input", "launch", "memory", "compute", "optimizer"]
HOST_BOUND = 0.9
"""The device waits for the host where enqueuing takes this part of the step. Below it the host is ahead."""

STARVED = 0.15
"""A device that waits for its loader for this part of the step would be no faster with less to do."""

CLOSE = 0.8
"""A second word is told where its share is this part of the first's."""

MOST = 0.5
"""What takes so much of the step bounds it, whatever else there is."""

WORTH = 1.1
"""Loaders and precisions that are not so much faster are not worth trying."""

LARGER_BATCH = 4
LEAST_JOULES = 1e-6
"""A meter that counted less did not count."""

OF_MATRICES: tuple[Precision, ...] = ("tf32", "bf16", "fp16")


class Spread(Struct, frozen=True):
    """The median of what was seen, the least and the most."""

    value: float
    low: float
    high: float


class Advice(Struct, frozen=True):
    """What to try: why, and the flag that tries it (empty where there is none)."""

    why: str
    flag: str


class Bottleneck(Struct, frozen=True, kw_only=True):
    """What bounds a cell's step.

    `shares` are parts of the step's time: what waiting for input took, what the host's launching took, what the
    operators' memory traffic and arithmetic would take at the device's reached peaks, what the optimizer took. The
    largest is the word, `second` the next where it is close; both None where too little is known. `flops` and `bytes`
    are of a step, `utilisation` and `traffic` their rates over what the device reaches. `host_seconds` is what the host
    takes to enqueue a step, None on the CPU; `starved_seconds` what the device waits for its batch, None without a
    loader. `joules` are of a step.
    """

    word: Word | None
    second: Word | None
    shares: dict[Word, float]
    step_seconds: float
    phases: dict[StepPhase, Spread]
    by_events: bool
    host_seconds: float | None
    starved_seconds: float | None
    operators: int
    flops: int
    bytes: int
    utilisation: float | None
    traffic: float | None
    peak_memory_bytes: int | None
    joules: Spread | None
    items_per_joule: Spread | None
    meter: str
    no_energy: str
    loader_items_per_second: dict[int, float]
    advice: tuple[Advice, ...]


def bottleneck(cell: CellResult, peaks: Peaks | None) -> Bottleneck | None:
    """Explain a cell; None where nothing was looked at.

    Args:
        cell: its laps give the step's time, its extra steps the rest.
        peaks: what its device reaches; None where that was not measured.
    """
    seen = cell.breakdown
    if seen is None or seen.reason or not seen.phases:
        return None
    step = _step_seconds(cell, seen)
    shares = _shares(cell, seen, peaks, step)
    word, second = _words(shares)
    flops, size = (sum(each.calls * getattr(each, name) for each in seen.operators) for name in ("flops", "bytes"))
    peak = peaks.flops.get(cell.cell.recipe.precision) if peaks else None
    batch = cell.cell.workload.batch
    joules = _spread([window.joules / window.steps for window in seen.energy])
    counted = [window for window in seen.energy if window.joules >= LEAST_JOULES]
    per_joule = _spread([batch * window.steps / window.joules for window in counted])
    host = watched(cell)
    return Bottleneck(
        word=word,
        second=second,
        shares=shares,
        step_seconds=step,
        phases={phase: spread for phase, seconds in seen.phases.items() if (spread := _spread(seconds))},
        by_events=seen.by_events,
        host_seconds=host.enqueue_seconds if host else None,
        starved_seconds=_starved(cell, seen, step),
        operators=sum(each.calls for each in seen.operators),
        flops=flops,
        bytes=size,
        utilisation=flops / step / peak if peak else None,
        traffic=size / step / peaks.copy_bytes if peaks and peaks.copy_bytes else None,
        peak_memory_bytes=seen.peak_memory_bytes,
        joules=joules if per_joule else None,
        items_per_joule=per_joule,
        meter=seen.meter,
        no_energy=seen.no_energy,
        loader_items_per_second={each.workers: _rate(each, batch) for each in seen.loaders},
        advice=tuple(_advice(cell, word, seen, peaks)) if word else (),
    )


def _spread(values: Iterable[float]) -> Spread | None:
    seen = list(values)
    return Spread(median(seen), min(seen), max(seen)) if seen else None


def _step_seconds(cell: CellResult, seen: Breakdown) -> float:
    """The median of the timed laps, or else of the extra steps."""
    if cell.laps:
        return median(lap.seconds / lap.steps for lap in cell.laps)
    return max(1e-9, sum(map(median, seen.phases.values())))


def _shares(cell: CellResult, seen: Breakdown, peaks: Peaks | None, step: float) -> dict[Word, float]:
    usual = _usual(seen)
    total = max(sum(usual.values()), 1e-9)
    shares: dict[Word, float] = {
        "input": (usual.get("input", 0.0) + usual.get("transfer", 0.0)) / total,
        "optimizer": usual.get("optimizer", 0.0) / total,
    }
    host = watched(cell)
    if cell.cell.device == "cpu":
        if peaks and peaks.operator_seconds and not cell.cell.recipe.compile:
            shares["launch"] = sum(each.calls for each in seen.operators) * peaks.operator_seconds / step
    elif host and not _is_ahead(host):
        shares["input"] = host.input_wait_seconds / host.step_seconds
        shares["launch"] = (host.enqueue_seconds - host.input_wait_seconds) / host.step_seconds
    shares["input"] = max(shares["input"], _of_the_loader(cell, seen, step))
    peak = peaks.flops.get(cell.cell.recipe.precision) if peaks else None
    if peak and peaks and peaks.copy_bytes:
        inner = [each for each in seen.operators if each.phase in ("forward", "backward")]
        compute, memory = _roofline(inner, peak, peaks.copy_bytes, fused=cell.cell.recipe.compile)
        shares |= {"compute": compute / step, "memory": memory / step}
    return shares


def _usual(seen: Breakdown) -> dict[StepPhase, float]:
    """Seconds of each phase: the median, but of waiting the mean, for a loader's batches come in bursts."""
    return {phase: (mean if phase == "input" else median)(seconds) for phase, seconds in seen.phases.items()}


def _is_ahead(host: Watched) -> bool:
    """Tell whether the host enqueues faster than the device runs."""
    return host.enqueue_seconds < HOST_BOUND * host.step_seconds


def _starved(cell: CellResult, seen: Breakdown, step: float) -> float | None:
    """How long the device waits for its batch, of a step; None for a cell without a loader.

    The timed laps wait as long as it takes; in the extra steps the loader may still be ahead. So what they took longer
    than all phases but waiting counts as waiting, on a device whose host is ahead.
    """
    if not seen.loaders and not cell.cell.recipe.workers:
        return None
    usual = _usual(seen)
    waited = usual.pop("input", 0.0)
    host = watched(cell)
    return max(waited, step - sum(usual.values())) if host and _is_ahead(host) else waited


def _of_the_loader(cell: CellResult, seen: Breakdown, step: float) -> float:
    """The part of the step that a loader's workers need, where they are the slowest of the pipeline; otherwise 0.

    They are where they take as long for a batch as the step, or where the device waits for them: then they work all the
    time.
    """
    loader = _batch_seconds(seen.loaders[0]) / step if seen.loaders else None
    workers = seen.loaders[0].workers if seen.loaders else cell.cell.recipe.workers
    if not workers:
        return 0.0
    slowest = loader is not None and loader >= HOST_BOUND
    starved = (_starved(cell, seen, step) or 0.0) >= STARVED * step
    return min(1.0, loader or 1.0) if slowest or starved else 0.0


def _roofline(operators: Iterable[OperatorCost], peak: float, bandwidth: float, *, fused: bool) -> tuple[float, float]:
    """Seconds at the peaks: of the operators whose arithmetic takes longer, and of those whose traffic does.

    Of a compiled step the pointwise operators' traffic is left out: the compiler fuses them into their neighbours.
    """
    compute = memory = 0.0
    for each in operators:
        arithmetic = each.calls * each.flops / peak
        traffic = 0.0 if fused and each.pointwise else each.calls * each.bytes / bandwidth
        if arithmetic >= traffic:
            compute += arithmetic
        else:
            memory += traffic
    return compute, memory


def _words(shares: dict[Word, float]) -> tuple[Word | None, Word | None]:
    """The largest share; and the next, where it is close. Without the device's peaks only what takes most is told."""
    first, second = sorted(shares, key=lambda word: -shares[word])[:2]
    if "compute" not in shares and shares[first] < MOST:
        return None, None
    return first, second if shares[second] >= CLOSE * shares[first] else None


def _batch_seconds(seen: LoaderRate) -> float:
    return seen.seconds / seen.batches


def _rate(seen: LoaderRate, batch: int) -> float:
    return batch / _batch_seconds(seen)


def _recipe(recipe: Recipe, **changes: object) -> str:
    return f"--recipe {replace(recipe, workers=None, **changes)}"


def _advice(cell: CellResult, word: Word, seen: Breakdown, peaks: Peaks | None) -> Iterator[Advice]:
    recipe, workload = cell.cell.recipe, cell.cell.workload
    on_cpu = cell.cell.device == "cpu"
    if word == "input":
        yield from _loader_advice(cell, seen)
    elif on_cpu and _half_would_do(cell, seen):
        yield Advice("loading takes cores from training, and half would do", f"--workers {(recipe.workers or 0) // 2}")
    if word in ("launch", "optimizer"):
        own = ", where your function takes a batch" * is_own_file(workload.model)
        more = f"--batch {LARGER_BATCH * workload.batch}"
        yield Advice(f"a larger batch has more to do for each operator{own}", more)
    if word == "optimizer" and not recipe.fused:
        yield Advice("one kernel for all parameters", _recipe(recipe, fused=True))
    if word in ("launch", "memory") and not recipe.compile:
        why_compile = "fewer, fused operators" if word == "launch" else "fused operators spare the memory"
        yield Advice(why_compile, _recipe(recipe, compile=True))
    if word in ("memory", "compute") and recipe.memory_format == "auto" and not on_cpu and _of_images(cell):
        yield Advice("convolutions may prefer it", _recipe(recipe, memory_format="channels_last"))
    if word == "memory" and recipe.precision in ("fp32", "tf32") and not on_cpu:
        yield Advice("half the bytes", _recipe(recipe, precision="bf16"))
    if word == "compute" and peaks:
        yield from _precisions(recipe, peaks)


def _half_would_do(cell: CellResult, seen: Breakdown) -> bool:
    """Tell whether half of the workers would still load faster than the step trains."""
    if not (seen.loaders and (cell.cell.recipe.workers or 0) > 1):
        return False
    return 2 * _batch_seconds(seen.loaders[0]) < HOST_BOUND * _step_seconds(cell, seen)


def _of_images(cell: CellResult) -> bool:
    return cell.prepared is not None and len(cell.prepared.input_shape) == 4  # noqa: PLR2004  NCHW


def _precisions(recipe: Recipe, peaks: Peaks) -> Iterator[Advice]:
    """Those in which the device was seen to multiply faster."""
    mine = peaks.flops.get(recipe.precision)
    times = {each: peaks.flops[each] / mine for each in OF_MATRICES if mine and each in peaks.flops}
    for precision in sorted(times, key=lambda each: -times[each]):
        if precision != recipe.precision and times[precision] > WORTH:
            said = f"{times[precision]:.1f} times the peak of {recipe.precision} here"
            yield Advice(said, _recipe(recipe, precision=precision))


def _loader_advice(cell: CellResult, seen: Breakdown) -> Iterator[Advice]:
    """More workers, where they were seen to load faster; otherwise without a loader."""
    batch = cell.cell.workload.batch
    if len(seen.loaders) > 1:
        few, many = seen.loaders[:2]
        slow, fast = _rate(few, batch), _rate(many, batch)
        helps = fast > WORTH * slow
        said = f"alone {few.workers} load {slow:.0f} images/s, {many.workers} load {fast:.0f}"
        yield Advice(said, f"--workers {many.workers}" if helps else "")
    if cell.cell.recipe.workers is not None:
        yield Advice("without a loader", "--data-through resident")
    elif seen.loaders:
        yield Advice("More num_workers in your DataLoader, or lighter transforms, would make it faster", "")
    else:
        yield Advice("Bringing the batch onto the device, and resizing it there, takes the time", "")
