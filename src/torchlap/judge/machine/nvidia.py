"""NVIDIA GPUs: driver, wheel, architecture, and who or what else is at work on them."""

import re
from collections.abc import Iterable

from packaging.version import Version

from torchlap.judge.findings import Finding, Rule, found
from torchlap.judge.machine.versions import parsed
from torchlap.schema.base import whole
from torchlap.schema.machine import Facts, NvidiaGpu
from torchlap.schema.packages import reinstall

OLDEST_DRIVER = {13: "580", 12: "525", 11: "450"}
"""For a CUDA of this major version, on Linux (NVIDIA, CUDA compatibility, minor version compatibility, table 1)."""

WHEELS = (
    ("cu130", "580", (7, 5), (99, 9)),
    ("cu128", "570", (7, 5), (99, 9)),
    ("cu126", "525", (5, 0), (9, 9)),
)
"""PyTorch's builds: the oldest driver that runs them, and the capabilities for which they have code (the release
notes of torch 2.9 and later: CUDA 13 has nothing before Turing, CUDA 12.6 nothing after Hopper)."""

BUSY_SHARE = 0.1
LITTLE_FREE = 0.5
COMPATIBILITY = "https://docs.nvidia.com/deploy/cuda-compatibility/minor-version-compatibility.html"

NO_DRIVER = Rule(
    "TL120",
    "error",
    "an NVIDIA GPU without its driver",
    "The GPU is on the PCI bus, but NVIDIA's driver is not loaded, or is not handed into this container.",
    "Install NVIDIA's driver and restart; in a container, start it with the NVIDIA Container Toolkit and --gpus all.",
    "PCI vendor 10de in /sys/bus/pci, and no /dev/nvidiactl",
)
DRIVER_FAILS = Rule(
    "TL121",
    "error",
    "NVIDIA's driver does not answer",
    "There is a driver, but its own library cannot speak to it: often it was updated and the machine not restarted.",
    "Restart the machine; if it stays, install the driver anew.",
    "NVML, asked in a process of its own",
)
CPU_WHEEL = Rule(
    "TL122",
    "error",
    "this torch is built without CUDA",
    "The machine has an NVIDIA GPU, and the installed torch is a build for the CPU, or for another maker's GPUs.",
    "Install a build for CUDA.",
    "torch.version.cuda is None while NVML sees a GPU",
)
HIDDEN = Rule(
    "TL123",
    "error",
    "the GPU is hidden",
    "A variable names no GPU of this machine, or none that can be used, so torch sees none.",
    "Unset it.",
    "NVIDIA, CUDA programming guide, environment variables; ROCm, GPU isolation; oneAPI, ZE_AFFINITY_MASK",
)
DRIVER_TOO_OLD = Rule(
    "TL124",
    "error",
    "the driver is too old for this torch",
    "A torch that is built for a newer CUDA than the driver knows cannot use the GPU.",
    "Update NVIDIA's driver, or install a torch for an older CUDA.",
    COMPATIBILITY,
)
UNAVAILABLE = Rule(
    "TL125",
    "error",
    "CUDA is built in, but not available",
    "Torch is built for CUDA and the driver sees a GPU, and yet torch does not find it.",
    "Restart the machine, or reload the driver (after a suspend: sudo rmmod nvidia_uvm && sudo modprobe nvidia_uvm); "
    "in a container, check that /dev/nvidia-uvm is handed in.",
    "torch.cuda.is_available()",
)
NO_KERNELS = Rule(
    "TL126",
    "error",
    "this torch has no code for the GPU",
    'The wheel is compiled for other architectures: operators fail with "no kernel image is available for execution '
    'on the device", or worse, with ROCm.',
    "Install a torch that is built for it.",
    "torch.cuda.get_device_capability() against torch.cuda.get_arch_list()",
)
THROTTLED = Rule(
    "TL127",
    "warning",
    "the GPU is held down",
    "The driver holds the clock down for heat or power: figures are those of a throttled device.",
    "Cool it, check its power supply, or raise its power limit if it is yours.",
    "NVML clocks event reasons",
)
BUSY = Rule(
    "TL128",
    "warning",
    "somebody else uses the GPU",
    "Another process computes on it, or holds its memory: figures are lower, and large batches do not fit.",
    "See who it is with nvidia-smi, end it or wait for it.",
    "NVML utilisation, processes and memory, read before anything of ours was on the device",
)


