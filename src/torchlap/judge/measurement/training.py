"""Findings about the training step: its loss, its input, its launches, its batch size."""

from collections.abc import Iterable, Mapping
from statistics import median

from torchlap.judge.findings import Finding, Rule
from torchlap.runs.figures import CellResult, watched
from torchlap.schema.recipe import Recipe
from torchlap.schema.workload import Phase
from torchlap.stats import MIN_ROUNDS

NOT_FINITE = Rule(
    "TL215",
    "error",
    "loss is not finite",
    "The model no longer computes with finite numbers, and arithmetic on NaN may take a different time.",
    "Find the operator that produces the first NaN with torch.autograd.detect_anomaly; try a smaller learning rate or "
    "another precision.",
)


def not_finite(cell: CellResult) -> Iterable[Finding]:
    """The loss became NaN or infinite: the result is void."""
    if cell.failure is not None and cell.failure.kind == "not_finite":
        yield NOT_FINITE.finding(str(cell.cell), f"after {len(cell.laps)} laps")


DOES_NOT_LEARN = Rule(
    "TL216",
    "warning",
    "loss does not decrease",
    "A model that trains memorizes a fixed batch, and learns digits within a few hundred steps. If the loss does not "
    "decrease, the loss may be wrong (its shapes or targets), the optimizer may not hold the parameters, or the "
    "device's gradients may be wrong; the time may then differ from that of real training.",
    "Check the shapes passed to the loss, and whether every parameter has a gradient.",
)

LEARNING_STEPS = 200
"""By then the loss of any model that learns has changed, on digits and on a fixed batch."""

LEARNING_FALL = 0.97
"""The loss has not decreased if the median of its last third is above this share of the first loss."""


