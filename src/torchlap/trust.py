"""Laps and facts in, findings about the measurement out: pure functions, in the order of the catalogue."""

from collections.abc import Callable, Iterable
from math import log
from statistics import median

from torchlap import checks
from torchlap import findings as catalogue
from torchlap.doctor.devices import alone
from torchlap.findings import Finding, found
from torchlap.records import Conditions, Run
from torchlap.results import CellResult, ComparisonResult, figures, images_per_second, watched
from torchlap.stats import MIN_ROUNDS, autocorrelation, trend, two_levels

TREND_CHANCE = 0.002
"""A trend that so few of the series without one show is told; with two dozen cells a run, one run in twenty."""

TREND_LAPS = 8
"""Fewer show no trend that is beyond chance."""

RATIO_CHANGE = 0.02
"""A drift of the speed-up by less is within what is asked of the intervals."""

SPEED_CHANGE = 0.05
"""The speed of one device drifts by so much on any machine that warms up."""

LEVELS_CHANGE = 0.05
"""Two speeds nearer than this are a clock's steps."""

DEPENDENT_LAPS, DEPENDENT_AT = 12, 0.5
OTHERS_CPU_SHARE = 0.1
BUSY_SHARE = 0.1
SWAP_BYTES = 64 << 20
LEARNING_STEPS = 200
"""By then the loss of a model that learns at all has moved on digits, and on a fixed batch."""

LEARNING_FALL = 0.97
"""The loss stays when the last third's median is above this part of the first loss."""

WAIT_SHARE = 0.2
ENQUEUE_SHARE = 0.9
FILLED = 2.0
"""Twice the throughput at another batch: half of the device was idle."""

CellRule = Callable[[CellResult], Iterable[Finding]]


def judge(run: Run) -> tuple[Finding, ...]:
    """What should be known before the figures of a run are believed, in the catalogue's order."""
    comparisons = figures(run)
    cells = [cell for comparison in comparisons for cell in comparison.cells]
    target = run.header.plan.precision_target
    of_cells: list[CellRule] = [
        numbers,
        few_rounds,
        lambda cell: wide(cell, target),
        cold,
        drifts,
        two_speeds,
        dependent,
        ratio_drifts,
        lambda cell: held_back(cell, run),
        fell_back,
        not_finite,
        does_not_learn,
        starved,
        launch_bound,
        lambda cell: small_batch(cell, cells),
    ]
    told = [*alone(run.header.facts), *(finding for rule in of_cells for cell in cells for finding in rule(cell))]
    told += [finding for comparison in comparisons for finding in disturbed(comparison)]
    return tuple(sorted(told, key=lambda finding: finding.code))


def void(all_findings: Iterable[Finding]) -> dict[str, str]:
    """The cells whose figures mean nothing, by the name that findings give them, with the code that says why."""
    return {finding.where: finding.code for finding in all_findings if finding.severity == "error" and finding.where}


def voided(cell: CellResult) -> str:
    """The code of the finding by which a cell's figure means nothing, as `void` has it, without judging all else."""
    return void([*numbers(cell), *not_finite(cell)]).get(str(cell.cell), "")


def numbers(cell: CellResult) -> Iterable[Finding]:
    """Whether an accelerator's numbers are right; the CPU's own are the reference."""
    if cell.cell.device != "cpu" and (cell.throughput is not None or cell.numbers is not None):
        yield from checks.findings(cell.numbers, str(cell.cell))


def few_rounds(cell: CellResult) -> Iterable[Finding]:
    """A figure from so few laps that its interval is wide whatever the machine does."""
    if cell.throughput is not None and len(cell.laps) < MIN_ROUNDS:
        yield found(catalogue.FEW_ROUNDS, str(cell.cell), f"n = {len(cell.laps)}")


def wide(cell: CellResult, target: float) -> Iterable[Finding]:
    """An interval that stayed wider than was asked for, although there were rounds enough."""
    intervals = [figure for figure in (cell.throughput, cell.speed_up) if figure is not None]
    widest = max((figure.half_width for figure in intervals), default=0.0)
    if len(cell.laps) >= MIN_ROUNDS and widest > target:
        evidence = f"half-width {widest:.1%}, asked for {target:.1%}, {len(cell.laps)} laps"
        yield found(catalogue.WIDE, str(cell.cell), evidence)