def _gpus(facts: Facts) -> tuple[NvidiaGpu, ...]:
    return facts.nvidia.gpus if facts.nvidia else ()


def _visible(facts: Facts) -> list[tuple[int, NvidiaGpu]]:
    """The GPUs that torch may use, by the driver's numbers; all, where they are named in another way."""
    every = list(enumerate(_gpus(facts)))
    numbers = [word.strip() for word in facts.environment.get("CUDA_VISIBLE_DEVICES", "").split(",")]
    if not all(word.isdecimal() for word in numbers):
        return every
    return [(number, gpu) for number, gpu in every if str(number) in numbers]


def _models(facts: Facts) -> str:
    return ", ".join(dict.fromkeys(gpu.model for gpu in _gpus(facts)))


def no_driver(facts: Facts) -> Iterable[Finding]:
    """The PCI bus has a GPU that no driver answers for."""
    answered = facts.nvidia is not None or any(unread.what == "NVIDIA's driver" for unread in facts.unread)
    if "NVIDIA" in facts.display_adapters and not answered and not _available(facts):
        count = facts.display_adapters.count("NVIDIA")
        yield found(NO_DRIVER, "cuda", f"{count} NVIDIA device{'s' * (count != 1)} on the PCI bus, no driver")


def _available(facts: Facts) -> bool:
    return bool(facts.torch and facts.torch.cuda_available)


def driver_fails(facts: Facts) -> Iterable[Finding]:
    """NVML cannot speak to the driver, and torch cannot either."""
    for unread in facts.unread:
        if unread.what == "NVIDIA's driver" and not _available(facts):
            yield found(DRIVER_FAILS, "cuda", unread.why)


def cpu_wheel(facts: Facts) -> Iterable[Finding]:
    """The wheel is for the CPU."""
    build = facts.torch_build
    if _gpus(facts) and build and "torch" in facts.packages and not build.cuda and not _available(facts):
        evidence = f"{_models(facts)} with driver {facts.nvidia and facts.nvidia.driver}, torch {_build(facts)}"
        yield found(CPU_WHEEL, "cuda", evidence, command=_install(facts))


def _build(facts: Facts) -> str:
    build = facts.torch_build
    others = (
        [f"for {name} {value}" for name, value in (("ROCm", build.hip), ("XPU", build.xpu)) if value] if build else []
    )
    return f"{facts.packages['torch']} {', '.join(others) or 'without any accelerator'}"


def _install(facts: Facts) -> str:
    """The command that installs a torch which this driver and these GPUs can run; empty where there is none."""
    driver = parsed(facts.nvidia.driver) if facts.nvidia else None
    capabilities = [_number(gpu.capability) for gpu in _gpus(facts) if gpu.capability]
    for wheel, oldest, least, most in WHEELS:
        runs = all(least <= capability <= most for capability in capabilities)
        if driver is not None and driver >= Version(oldest) and runs:
            return f"{reinstall(facts.interpreter)} --index-url https://download.pytorch.org/whl/{wheel}"
    return ""


def hidden(facts: Facts) -> Iterable[Finding]:
    """CUDA_VISIBLE_DEVICES names none of the GPUs."""
    visible = facts.environment.get("CUDA_VISIBLE_DEVICES")
    if visible is None or not _gpus(facts) or _available(facts):
        return
    first = visible.split(",")[0].strip()
    index = whole(first)
    if index is None or index >= len(_gpus(facts)):
        command = "unset CUDA_VISIBLE_DEVICES"
        yield found(HIDDEN, "cuda", f"CUDA_VISIBLE_DEVICES={visible!r}, {_models(facts)}", command=command)


