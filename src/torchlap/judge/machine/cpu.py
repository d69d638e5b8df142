"""Whether the CPU is a fair baseline, and the machine's state: threads, quota, power, heat, load, memory."""

from collections.abc import Iterable

from torchlap.judge.findings import Finding, Rule
from torchlap.schema.base import whole
from torchlap.schema.machine import Facts

FEW_THREADS = Rule(
    "TL160",
    "warning",
    "CPU limited to few threads",
    "Torch reads the number of its CPU threads from this variable. The CPU looks slow, and every speed-up over it is "
    'too large: a published "48 times as fast" came from OMP_NUM_THREADS=1.',
    "Unset the variable.",
    "the documentation of OpenMP and oneMKL",
)


def few_threads(facts: Facts) -> Iterable[Finding]:
    """A variable limits the threads."""
    cores = facts.performance_cores or facts.physical_cores
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        value = facts.environment.get(name, "").partition(",")[0].strip()  # OpenMP takes a list, one value a level
        if 0 < (whole(value) or 0) < cores:
            yield FEW_THREADS.finding("cpu", f"{name}={value}, {cores} cores", command=f"unset {name}")
            return


QUOTA = Rule(
    "TL161",
    "warning",
    "CPU limited by a quota",
    "The container's quota pauses its processes for part of the time: the container has fewer cores than it appears to "
    "have, and lap times vary.",
    "Raise the quota (docker run --cpus), or state this number of cores with the results.",
    "cpu.max of the control group",
)


def quota(facts: Facts) -> Iterable[Finding]:
    """A container's quota allows fewer cores than the machine has."""
    if facts.cpu_quota is not None and facts.cpu_quota < facts.physical_cores:
        yield QUOTA.finding("cpu", f"{facts.cpu_quota:g} of {facts.physical_cores} cores")


MEMORY_LIMIT = Rule(
    "TL168",
    "note",
    "memory limited by a container",
    "The kernel kills what needs more than this, although the machine has more. Results of large batches are not those "
    "of the machine.",
    "Raise the limit (docker run --memory), or state it with the results.",
    "memory.max of the control group",
)


def memory_limit(facts: Facts) -> Iterable[Finding]:
    """A container's limit allows less memory than the machine has."""
    if facts.memory_limit_bytes is not None:
        yield MEMORY_LIMIT.finding("cpu", f"{facts.memory_limit_bytes / 2**30:.1f} GiB for this process and its group")


AFFINITY = Rule(
    "TL162",
    "warning",
    "process limited to some cores",
    "An affinity mask (taskset, a batch system) limits the process to a part of the machine, so the CPU looks slow.",
    "Start the process without the mask, or state this number of cores with the results.",
    "sched_getaffinity(2)",
)


def affinity(facts: Facts) -> Iterable[Finding]:
    """A mask allows fewer cores than the machine has."""
    cores = facts.logical_cores or facts.physical_cores
    if facts.affinity_cores is not None and facts.affinity_cores < cores:
        yield AFFINITY.finding("cpu", f"{facts.affinity_cores} of {cores} logical cores")


NO_ONEDNN = Rule(
    "TL163",
    "warning",
    "torch is built without oneDNN",
    "Without it, convolutions on the CPU are many times slower than with a standard torch, and speed-ups are too "
    "large.",
    "Install the official wheel of torch.",
    "torch.backends.mkldnn.is_available()",
)


def no_onednn(facts: Facts) -> Iterable[Finding]:
    """Torch was built without its fast convolutions for this CPU."""
    if facts.torch and not facts.torch.onednn and facts.architecture in ("x86_64", "AMD64"):
        yield NO_ONEDNN.finding("cpu", f"torch {facts.packages.get('torch')}, {facts.architecture}")


HOT = Rule(
    "TL164",
    "warning",
    "machine is hot",
    "The system lowers the clock rates until the machine cools down, so speed drops during a measurement.",
    "Let the machine cool down, improve its ventilation, and measure again.",
    "notifyutil -g com.apple.system.thermalpressurelevel; pmset -g therm",
)

