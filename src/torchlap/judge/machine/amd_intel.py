"""GPUs of AMD (ROCm, which torch calls cuda) and Intel (XPU)."""

from collections.abc import Iterable

from torchlap.judge.findings import Finding, Rule
from torchlap.judge.machine.nvidia import HIDDEN
from torchlap.schema.commands import command
from torchlap.schema.machine import Facts

AMD_VARIABLES = ("HIP_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES", "CUDA_VISIBLE_DEVICES")
INTEL_VARIABLES = ("ZE_AFFINITY_MASK",)
XPU_INDEX = "https://download.pytorch.org/whl/xpu"


def amd_hidden(facts: Facts) -> Iterable[Finding]:
    """A variable hides the GPU from a torch that is built for ROCm."""
    if facts.torch_build and facts.torch_build.hip and facts.torch and not facts.torch.cuda_available:
        yield from _hidden(facts, "cuda", AMD_VARIABLES)


def intel_hidden(facts: Facts) -> Iterable[Finding]:
    """A variable hides the GPU from a torch that is built for XPU."""
    if facts.torch and facts.torch.xpu_built and not facts.torch.xpu_available:
        yield from _hidden(facts, "xpu", INTEL_VARIABLES)


def _hidden(facts: Facts, device: str, names: Iterable[str]) -> Iterable[Finding]:
    for name in names:
        if name in facts.environment:
            evidence = f"{name}={facts.environment[name]!r}, torch {facts.packages.get('torch')}"
            yield HIDDEN.finding(device, evidence, command=f"unset {name}")


AMD_WHEEL = Rule(
    "TL130",
    "note",
    "torch is not built for the AMD GPU",
    "This torch is built without ROCm, so the GPU stays idle.",
    "If ROCm supports the GPU, install a ROCm build of torch: https://pytorch.org/get-started/locally has the command.",
    "PCI vendor 1002, and torch.version.hip is None",
)


def amd_wheel(facts: Facts) -> Iterable[Finding]:
    """An AMD GPU, a torch without ROCm, and no other accelerator."""
    build = facts.torch_build
    if "AMD" in facts.display_adapters and build and not build.hip and not _accelerated(facts):
        evidence = f"an AMD GPU on the PCI bus, torch {facts.packages.get('torch')} without ROCm"
        yield AMD_WHEEL.finding("cuda", evidence)


def _accelerated(facts: Facts) -> bool:
    return any(device.kind != "cpu" for device in facts.devices)


AMD_UNAVAILABLE = Rule(
    "TL131",
    "error",
    "ROCm is built in, but not available",
    "Torch is built for ROCm but finds no GPU: the kernel driver is not loaded, or this user cannot access /dev/kfd.",
    "Load the driver (modprobe amdgpu), allow this user to use the GPU, and log in again. In a container, pass "
    "/dev/kfd and /dev/dri through.",
    "https://rocm.docs.amd.com, prerequisites, group permissions",
)

DRIVER_STATES = {
    None: "/dev/kfd is missing",
    False: "this user cannot access /dev/kfd",
    True: "/dev/kfd is accessible",
}
"""By `Facts.amd_driver`."""


def amd_unavailable(facts: Facts) -> Iterable[Finding]:
    """A torch for ROCm that finds no GPU."""
    build = facts.torch_build
    has_gpu = "AMD" in facts.display_adapters or facts.amd_driver is not None
    if not (build and build.hip and facts.torch and has_gpu) or facts.torch.cuda_available:
        return
    state = DRIVER_STATES[facts.amd_driver]
    evidence = f"torch {facts.packages.get('torch')} for ROCm {build.hip}; {state}"
    join_groups = "sudo usermod -a -G render,video $USER" if facts.amd_driver is False else ""
    yield AMD_UNAVAILABLE.finding("cuda", evidence, command=join_groups)


INTEL_UNAVAILABLE = Rule(
    "TL132",
    "error",
    "XPU is built in, but not available",
    "Torch is built for Intel GPUs but finds none: Intel's compute runtime is not installed, or this user cannot "
    "access /dev/dri.",
    "Install Intel's GPU driver with Level Zero, and add this user to the group render.",
    "https://docs.pytorch.org/docs/stable/notes/get_start_xpu.html",
)


def intel_unavailable(facts: Facts) -> Iterable[Finding]:
    """A torch for XPU that finds no GPU."""
    has_gpu = "Intel" in facts.display_adapters
    if has_gpu and facts.torch and facts.torch.xpu_built and not facts.torch.xpu_available:
        evidence = f"torch {facts.packages.get('torch')} for XPU; an Intel GPU on the PCI bus"
        yield INTEL_UNAVAILABLE.finding("xpu", evidence)


INTEL_WHEEL = Rule(
    "TL133",
    "note",
    "torch is not built for the Intel GPU",
    "This torch is built without XPU, so the GPU stays idle. A small GPU integrated into a processor is not worth the "
    "effort.",
    "For an Arc or a data center GPU, install an XPU build of torch.",
    "PCI vendor 8086, and this torch is built without XPU",
)


def intel_wheel(facts: Facts) -> Iterable[Finding]:
    """An Intel GPU, a torch without XPU, and no other accelerator."""
    if "Intel" in facts.display_adapters and facts.torch and not facts.torch.xpu_built and not _accelerated(facts):
        upgrade = command(facts.installer, facts.interpreter, "upgrade", index=XPU_INDEX)
        evidence = "an Intel GPU on the PCI bus, and a torch without XPU"
        yield INTEL_WHEEL.finding("xpu", evidence, command=upgrade)
