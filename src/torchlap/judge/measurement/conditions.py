"""Findings about the conditions of a measurement: other processes, throttling, power, swap, threads, fallbacks."""

from collections.abc import Iterable

from torchlap.judge.findings import Finding, Rule
from torchlap.runs.figures import CellResult, GroupResult
from torchlap.schema.events import Conditions, GpuConditions
from torchlap.schema.machine import Facts

OTHERS_CPU_SHARE = 0.1
BUSY_SHARE = 0.1
SWAP_BYTES = 64 << 20


def findings(group: GroupResult) -> Iterable[Finding]:
    """What else the machine was doing while a group was measured."""
    conditions = group.conditions
    if conditions is None:
        return
    workload = group.cells[0].cell.workload
    where = f"{workload.model}, batch {workload.batch}"
    yield from others_on_cpu(conditions, where)
    for gpu in conditions.gpus:
        yield from others_on_gpu(gpu, f"{where}, {gpu.device}")
        yield from throttled(gpu, f"{where}, {gpu.device}")
        yield from not_idle(gpu, f"{where}, {gpu.device}")
    yield from saving_power(conditions, where)
    yield from swapped(conditions, where)


OTHERS_ON_CPU = Rule(
    "TL208",
    "warning",
    "other processes used the CPU",
    "They took cores and memory bandwidth from the measurement. CPU results are affected most.",
    "Close the other programs and measure again; on a shared machine, measure when it is quiet.",
)


def others_on_cpu(conditions: Conditions, where: str) -> Iterable[Finding]:
    """Other processes used the CPU during the rounds."""
    share = conditions.others_cpu_share
    if share is not None and share > OTHERS_CPU_SHARE:
        yield OTHERS_ON_CPU.finding(where, f"{share:.0%} of all cores over {conditions.seconds:.1f} s")


OTHERS_ON_GPU = Rule(
    "TL209",
    "warning",
    "other processes on the GPU",
    "Another process used the GPU before the measurement began. It may have run kernels during the measurement, and it "
    "shared the memory.",
    "Find the process with nvidia-smi, end it or wait for it to finish, and measure again.",
)


def others_on_gpu(gpu: GpuConditions, where: str) -> Iterable[Finding]:
    """Other processes held the GPU before the group started."""
    count = gpu.processes_before
    if count:
        processes = "1 other process" if count == 1 else f"{count} other processes"
        yield OTHERS_ON_GPU.finding(where, f"{processes} before the first cell")


THROTTLED = Rule(
    "TL210",
    "warning",
    "GPU throttled during the measurement",
    "The driver reported a reduced clock while laps were measured: the result is that of a throttled device.",
    "Improve the cooling, raise the power limit if you can, or accept the result as what this machine can sustain.",
)


def throttled(gpu: GpuConditions, where: str) -> Iterable[Finding]:
    """The driver throttled the GPU during the rounds."""
    if gpu.throttled_by:
        yield THROTTLED.finding(where, ", ".join(gpu.throttled_by))


SAVING_POWER = Rule(
    "TL211",
    "warning",
    "power saving during the measurement",
    "On battery or in a low-power mode, clock rates are lower, by different factors for the CPU and the GPU.",
    "Plug in the machine, turn off low-power mode, and measure again.",
)


def saving_power(conditions: Conditions, where: str) -> Iterable[Finding]:
    """The machine ran on battery, or in a low-power mode."""
    states = {"on battery": conditions.on_battery, "low-power mode": conditions.power_saving}
    active = [state for state, is_active in states.items() if is_active]
    if active:
        yield SAVING_POWER.finding(where, " and ".join(active))


SWAPPED = Rule(
    "TL212",
    "warning",
    "memory was swapped to disk",
    "The machine ran short of memory and moved some of it to disk. A step that waits for the disk does not show the "
    "speed of the model.",
    "Close other programs, or use a smaller --batch.",
)


def swapped(conditions: Conditions, where: str) -> Iterable[Finding]:
    """The swap grew during the rounds."""
    grown = conditions.swap_grown_bytes
    if grown is not None and grown > SWAP_BYTES:
        yield SWAPPED.finding(where, f"{grown / 2**20:.0f} MiB in {conditions.seconds:.0f} s")


FEWER_THREADS = Rule(
    "TL213",
    "warning",
    "CPU limited to fewer threads",
    "The CPU ran fewer threads than the machine has cores, so every speed-up over it is too large for this machine.",
    "Unset OMP_NUM_THREADS and MKL_NUM_THREADS, or raise the container's quota, unless you want to measure with "
    "that limit.",
)


def fewer_threads(cell: CellResult, facts: Facts) -> Iterable[Finding]:
    """The CPU had fewer threads than the machine has cores, other than by torchlap's choice of its fast cores."""
    if cell.prepared is None or cell.cell.device != "cpu":
        return
    threads = cell.prepared.threads
    variables = [name for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS") if name in facts.environment]
    limited = facts.usable_cores < facts.physical_cores
    if threads < facts.physical_cores and (variables or limited):
        cause = f"{variables[0]}={facts.environment[variables[0]]}" if variables else f"{facts.usable_cores} usable"
        count = "1 thread" if threads == 1 else f"{threads} threads"
        yield FEWER_THREADS.finding(str(cell.cell), f"{count} on {facts.physical_cores} cores ({cause})")


FELL_BACK = Rule(
    "TL214",
    "warning",
    "operators fell back to the CPU",
    "The device does not implement them: each call moves data to the CPU and back, and the result is a mix of both "
    "devices.",
    "Upgrade torch, or replace these operators.",
)


def fell_back(cell: CellResult) -> Iterable[Finding]:
    """Torch warned that operators run on the CPU instead of the device."""
    if cell.prepared is not None and cell.prepared.fallbacks:
        yield FELL_BACK.finding(str(cell.cell), "; ".join(cell.prepared.fallbacks))


CLOCK_JUMPED = Rule(
    "TL225",
    "warning",
    "the machine slept, or its clock was set",
    "A lap in which the machine slept, a virtual machine was paused, or the clock was set cannot be trusted. The laps "
    "of these turns are in the run file, and are not part of the result.",
    "Keep the machine awake while it measures (systemd-inhibit or caffeinate), and measure again if laps are few.",
)


def clock_jumped(cell: CellResult) -> Iterable[Finding]:
    """The machine's clocks disagreed about how long a turn took."""
    jumps = cell.clock_jumps
    if not jumps:
        return
    turns = "1 turn was" if len(jumps) == 1 else f"{len(jumps)} turns were"
    asleep, moved = sum(jump.asleep_seconds for jump in jumps), max((jump.wall_seconds for jump in jumps), key=abs)
    slept = f"asleep for {asleep:.0f} s" if asleep else f"clock moved by {moved:+.0f} s"
    yield CLOCK_JUMPED.finding(str(cell.cell), f"{slept}; {turns} left out")


NOT_IDLE = Rule(
    "TL220",
    "warning",
    "GPU was not idle",
    "Another process was computing on the GPU just before the measurement, and may have continued.",
    "Find the process with nvidia-smi, wait until the GPU is idle, and measure again.",
)


def not_idle(gpu: GpuConditions, where: str) -> Iterable[Finding]:
    """The GPU was busy before the group started."""
    if gpu.busy_before is not None and gpu.busy_before > BUSY_SHARE:
        yield NOT_IDLE.finding(where, f"{gpu.busy_before:.0%} busy before the first cell")