def does_not_learn(cell: CellResult) -> Iterable[Finding]:
    """The loss of a training cell is unchanged after enough steps."""
    build = max(cell.builds, key=lambda build: len(build.laps), default=None)
    if build is None or cell.cell.workload.phase != "train" or len(build.laps) < MIN_ROUNDS:
        return
    steps = build.preparation.warm_up_steps + sum(lap.steps for lap in build.laps)
    first, last = build.preparation.first_loss, median(lap.loss for lap in build.laps[-(len(build.laps) // 3) :])
    if steps >= LEARNING_STEPS and last > LEARNING_FALL * first:
        yield DOES_NOT_LEARN.finding(str(cell.cell), f"{first:.3g} at first, {last:.3g} after {steps} steps")


NO_LOSS = Rule(
    "TL222",
    "warning",
    "loss is zero from the first step",
    "A loss of exactly zero has no gradient to train on. The loss function may ignore its targets, or the outputs may "
    "have a single class; the time may differ from that of real training.",
    "Check the shapes and values passed to the loss.",
)


def no_loss(cell: CellResult) -> Iterable[Finding]:
    """The loss of a training cell is zero from the beginning."""
    if cell.prepared is None or cell.cell.workload.phase != "train" or not cell.laps:
        return
    if cell.prepared.first_loss == 0 and all(lap.loss == 0 for lap in cell.laps):
        yield NO_LOSS.finding(str(cell.cell), f"0 in all {len(cell.laps)} laps")


STARVED = Rule(
    "TL217",
    "warning",
    "step waits for its input",
    "The step waits for the next batch, so the result describes the loader more than the model, and a faster device "
    "would not change it.",
    "Use more workers (--workers, or num_workers of your own DataLoader) or lighter transforms, or keep the data "
    "resident on the device: omit --data-through loader.",
)

WAIT_SHARE = 0.2


def starved(cell: CellResult) -> Iterable[Finding]:
    """A step waits for its batch."""
    laps = cell.prepared.watched if cell.prepared else None
    if laps is not None and laps.input_wait_seconds > WAIT_SHARE * laps.step_seconds:
        wait, step = 1e3 * laps.input_wait_seconds, 1e3 * laps.step_seconds
        yield STARVED.finding(str(cell.cell), f"{wait:.3g} ms of a {step:.3g} ms step")


LAUNCH_BOUND = Rule(
    "TL218",
    "note",
    "launch-bound",
    "The host takes as long to enqueue a step as the device takes to run it: the device waits for the host, and a "
    "faster device would not change the result.",
    "Use a larger --batch, or --recipe compile.",
)

ENQUEUE_SHARE = 0.9


def launch_bound(cell: CellResult) -> Iterable[Finding]:
    """The host takes as long to enqueue a step as the device takes to run it."""
    laps = watched(cell)
    if laps is None:
        return
    enqueue = laps.enqueue_seconds - laps.input_wait_seconds
    if enqueue > ENQUEUE_SHARE * laps.step_seconds:
        evidence = f"{1e3 * enqueue:.3g} ms to enqueue a {1e3 * laps.step_seconds:.3g} ms step"
        yield LAUNCH_BOUND.finding(str(cell.cell), evidence)


IN_PARTS = Rule(
    "TL223",
    "note",
    "compiled in parts",
    "torch.compile gave up in the middle of the model (a graph break): between the parts, everything runs as without "
    "it, so the gain is smaller than it could be.",
    "TORCH_LOGS=graph_breaks names the lines: move printing, .item() and data-dependent branches out of forward.",
)

RECOMPILED = Rule(
    "TL224",
    "warning",
    "recompiled while running",
    "A part of the model was compiled more than once, because a shape or a value in it changed. Each new one takes "
    "seconds, and after eight torch gives up.",
    "TORCH_LOGS=recompiles names the reason: use batches of one size, or mark the dimension with "
    "torch._dynamo.mark_dynamic.",
)


def compiled_in_parts(cell: CellResult) -> Iterable[Finding]:
    """torch.compile left graph breaks, or compiled a part again."""
    found = cell.prepared.compiled if cell.prepared else None
    if found is None:
        return
    if found.breaks:
        breaks = "1 graph break" if found.breaks == 1 else f"{found.breaks} graph breaks"
        yield IN_PARTS.finding(str(cell.cell), f"{breaks}, {found.graphs} compiled parts")
    if found.recompilations:
        times = "once" if found.recompilations == 1 else f"{found.recompilations} times"
        yield RECOMPILED.finding(str(cell.cell), f"recompiled {times} during the warm-up")


Setting = tuple[str, Phase, Recipe, str, str]
"""Everything but the batch: model, phase, recipe, device and arm."""

SMALL_BATCH = Rule(
    "TL219",
    "note",
    "batch too small to fill the device",
    "At this batch size, much of the device is idle: it is much faster at a larger batch.",
    "Compare devices at the larger batch size; this one mostly measures overhead.",
)

FILLED = 2.0
"""At twice the throughput with another batch, half of the device was idle."""


def small_batch(cell: CellResult, fastest: Mapping[Setting, CellResult]) -> Iterable[Finding]:
    """The same cell has a much higher throughput at a larger batch; the CPU is exempt.

    Args:
        cell: of the run.
        fastest: the fastest cell of each setting.
    """
    if cell.throughput is None or cell.cell.device == "cpu":
        return
    best = fastest.get(_setting(cell), cell)
    times, batch = _speed(best) / cell.throughput.value, best.cell.workload.batch
    if times > FILLED and batch > cell.cell.workload.batch:
        evidence = f"batch {batch} reaches {times:.1f}x as many {cell.cell.workload.unit}/s"
        yield SMALL_BATCH.finding(str(cell.cell), evidence)


def fastest_by_setting(cells: Iterable[CellResult]) -> dict[Setting, CellResult]:
    """The cell with the highest throughput among those that differ only in their batch."""
    fastest: dict[Setting, CellResult] = {}
    for cell in cells:
        known = fastest.setdefault(_setting(cell), cell)
        if _speed(cell) > _speed(known):
            fastest[_setting(cell)] = cell
    return fastest


def _speed(cell: CellResult) -> float:
    return cell.throughput.value if cell.throughput else 0.0


def _setting(cell: CellResult) -> Setting:
    return cell.cell.workload.model, cell.cell.workload.phase, cell.cell.recipe, cell.cell.device, cell.cell.arm