THERMAL_LEVELS = ("nominal", "moderate", "heavy", "trapping", "sleeping")
"""macOS's levels of thermal pressure, from 0 (OSThermalNotification.h)."""


def hot(facts: Facts) -> Iterable[Finding]:
    """The system reports heat."""
    evidence, level = [], facts.power.thermal_pressure
    if level:
        name = THERMAL_LEVELS[level] if level < len(THERMAL_LEVELS) else "unknown level"
        evidence.append(f"thermal pressure: {name} ({level})")
    if facts.power.speed_limit is not None and facts.power.speed_limit < 1:
        evidence.append(f"CPU speed limited to {facts.power.speed_limit:.0%}")
    if evidence:
        yield HOT.finding("", "; ".join(evidence))


SAVING_POWER = Rule(
    "TL165",
    "warning",
    "power saving is on",
    "On battery or in a low-power mode, clock rates are lower, by different factors for the CPU and the GPU.",
    "Plug in the machine, and turn off low-power mode.",
    "pmset -g; the battery; /sys/firmware/acpi/platform_profile",
)


def saving_power(facts: Facts) -> Iterable[Finding]:
    """The machine runs on battery, or in a low-power mode."""
    charge = "" if facts.power.battery_share is None else f" ({facts.power.battery_share:.0%} left)"
    states = {f"on battery{charge}": facts.power.on_battery, "low-power mode": facts.power.power_saving}
    active = [state for state, is_active in states.items() if is_active]
    if active:
        on_mac = facts.system.startswith("macOS") and facts.power.power_saving
        command = "sudo pmset -a lowpowermode 0" if on_mac else ""
        yield SAVING_POWER.finding("", " and ".join(active), command=command)


BUSY = Rule(
    "TL166",
    "warning",
    "machine is busy",
    "Other programs take cores and memory bandwidth from the measurement. CPU results are affected most.",
    "Close the other programs, or wait until they finish.",
    "the load average of the last minute",
)

LOAD_SHARE = 0.5
"""A higher load average, relative to all cores, is caused by others: importing torch takes one core for seconds."""


def busy(facts: Facts) -> Iterable[Finding]:
    """Other programs keep the cores busy."""
    cores = facts.logical_cores or facts.physical_cores
    if facts.load is not None and facts.load > LOAD_SHARE * cores:
        yield BUSY.finding("cpu", f"load average {facts.load:.1f} on {cores} logical cores, over the last minute")


LITTLE_MEMORY = Rule(
    "TL167",
    "warning",
    "little free memory",
    "Data that does not fit is swapped to disk, and a step that waits for the disk does not show the speed of the "
    "model. A GPU that shares this memory also swaps, instead of failing with an out-of-memory error.",
    "Close other programs, or use a smaller batch.",
    "free memory and swap in use",
)

LITTLE_MEMORY_SHARE, LITTLE_MEMORY_BYTES, ENOUGH_BYTES = 0.1, 2 << 30, 8 << 30
SWAPPED_SHARE = 0.25


def little_memory(facts: Facts) -> Iterable[Finding]:
    """Little memory is free, or much of it was swapped to disk."""
    evidence = []
    if facts.available_bytes is not None:
        least = min(ENOUGH_BYTES, max(LITTLE_MEMORY_BYTES, LITTLE_MEMORY_SHARE * facts.memory_bytes))
        if facts.available_bytes < min(least, facts.memory_bytes / 2):
            evidence.append(f"{facts.available_bytes / 2**30:.1f} of {facts.memory_bytes / 2**30:.1f} GiB free")
    if facts.swap_used_bytes is not None and facts.swap_used_bytes > SWAPPED_SHARE * facts.memory_bytes:
        evidence.append(f"{facts.swap_used_bytes / 2**30:.1f} GiB of swap in use")
    if evidence:
        yield LITTLE_MEMORY.finding("", "; ".join(evidence))