def cold(cell: CellResult) -> Iterable[Finding]:
    """The budget ended the warm-up before the laps were level."""
    if cell.prepared is not None and not cell.prepared.steady and cell.throughput is not None:
        steps, seconds = cell.prepared.warm_up_steps, cell.prepared.warm_up_seconds
        yield found(catalogue.COLD, str(cell.cell), f"{steps} step{'s' * (steps != 1)} in {seconds:.1f} s")


def _speeds(cell: CellResult) -> list[float]:
    """Images a second of each lap."""
    return [images_per_second(lap, cell.cell.workload.batch) for lap in cell.laps]


def _drift(series: list[float], least: float) -> str:
    """In words, how a series moved from its first to its last value; empty when that is little, or may be chance."""
    if len(series) < TREND_LAPS:
        return ""
    seen = trend(series)
    if seen.p >= TREND_CHANCE or abs(log(seen.change)) < least:
        return ""
    return f"{seen.change:.2f} times as fast at the end as at the start, over {len(series)} laps"


def drifts(cell: CellResult) -> Iterable[Finding]:
    """The laps of a cell get longer or shorter over the run."""
    said = _drift(_speeds(cell), SPEED_CHANGE)
    if said:
        yield found(catalogue.DRIFT, str(cell.cell), said)


def two_speeds(cell: CellResult) -> Iterable[Finding]:
    """The laps fall into two groups."""
    levels = two_levels(_speeds(cell))
    if levels is not None and log(levels.high / levels.low) >= LEVELS_CHANGE:
        evidence = f"{levels.low:.3g} and {levels.high:.3g} images/s, {levels.share:.0%} of the laps the faster"
        yield found(catalogue.TWO_SPEEDS, str(cell.cell), evidence)


def dependent(cell: CellResult) -> Iterable[Finding]:
    """The rounds' speed-ups (of a baseline: its laps) resemble the ones before them."""
    series = list(cell.ratios) or _speeds(cell)
    if len(series) < DEPENDENT_LAPS:
        return
    alike = autocorrelation([log(value) for value in series])
    if alike >= DEPENDENT_AT and not _drift(series, 0.0):
        evidence = f"autocorrelation {alike:.2f} from lap to lap, over {len(series)} laps"
        yield found(catalogue.DEPENDENT, str(cell.cell), evidence)


def ratio_drifts(cell: CellResult) -> Iterable[Finding]:
    """One side of a speed-up got slower or faster, and the other did not."""
    said = _drift(list(cell.ratios), RATIO_CHANGE)
    if said:
        yield found(catalogue.RATIO_DRIFT, str(cell.cell), said.replace("laps", "rounds"))


def disturbed(comparison: ComparisonResult) -> Iterable[Finding]:
    """What else went on on the machine while a comparison's cells took turns."""
    seen = comparison.conditions
    if seen is None:
        return
    first = comparison.cells[0].cell.workload
    where = f"{first.model}, batch {first.batch}"
    yield from _others_on_cpu(seen, where)
    for gpu in seen.gpus:
        on = f"{where}, {gpu.device}"
        if gpu.processes_before:
            count = gpu.processes_before
            yield found(catalogue.OTHERS_ON_GPU, on, f"{count} process{'es' * (count != 1)} before ours")
        if gpu.throttled_by:
            yield found(catalogue.THROTTLED, on, ", ".join(gpu.throttled_by))
        if gpu.busy_before is not None and gpu.busy_before > BUSY_SHARE:
            yield found(catalogue.BUSY_BEFORE, on, f"{gpu.busy_before:.0%} busy before the first cell")
    if seen.on_battery or seen.power_saving:
        words = ["on battery"] * bool(seen.on_battery) + ["low-power mode"] * bool(seen.power_saving)
        yield found(catalogue.ON_BATTERY, where, " and ".join(words))
    if seen.swap_grown_bytes is not None and seen.swap_grown_bytes > SWAP_BYTES:
        yield found(catalogue.SWAPPED, where, f"{seen.swap_grown_bytes / 2**20:.0f} MiB in {seen.seconds:.0f} s")


