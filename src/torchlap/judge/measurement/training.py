"""Findings about the training step itself: loss, input, launches, batch size."""

from collections.abc import Iterable
from statistics import median

from torchlap.judge.findings import Finding, Rule, found
from torchlap.runs.figures import CellResult, watched
from torchlap.stats import MIN_ROUNDS

NOT_FINITE = Rule(
    "TL215",
    "error",
    "loss is not finite",
    "The model computes no numbers any more, and arithmetic on NaN may take another time than on numbers.",
    "Find where the first NaN comes from: a smaller learning rate, another precision, or "
    "torch.autograd.detect_anomaly.",
)
DOES_NOT_LEARN = Rule(
    "TL216",
    "warning",
    "the loss does not fall",
    "A model that trains learns a fixed batch by heart, and digits within some hundred steps. Where the loss stays, "
    "the loss may be wrong (its shapes, its targets), the optimizer may not hold the parameters, or a device's "
    "gradients may be wrong; the time may then not be that of real training.",
    "Look at the shapes that the loss is given, and whether each parameter has a gradient.",
)
STARVED = Rule(
    "TL217",
    "warning",
    "waits for its input",
    "The step waits for the next batch, so the figure is the loader's more than the model's, and a faster device "
    "would not change it.",
    "More workers (--workers, or num_workers of your own DataLoader), lighter transforms, or data resident on the "
    "device: leave out --data-through loader.",
)
LAUNCH_BOUND = Rule(
    "TL218",
    "note",
    "launch-bound",
    "The host takes as long to enqueue a step as the device to run it: the device waits for the host, and a faster "
    "device would not change the figure.",
    "A larger --batch, or --recipe compile.",
)
SMALL_BATCH = Rule(
    "TL219",
    "note",
    "batch too small to fill the device",
    "The same device does far more images a second at a larger batch: at this one, much of it is idle.",
    "Take the larger batch for a comparison of devices; this one tells of overheads.",
)


LEARNING_STEPS = 200
"""By then the loss of a model that learns at all has moved on digits, and on a fixed batch."""

LEARNING_FALL = 0.97
"""The loss stays when the last third's median is above this part of the first loss."""

WAIT_SHARE = 0.2
ENQUEUE_SHARE = 0.9
FILLED = 2.0
"""Twice the throughput at another batch: half of the device was idle."""


def not_finite(cell: CellResult) -> Iterable[Finding]:
    """The loss became NaN or infinite: the speed is void."""
    if cell.failure is not None and cell.failure.kind == "not_finite":
        yield found(NOT_FINITE, str(cell.cell), f"after {len(cell.laps)} laps")


def does_not_learn(cell: CellResult) -> Iterable[Finding]:
    """The loss of a training cell is where it was after steps enough."""
    if cell.prepared is None or cell.cell.workload.phase != "train" or len(cell.laps) < MIN_ROUNDS:
        return
    steps = cell.prepared.warm_up_steps + sum(lap.steps for lap in cell.laps)
    first, last = cell.prepared.first_loss, median(lap.loss for lap in cell.laps[-(len(cell.laps) // 3) :])
    if steps >= LEARNING_STEPS and last > LEARNING_FALL * first:
        yield found(DOES_NOT_LEARN, str(cell.cell), f"{first:.3g} at first, {last:.3g} after {steps} steps")


def starved(cell: CellResult) -> Iterable[Finding]:
    """A step waits for its batch."""
    seen = cell.prepared.watched if cell.prepared else None
    if seen is not None and seen.input_wait_seconds > WAIT_SHARE * seen.step_seconds:
        evidence = f"{1e3 * seen.input_wait_seconds:.3g} ms of a step of {1e3 * seen.step_seconds:.3g} ms"
        yield found(STARVED, str(cell.cell), evidence)


def launch_bound(cell: CellResult) -> Iterable[Finding]:
    """The host takes as long to enqueue a step as the device to run it."""
    seen = watched(cell)
    if seen is None:
        return
    enqueue = seen.enqueue_seconds - seen.input_wait_seconds
    if enqueue > ENQUEUE_SHARE * seen.step_seconds:
        evidence = f"{1e3 * enqueue:.3g} ms to enqueue a step of {1e3 * seen.step_seconds:.3g} ms"
        yield found(LAUNCH_BOUND, str(cell.cell), evidence)


def small_batch(cell: CellResult, cells: list[CellResult]) -> Iterable[Finding]:
    """The same cell does far more at another batch; the CPU has nothing to fill."""
    if cell.throughput is None or cell.cell.device == "cpu":
        return
    mine = cell.cell.workload
    best = max(
        (other for other in cells if other.throughput and _differs_in_batch(cell, other)), key=_speed, default=cell
    )
    times = _speed(best) / cell.throughput.value
    if times > FILLED and best.cell.workload.batch > mine.batch:
        evidence = f"batch {best.cell.workload.batch} does {times:.1f} times as many images/s"
        yield found(SMALL_BATCH, str(cell.cell), evidence)


def _speed(cell: CellResult) -> float:
    return cell.throughput.value if cell.throughput else 0.0


def _differs_in_batch(one: CellResult, other: CellResult) -> bool:
    """Tell whether two cells are alike in all but the batch."""
    mine, its = one.cell.workload, other.cell.workload
    same = (mine.model, mine.phase, one.cell.recipe, one.cell.device)
    return same == (its.model, its.phase, other.cell.recipe, other.cell.device)
