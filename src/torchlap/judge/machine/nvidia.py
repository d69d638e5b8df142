"""NVIDIA GPUs: driver, wheel, architecture, and what else uses them."""

import re
from collections.abc import Iterable

from packaging.version import Version

from torchlap.judge.findings import Finding, Rule
from torchlap.judge.machine.versions import parsed
from torchlap.schema.base import whole
from torchlap.schema.commands import command
from torchlap.schema.machine import Facts, NvidiaGpu

OLDEST_DRIVER = {13: "580", 12: "525", 11: "450"}
"""For a CUDA of this major version, on Linux (NVIDIA, CUDA compatibility, minor version compatibility, table 1)."""

WHEELS = (
    ("cu130", "580", (7, 5), (99, 9)),
    ("cu128", "570", (7, 5), (99, 9)),
    ("cu126", "525", (5, 0), (9, 9)),
)
"""PyTorch's builds: the oldest driver that runs them, and the compute capabilities that they have code for (the release
notes of torch 2.9 and later: CUDA 13 has none before Turing, CUDA 12.6 none after Hopper)."""


def _gpus(facts: Facts) -> tuple[NvidiaGpu, ...]:
    return facts.nvidia.gpus if facts.nvidia else ()


def _models(facts: Facts) -> str:
    return ", ".join(dict.fromkeys(gpu.model for gpu in _gpus(facts)))


def _available(facts: Facts) -> bool:
    return bool(facts.torch and facts.torch.cuda_available)


NO_DRIVER = Rule(
    "TL120",
    "error",
    "NVIDIA GPU without a driver",
    "The GPU is on the PCI bus, but NVIDIA's driver is not loaded, or not available in this container.",
    "Install NVIDIA's driver and restart; start a container with the NVIDIA Container Toolkit and --gpus all.",
    "PCI vendor 10de in /sys/bus/pci, and no /dev/nvidiactl",
)


def no_driver(facts: Facts) -> Iterable[Finding]:
    """The PCI bus has a GPU, but no driver."""
    answered = facts.nvidia is not None or any(unread.what == "NVIDIA's driver" for unread in facts.unread)
    if "NVIDIA" in facts.display_adapters and not answered and not _available(facts):
        count = facts.display_adapters.count("NVIDIA")
        adapters = "1 NVIDIA device" if count == 1 else f"{count} NVIDIA devices"
        yield NO_DRIVER.finding("cuda", f"{adapters} on the PCI bus, no driver")


DRIVER_FAILS = Rule(
    "TL121",
    "error",
    "NVIDIA's driver does not respond",
    "A driver is installed, but its own library cannot communicate with it, often because the driver was updated and "
    "the machine was not restarted.",
    "Restart the machine; if that does not help, reinstall the driver.",
    "NVML, queried in a separate process",
)


def driver_fails(facts: Facts) -> Iterable[Finding]:
    """Neither NVML nor torch can communicate with the driver."""
    for unread in facts.unread:
        if unread.what == "NVIDIA's driver" and not _available(facts):
            yield DRIVER_FAILS.finding("cuda", unread.why)


CPU_WHEEL = Rule(
    "TL122",
    "error",
    "torch is built without CUDA",
    "The machine has an NVIDIA GPU, but the installed torch is built for the CPU, or for GPUs of another vendor.",
    "Install a CUDA build of torch.",
    "torch.version.cuda is None while NVML sees a GPU",
)


def cpu_wheel(facts: Facts) -> Iterable[Finding]:
    """The wheel is not built for CUDA."""
    build = facts.torch_build
    if _gpus(facts) and build and "torch" in facts.packages and not build.cuda and not _available(facts):
        others = [f"for {name} {version}" for name, version in (("ROCm", build.hip), ("XPU", build.xpu)) if version]
        torch = f"torch {facts.packages['torch']} {', '.join(others) or 'without any accelerator'}"
        evidence = f"{_models(facts)} with driver {facts.nvidia and facts.nvidia.driver}, {torch}"
        yield CPU_WHEEL.finding("cuda", evidence, command=_install(facts))


