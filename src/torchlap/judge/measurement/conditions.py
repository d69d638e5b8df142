"""Findings about what else the machine was doing during a measurement."""

from collections.abc import Iterable

from torchlap.judge.findings import Finding, Rule, found
from torchlap.runs.figures import CellResult, GroupResult
from torchlap.schema.events import Conditions, Run

OTHERS_ON_CPU = Rule(
    "TL208",
    "warning",
    "other processes used the CPU",
    "They took cores and memory bandwidth from what was measured, most of all from the CPU's own figures.",
    "Close them and measure again; on a shared machine, measure when it is quiet.",
)
OTHERS_ON_GPU = Rule(
    "TL209",
    "warning",
    "another process on the GPU",
    "A process of somebody else's held the GPU before ours came: it may have computed meanwhile, and shared the "
    "memory.",
    "See who it is with nvidia-smi, end it or wait for it, and measure again.",
)
THROTTLED = Rule(
    "TL210",
    "warning",
    "device throttled",
    "The driver said that it held the clock down while laps were measured: the figure is that of a throttled device.",
    "Cool it, raise its power limit if it is yours, or take the figure as what this machine can sustain.",
)
ON_BATTERY = Rule(
    "TL211",
    "warning",
    "saving power",
    "On battery or in a low-power mode, clocks are held down, and not alike for the CPU and the GPU.",
    "Plug it in, switch the low-power mode off, and measure again.",
)
SWAPPED = Rule(
    "TL212",
    "warning",
    "memory was swapped out",
    "The machine had too little memory and moved some to the disk; a step that waits for the disk is not the model's.",
    "Close other programs or take a smaller --batch.",
)
FEWER_CORES = Rule(
    "TL213",
    "warning",
    "the CPU is held back",
    "It had fewer threads than the machine has cores, so every speed-up over it is too large for this machine.",
    "Unset OMP_NUM_THREADS and MKL_NUM_THREADS, or lift the container's quota, unless that is what you want to "
    "measure.",
)
FELL_BACK = Rule(
    "TL214",
    "warning",
    "operators fell back to the CPU",
    "The device has not got them: each time, the data travels to the CPU and back, and the figure is a mix of both.",
    "Upgrade torch, or replace the operators that are named.",
)
BUSY_BEFORE = Rule(
    "TL220",
    "warning",
    "device was not idle",
    "The GPU computed for somebody else just before we began, and may have gone on.",
    "See who it is with nvidia-smi, wait until it is idle, and measure again.",
)


OTHERS_CPU_SHARE = 0.1
BUSY_SHARE = 0.1
SWAP_BYTES = 64 << 20


def disturbed(group: GroupResult) -> Iterable[Finding]:
    """What else went on on the machine while a comparison's cells took turns."""
    seen = group.conditions
    if seen is None:
        return
    first = group.cells[0].cell.workload
    where = f"{first.model}, batch {first.batch}"
    yield from _others_on_cpu(seen, where)
    for gpu in seen.gpus:
        on = f"{where}, {gpu.device}"
        if gpu.processes_before:
            count = gpu.processes_before
            yield found(OTHERS_ON_GPU, on, f"{count} process{'es' * (count != 1)} before ours")
        if gpu.throttled_by:
            yield found(THROTTLED, on, ", ".join(gpu.throttled_by))
        if gpu.busy_before is not None and gpu.busy_before > BUSY_SHARE:
            yield found(BUSY_BEFORE, on, f"{gpu.busy_before:.0%} busy before the first cell")
    if seen.on_battery or seen.power_saving:
        words = ["on battery"] * bool(seen.on_battery) + ["low-power mode"] * bool(seen.power_saving)
        yield found(ON_BATTERY, where, " and ".join(words))
    if seen.swap_grown_bytes is not None and seen.swap_grown_bytes > SWAP_BYTES:
        yield found(SWAPPED, where, f"{seen.swap_grown_bytes / 2**20:.0f} MiB in {seen.seconds:.0f} s")


def _others_on_cpu(seen: Conditions, where: str) -> Iterable[Finding]:
    if seen.others_cpu_share is not None and seen.others_cpu_share > OTHERS_CPU_SHARE:
        evidence = f"{seen.others_cpu_share:.0%} of all cores over {seen.seconds:.1f} s"
        yield found(OTHERS_ON_CPU, where, evidence)


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
        yield found(FEWER_CORES, str(cell.cell), evidence)


def fell_back(cell: CellResult) -> Iterable[Finding]:
    """Torch said that the device left operators to the CPU."""
    if cell.prepared is not None and cell.prepared.fallbacks:
        yield found(FELL_BACK, str(cell.cell), "; ".join(cell.prepared.fallbacks))
