"""The CPU's fair chance, and the machine's state: threads, quota, power, heat, load, memory."""

from collections.abc import Iterable

from torchlap.judge.findings import Finding, Rule, found
from torchlap.schema.base import whole
from torchlap.schema.machine import Facts

LOAD_SHARE = 0.5
"""Of all cores: a load average above is somebody else's, for the import of torch takes one core for seconds."""

LITTLE_MEMORY_SHARE, LITTLE_MEMORY_BYTES, ENOUGH_BYTES = 0.1, 2 << 30, 8 << 30
SWAPPED_SHARE = 0.25

FEW_THREADS = Rule(
    "TL160",
    "warning",
    "the CPU is limited to few threads",
    "Torch takes the number of its CPU threads from this variable: the CPU looks slow, and every speed-up over it too "
    'large. A published "48 times as fast" came from OMP_NUM_THREADS=1.',
    "Unset it.",
    "the documentation of OpenMP and oneMKL",
)
QUOTA = Rule(
    "TL161",
    "warning",
    "a quota limits the CPU",
    "A container's quota stops the CPU for part of the time: it has fewer cores than it seems, and uneven laps.",
    "Raise it (docker run --cpus), or take the figures as those of so many cores.",
    "cpu.max of the control group",
)
AFFINITY = Rule(
    "TL162",
    "warning",
    "this process may not use all cores",
    "A mask of cores (taskset, a batch system) leaves it a part of the machine: the CPU looks slow.",
    "Start it without the mask, or take the figures as those of so many cores.",
    "sched_getaffinity(2)",
)
NO_ONEDNN = Rule(
    "TL163",
    "warning",
    "torch has no oneDNN here",
    "Without it, convolutions on the CPU are many times slower than those of a usual torch, and speed-ups too large.",
    "Install torch's own wheel.",
    "torch.backends.mkldnn.is_available()",
)
HOT = Rule(
    "TL164",
    "warning",
    "the machine is hot",
    "The system holds the clocks down until it is cooler; speed falls while one measures.",
    "Let it rest, give it air, and measure again.",
    "notifyutil -g com.apple.system.thermalpressurelevel; pmset -g therm",
)
SAVING_POWER = Rule(
    "TL165",
    "warning",
    "the machine saves power",
    "On battery or in a low-power mode clocks are held down, and not alike for the CPU and the GPU.",
    "Plug it in, and switch the low-power mode off.",
    "pmset -g; the battery; /sys/firmware/acpi/platform_profile",
)
LOAD = Rule(
    "TL166",
    "warning",
    "the machine is busy",
    "Other programs take cores and memory bandwidth from what is measured, most of all from the CPU's own figures.",
    "Close them, or wait until they are done.",
    "the load average of the last minute",
)
LITTLE_MEMORY = Rule(
    "TL167",
    "warning",
    "little memory is free",
    "What does not fit is moved to the disk, and a step that waits for the disk is not the model's. A GPU that shares "
    "the memory swaps instead of refusing.",
    "Close other programs, or take a smaller batch.",
    "free memory and swap in use",
)


def few_threads(facts: Facts) -> Iterable[Finding]:
    """A variable limits the threads."""
    cores = facts.performance_cores or facts.physical_cores
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        value = facts.environment.get(name, "").partition(",")[0].strip()  # OpenMP takes a list, one a level
        if 0 < (whole(value) or 0) < cores:
            yield found(FEW_THREADS, "cpu", f"{name}={value}, {cores} cores", command=f"unset {name}")
            return


def quota(facts: Facts) -> Iterable[Finding]:
    """A container's quota leaves fewer cores than there are."""
    if facts.cpu_quota is not None and facts.cpu_quota < facts.physical_cores:
        yield found(QUOTA, "cpu", f"{facts.cpu_quota:g} of {facts.physical_cores} cores")


def affinity(facts: Facts) -> Iterable[Finding]:
    """A mask leaves fewer cores than there are."""
    cores = facts.logical_cores or facts.physical_cores
    if facts.affinity_cores is not None and facts.affinity_cores < cores:
        yield found(AFFINITY, "cpu", f"{facts.affinity_cores} of {cores} logical cores")


def no_onednn(facts: Facts) -> Iterable[Finding]:
    """Torch was built without its fast convolutions for this CPU."""
    if facts.torch and not facts.torch.onednn and facts.architecture in ("x86_64", "AMD64"):
        yield found(NO_ONEDNN, "cpu", f"torch {facts.packages.get('torch')}, {facts.architecture}")


def hot(facts: Facts) -> Iterable[Finding]:
    """The system tells of heat."""
    seen, level = [], facts.power.thermal_pressure
    if level:
        word = THERMAL_WORDS[level] if level < len(THERMAL_WORDS) else str(level)
        seen.append(f"thermal pressure: {word} ({level})")
    if facts.power.speed_limit is not None and facts.power.speed_limit < 1:
        seen.append(f"the CPU's speed is limited to {facts.power.speed_limit:.0%}")
    if seen:
        yield found(HOT, "", "; ".join(seen))


def saving_power(facts: Facts) -> Iterable[Finding]:
    """On battery, or in a low-power mode."""
    charge = "" if facts.power.battery_share is None else f" ({facts.power.battery_share:.0%} left)"
    seen = [f"on battery{charge}"] * bool(facts.power.on_battery)
    seen += ["low-power mode"] * bool(facts.power.power_saving)
    if seen:
        on_mac = facts.system.startswith("macOS") and facts.power.power_saving
        command = "sudo pmset -a lowpowermode 0" if on_mac else ""
        yield found(SAVING_POWER, "", " and ".join(seen), command=command)


def load(facts: Facts) -> Iterable[Finding]:
    """Others keep the cores busy."""
    cores = facts.logical_cores or facts.physical_cores
    if facts.load is not None and facts.load > LOAD_SHARE * cores:
        yield found(LOAD, "cpu", f"a load of {facts.load:.1f} on {cores} logical cores, over the last minute")


def little_memory(facts: Facts) -> Iterable[Finding]:
    """Little memory is free, or much was moved to the disk."""
    seen = []
    if facts.available_bytes is not None:
        least = min(ENOUGH_BYTES, max(LITTLE_MEMORY_BYTES, LITTLE_MEMORY_SHARE * facts.memory_bytes))
        if facts.available_bytes < min(least, facts.memory_bytes / 2):
            seen.append(f"{facts.available_bytes / 2**30:.1f} of {facts.memory_bytes / 2**30:.1f} GiB free")
    if facts.swap_used_bytes is not None and facts.swap_used_bytes > SWAPPED_SHARE * facts.memory_bytes:
        seen.append(f"{facts.swap_used_bytes / 2**30:.1f} GiB in the swap")
    if seen:
        yield found(LITTLE_MEMORY, "", "; ".join(seen))


THERMAL_WORDS = ("nominal", "moderate", "heavy", "trapping", "sleeping")
"""macOS's levels of thermal pressure, from 0 (OSThermalNotification.h)."""