def _install(facts: Facts) -> str:
    """The command that installs a torch that runs with this driver and these GPUs; empty if there is none."""
    driver = parsed(facts.nvidia.driver) if facts.nvidia else None
    capabilities = [_number(gpu.capability) for gpu in _gpus(facts) if gpu.capability]
    for wheel, oldest, least, most in WHEELS:
        runs = all(least <= capability <= most for capability in capabilities)
        if driver is not None and driver >= Version(oldest) and runs:
            index = f"https://download.pytorch.org/whl/{wheel}"
            return command(facts.installer, facts.interpreter, "reinstall", index=index)
    return ""


HIDDEN = Rule(
    "TL123",
    "error",
    "GPU hidden by an environment variable",
    "The variable selects no GPU of this machine, or none that is usable, so torch finds none.",
    "Unset the variable.",
    "NVIDIA, CUDA programming guide, environment variables; ROCm, GPU isolation; oneAPI, ZE_AFFINITY_MASK",
)


def hidden(facts: Facts) -> Iterable[Finding]:
    """CUDA_VISIBLE_DEVICES names none of the GPUs."""
    visible = facts.environment.get("CUDA_VISIBLE_DEVICES")
    if visible is None or not _gpus(facts) or _available(facts):
        return
    index = whole(visible.split(",")[0].strip())
    if index is None or index >= len(_gpus(facts)):
        evidence = f"CUDA_VISIBLE_DEVICES={visible!r}, {_models(facts)}"
        yield HIDDEN.finding("cuda", evidence, command="unset CUDA_VISIBLE_DEVICES")


DRIVER_TOO_OLD = Rule(
    "TL124",
    "error",
    "NVIDIA's driver is too old for this torch",
    "A torch that is built for a newer CUDA than the driver supports cannot use the GPU.",
    "Update NVIDIA's driver, or install a torch for an older CUDA.",
    "https://docs.nvidia.com/deploy/cuda-compatibility/minor-version-compatibility.html",
)


def driver_too_old(facts: Facts) -> Iterable[Finding]:
    """The driver is older than any for torch's CUDA, and torch finds no GPU."""
    built = parsed(facts.torch_build.cuda) if facts.torch_build else None
    driver = parsed(facts.nvidia.driver) if facts.nvidia else None
    if built is None or driver is None or not _gpus(facts) or _available(facts):
        return
    needed = OLDEST_DRIVER.get(built.major)
    if needed and driver < Version(needed):
        version, command = facts.nvidia and facts.nvidia.driver, _install(facts)
        evidence = (
            f"driver {version}, torch {facts.packages.get('torch')} for CUDA {built}, which requires driver {needed}"
        )
        older = ", or install a torch for an older CUDA" if command else ""
        remedy = f"Update NVIDIA's driver to {needed} or newer{older}."
        yield DRIVER_TOO_OLD.finding("cuda", evidence, remedy=remedy, command=command)


UNAVAILABLE = Rule(
    "TL125",
    "error",
    "CUDA is built in, but not available",
    "Torch is built for CUDA and the driver finds a GPU, but torch does not find it.",
    "Restart the machine, or reload the driver (after a suspend: sudo rmmod nvidia_uvm && sudo modprobe nvidia_uvm); "
    "in a container, check that /dev/nvidia-uvm is available.",
    "torch.cuda.is_available()",
)


def unavailable(facts: Facts) -> Iterable[Finding]:
    """Nothing explains why torch does not find the GPU."""
    if _gpus(facts) and facts.torch and facts.torch_build and facts.torch_build.cuda and not _available(facts):
        yield UNAVAILABLE.finding("cuda", f"{_models(facts)}. {facts.torch.warnings or facts.looked_for}")


NO_KERNELS = Rule(
    "TL126",
    "error",
    "torch has no code for this GPU",
    'The wheel is compiled for other architectures. Operators fail with "no kernel image is available for execution on '
    'the device"; with ROCm the failure may be worse.',
    "Install a torch that is built for this GPU.",
    "torch.cuda.get_device_capability() against torch.cuda.get_arch_list()",
)

