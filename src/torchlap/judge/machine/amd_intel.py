"""GPUs of AMD (ROCm, which torch calls cuda) and Intel (XPU)."""

from collections.abc import Iterable

from torchlap.judge.findings import Finding, Rule, found
from torchlap.judge.machine.nvidia import HIDDEN
from torchlap.schema.machine import Facts

AMD_WHEEL = Rule(
    "TL130",
    "note",
    "an AMD GPU that this torch is not built for",
    "This torch has no ROCm, so the GPU stays idle.",
    "If ROCm supports the GPU, install a torch for ROCm, by the selector at https://pytorch.org/get-started/locally.",
    "PCI vendor 1002, and torch.version.hip is None",
)
AMD_UNAVAILABLE = Rule(
    "TL131",
    "error",
    "ROCm is built in, but not available",
    "Torch is built for ROCm, and finds no GPU: the kernel's driver is not loaded, or this user may not use /dev/kfd.",
    "Load the driver (modprobe amdgpu), and let this user use the GPU; then log in again. In a container, hand in "
    "/dev/kfd and /dev/dri.",
    "https://rocm.docs.amd.com, prerequisites, group permissions",
)
INTEL_UNAVAILABLE = Rule(
    "TL132",
    "error",
    "XPU is built in, but not available",
    "Torch is built for Intel's GPUs, and finds none: Intel's compute runtime is not installed, or this user may not "
    "use /dev/dri.",
    "Install Intel's GPU driver with Level Zero, and add this user to the group render.",
    "https://docs.pytorch.org/docs/stable/notes/get_start_xpu.html",
)
INTEL_WHEEL = Rule(
    "TL133",
    "note",
    "an Intel GPU that this torch is not built for",
    "This torch has no XPU, so the GPU stays idle; the small ones inside processors are not worth more.",
    "For an Arc or a data centre GPU, install a torch for XPU.",
    "PCI vendor 8086, and this torch is built without XPU",
)


AMD_VARIABLES = ("HIP_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES", "CUDA_VISIBLE_DEVICES")
INTEL_VARIABLES = ("ZE_AFFINITY_MASK",)


def _accelerated(facts: Facts) -> bool:
    return any(device.kind != "cpu" for device in facts.devices)


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
            yield found(HIDDEN, device, evidence, command=f"unset {name}")


def amd_wheel(facts: Facts) -> Iterable[Finding]:
    """An AMD GPU, and a torch without ROCm; nothing else is in use."""
    build = facts.torch_build
    if "AMD" in facts.display_adapters and build and not build.hip and not _accelerated(facts):
        yield found(AMD_WHEEL, "cuda", f"an AMD GPU on the PCI bus, torch {facts.packages.get('torch')} without ROCm")


def amd_unavailable(facts: Facts) -> Iterable[Finding]:
    """A torch for ROCm that finds no GPU."""
    build = facts.torch_build
    there = "AMD" in facts.display_adapters or facts.amd_driver is not None
    if not (build and build.hip and facts.torch and there) or facts.torch.cuda_available:
        return
    driver = {None: "there is no /dev/kfd", False: "this user may not use /dev/kfd", True: "/dev/kfd can be used"}
    evidence = f"torch {facts.packages.get('torch')} for ROCm {build.hip}; {driver[facts.amd_driver]}"
    command = "sudo usermod -a -G render,video $USER" if facts.amd_driver is False else ""
    yield found(AMD_UNAVAILABLE, "cuda", evidence, command=command)


def intel_unavailable(facts: Facts) -> Iterable[Finding]:
    """A torch for XPU that finds no GPU."""
    there = "Intel" in facts.display_adapters
    if there and facts.torch and facts.torch.xpu_built and not facts.torch.xpu_available:
        evidence = f"torch {facts.packages.get('torch')} for XPU; an Intel GPU on the PCI bus"
        yield found(INTEL_UNAVAILABLE, "xpu", evidence)


def intel_wheel(facts: Facts) -> Iterable[Finding]:
    """An Intel GPU, and a torch without XPU; nothing else is in use."""
    if "Intel" in facts.display_adapters and facts.torch and not facts.torch.xpu_built and not _accelerated(facts):
        command = f"{facts.interpreter} -m pip install --upgrade torch torchvision --index-url {XPU_INDEX}"
        yield found(INTEL_WHEEL, "xpu", "an Intel GPU on the PCI bus, and a torch without XPU", command=command)


XPU_INDEX = "https://download.pytorch.org/whl/xpu"