def driver_too_old(facts: Facts) -> Iterable[Finding]:
    """The driver is older than any for torch's CUDA; torch finds no GPU."""
    built = parsed(facts.torch_build.cuda) if facts.torch_build else None
    driver = parsed(facts.nvidia.driver) if facts.nvidia else None
    if built is None or driver is None or not _gpus(facts) or _available(facts):
        return
    needed = OLDEST_DRIVER.get(built.major)
    if needed and driver < Version(needed):
        evidence = (
            f"driver {facts.nvidia and facts.nvidia.driver}, torch {facts.packages.get('torch')} for CUDA {built}"
        )
        older = ", or install a torch for an older CUDA." if _install(facts) else "."
        remedy = f"Update NVIDIA's driver to {needed} or newer{older}"
        evidence = f"{evidence}, which needs {needed}"
        yield found(DRIVER_TOO_OLD, "cuda", evidence, remedy=remedy, command=_install(facts))


def unavailable(facts: Facts) -> Iterable[Finding]:
    """Nothing explains why torch does not find the GPU."""
    if _gpus(facts) and facts.torch and facts.torch_build and facts.torch_build.cuda and not _available(facts):
        yield found(UNAVAILABLE, "cuda", f"{_models(facts)}. {facts.torch.warnings or facts.looked_for}")


CAPABILITY = re.compile(r"gfx\w{1,20}|[0-9]{1,3}(\.[0-9]{1,3})?")
"""As AMD and NVIDIA write it; a run file may hold anything."""


def no_kernels(facts: Facts) -> Iterable[Finding]:
    """The wheel has no code that runs on a device's architecture."""
    architectures = facts.torch.architectures if facts.torch else ()
    for device in facts.devices:
        unknown = device.kind != "cuda" or not CAPABILITY.fullmatch(device.capability) or not architectures
        passed = any(trial.device == device.name and not trial.failed_at for trial in facts.trials)
        if not (unknown or passed or _runs(device.capability, architectures)):
            evidence = f"{device.model} is {device.capability}; this torch is built for {', '.join(architectures)}"
            yield found(NO_KERNELS, device.name, evidence)


def _runs(capability: str, architectures: Iterable[str]) -> bool:
    """Code for sm_XY runs on X.Y and newer of the same X; code for compute_XY, compiled on first use, on newer ones.

    A name like sm_90a is for 9.0 alone. AMD's names must be the same (NVIDIA, CUDA programming guide, binary
    compatibility; ROCm has no such rule).
    """
    if capability.startswith("gfx"):
        return capability in {name.partition(":")[0] for name in architectures}
    device = _number(capability)
    for name in architectures:
        parts = re.fullmatch(r"(sm|compute)_([0-9]{1,3})([0-9])([a-z]?)", name)
        if parts is None:
            continue
        code = int(parts[2]), int(parts[3])
        same = device == code if parts[4] else device >= code
        if same and (parts[1] == "compute" or device[0] == code[0]):
            return True
    return False


def _number(capability: str) -> tuple[int, int]:
    major, _, minor = capability.partition(".")
    return int(major), int(minor or 0)


def throttled(facts: Facts) -> Iterable[Finding]:
    """The driver holds a GPU's clock down."""
    for number, gpu in _visible(facts):
        idle_cap = gpu.throttled_by == ("power cap",) and not gpu.busy  # as some laptops say of an idle GPU
        if gpu.throttled_by and not idle_cap:
            clock = f", {gpu.clock_mhz} of {gpu.most_clock_mhz} MHz" if gpu.clock_mhz and gpu.most_clock_mhz else ""
            heat = f", {gpu.celsius} °C" if gpu.celsius is not None else ""
            yield found(THROTTLED, f"GPU {number}", f"{', '.join(gpu.throttled_by)}{clock}{heat}")


def busy(facts: Facts) -> Iterable[Finding]:
    """Somebody else is on a GPU."""
    for number, gpu in _visible(facts):
        seen = [f"{gpu.processes} process{'es' * (gpu.processes != 1)}"] * bool(gpu.processes)
        seen += [f"{gpu.busy:.0%} busy"] if gpu.busy is not None and gpu.busy > BUSY_SHARE else []
        if gpu.memory_bytes and gpu.free_bytes is not None and gpu.free_bytes < LITTLE_FREE * gpu.memory_bytes:
            seen.append(f"{gpu.free_bytes / 2**30:.1f} of {gpu.memory_bytes / 2**30:.1f} GiB free")
        if seen:
            yield found(BUSY, f"GPU {number}", f"{gpu.model}: {', '.join(seen)}")