CAPABILITY = re.compile(r"gfx\w{1,20}|[0-9]{1,3}(\.[0-9]{1,3})?")
"""As AMD and NVIDIA write it; a run file may contain anything."""


def no_kernels(facts: Facts) -> Iterable[Finding]:
    """The wheel has no code that runs on a device's architecture."""
    architectures = facts.torch.architectures if facts.torch else ()
    for device in facts.devices:
        unknown = device.kind != "cuda" or not CAPABILITY.fullmatch(device.capability) or not architectures
        passed = any(trial.device == device.name and not trial.failed_at for trial in facts.trials)
        if not (unknown or passed or _runs(device.capability, architectures)):
            evidence = f"{device.model} is {device.capability}; this torch is built for {', '.join(architectures)}"
            yield NO_KERNELS.finding(device.name, evidence)


def _runs(capability: str, architectures: Iterable[str]) -> bool:
    """Whether code for any of the architectures runs on a device of this capability.

    Code for sm_XY runs on X.Y and newer of the same X. Code for compute_XY is compiled on first use, also for newer X.
    A name like sm_90a is for 9.0 alone (NVIDIA, CUDA programming guide, binary compatibility). AMD's names must be
    equal, because ROCm has no such rule.
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


THROTTLED = Rule(
    "TL127",
    "warning",
    "GPU throttled",
    "The driver reduces the clock because of heat or power: results are those of a throttled device.",
    "Improve the cooling, check the power supply, or raise the power limit if you can.",
    "NVML clocks event reasons",
)


def throttled(facts: Facts) -> Iterable[Finding]:
    """The driver throttles a GPU."""
    for number, gpu in _visible(facts):
        idle_cap = gpu.throttled_by == ("power cap",) and not gpu.busy  # some laptops report it for an idle GPU
        if gpu.throttled_by and not idle_cap:
            clock = f", {gpu.clock_mhz} of {gpu.most_clock_mhz} MHz" if gpu.clock_mhz and gpu.most_clock_mhz else ""
            heat = f", {gpu.celsius} °C" if gpu.celsius is not None else ""
            yield THROTTLED.finding(f"GPU {number}", f"{', '.join(gpu.throttled_by)}{clock}{heat}")


def _visible(facts: Facts) -> list[tuple[int, NvidiaGpu]]:
    """The GPUs that torch may use, by the driver's numbers; all of them if the variable does not list numbers."""
    gpus = list(enumerate(_gpus(facts)))
    numbers = [number.strip() for number in facts.environment.get("CUDA_VISIBLE_DEVICES", "").split(",")]
    if not all(number.isdecimal() for number in numbers):
        return gpus
    return [(number, gpu) for number, gpu in gpus if str(number) in numbers]


IN_USE = Rule(
    "TL128",
    "warning",
    "GPU in use by another process",
    "Another process is using the GPU or its memory: results are lower, and large batches may not fit.",
    "Find the process with nvidia-smi, and end it or wait for it to finish.",
    "NVML utilization, processes and memory, read before torchlap used the device",
)

BUSY_SHARE = 0.1
LITTLE_FREE = 0.5


def in_use(facts: Facts) -> Iterable[Finding]:
    """Another process uses a GPU."""
    for number, gpu in _visible(facts):
        evidence = ", ".join(_use(gpu))
        if evidence:
            yield IN_USE.finding(f"GPU {number}", f"{gpu.model}: {evidence}")


def _use(gpu: NvidiaGpu) -> Iterable[str]:
    if gpu.processes:
        yield "1 process" if gpu.processes == 1 else f"{gpu.processes} processes"
    if gpu.busy is not None and gpu.busy > BUSY_SHARE:
        yield f"{gpu.busy:.0%} busy"
    if gpu.memory_bytes and gpu.free_bytes is not None and gpu.free_bytes < LITTLE_FREE * gpu.memory_bytes:
        yield f"{gpu.free_bytes / 2**30:.1f} of {gpu.memory_bytes / 2**30:.1f} GiB free"