def _others_on_cpu(seen: Conditions, where: str) -> Iterable[Finding]:
    if seen.others_cpu_share is not None and seen.others_cpu_share > OTHERS_CPU_SHARE:
        evidence = f"{seen.others_cpu_share:.0%} of all cores over {seen.seconds:.1f} s"
        yield found(catalogue.OTHERS_ON_CPU, where, evidence)


def held_back(cell: CellResult, run: Run) -> Iterable[Finding]:
    """The CPU had fewer threads than the machine has cores, other than by our own choice of its fast ones."""
    if cell.prepared is None or cell.cell.device != "cpu":
        return
    facts, threads = run.header.facts, cell.prepared.threads
    variables = [name for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS") if name in facts.environment]
    limited = facts.usable_cores < facts.physical_cores
    if threads < facts.physical_cores and (variables or limited):
        why = f"{variables[0]}={facts.environment[variables[0]]}" if variables else f"{facts.usable_cores} cores usable"
        evidence = f"{threads} thread{'s' * (threads != 1)} on {facts.physical_cores} cores ({why})"
        yield found(catalogue.FEWER_CORES, str(cell.cell), evidence)


def fell_back(cell: CellResult) -> Iterable[Finding]:
    """Torch said that the device left operators to the CPU."""
    if cell.prepared is not None and cell.prepared.fallbacks:
        yield found(catalogue.FELL_BACK, str(cell.cell), "; ".join(cell.prepared.fallbacks))


def not_finite(cell: CellResult) -> Iterable[Finding]:
    """The loss became NaN or infinite: the speed is void."""
    if cell.failure is not None and cell.failure.kind == "not_finite":
        yield found(catalogue.NOT_FINITE, str(cell.cell), f"after {len(cell.laps)} laps")


def does_not_learn(cell: CellResult) -> Iterable[Finding]:
    """The loss of a training cell is where it was after steps enough."""
    if cell.prepared is None or cell.cell.workload.phase != "train" or len(cell.laps) < MIN_ROUNDS:
        return
    steps = cell.prepared.warm_up_steps + sum(lap.steps for lap in cell.laps)
    first, last = cell.prepared.first_loss, median(lap.loss for lap in cell.laps[-(len(cell.laps) // 3) :])
    if steps >= LEARNING_STEPS and last > LEARNING_FALL * first:
        yield found(catalogue.DOES_NOT_LEARN, str(cell.cell), f"{first:.3g} at first, {last:.3g} after {steps} steps")


def starved(cell: CellResult) -> Iterable[Finding]:
    """A step waits for its batch."""
    seen = cell.prepared.watched if cell.prepared else None
    if seen is not None and seen.input_wait_seconds > WAIT_SHARE * seen.step_seconds:
        evidence = f"{1e3 * seen.input_wait_seconds:.3g} ms of a step of {1e3 * seen.step_seconds:.3g} ms"
        yield found(catalogue.STARVED, str(cell.cell), evidence)


def launch_bound(cell: CellResult) -> Iterable[Finding]:
    """The host takes as long to enqueue a step as the device to run it."""
    seen = watched(cell)
    if seen is None:
        return
    enqueue = seen.enqueue_seconds - seen.input_wait_seconds
    if enqueue > ENQUEUE_SHARE * seen.step_seconds:
        evidence = f"{1e3 * enqueue:.3g} ms to enqueue a step of {1e3 * seen.step_seconds:.3g} ms"
        yield found(catalogue.LAUNCH_BOUND, str(cell.cell), evidence)


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
        yield found(catalogue.SMALL_BATCH, str(cell.cell), evidence)


def _speed(cell: CellResult) -> float:
    return cell.throughput.value if cell.throughput else 0.0


def _differs_in_batch(one: CellResult, other: CellResult) -> bool:
    """Tell whether two cells are alike in all but the batch."""
    mine, its = one.cell.workload, other.cell.workload
    same = (mine.model, mine.phase, one.cell.recipe, one.cell.device)
    return same == (its.model, its.phase, other.cell.recipe, other.cell.device)
