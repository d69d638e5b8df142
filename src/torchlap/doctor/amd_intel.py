"""GPUs of AMD (ROCm, which torch calls cuda) and Intel (XPU)."""

from collections.abc import Iterable

from torchlap.findings import Finding, Rule, found
from torchlap.records import Facts

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


def _accelerated(facts: Facts) -> bool:
    return any(device.kind != "cpu" for device in facts.devices)


def amd_wheel(facts: Facts) -> Iterable[Finding]:
    """An AMD GPU, and a torch without ROCm; nothing else is in use."""
    build = facts.torch_build
    if "AMD" in facts.display_adapters and build and not build.hip and not _accelerated(facts):
        yield found(AMD_WHEEL, "cuda", f"an AMD GPU on the PCI bus, torch {facts.packages.get('torch')} without ROCm")


def amd_unavailable(facts: Facts) -> Iterable[Finding]:
    """A torch for ROCm that finds no GPU."""
    build = facts.torch_build
    if not (build and build.hip and facts.torch) or facts.torch.cuda_available:
        return
    driver = {None: "there is no /dev/kfd", False: "this user may not use /dev/kfd", True: "/dev/kfd can be used"}
    evidence = f"torch {facts.packages.get('torch')} for ROCm {build.hip}; {driver[facts.amd_driver]}"
    command = "sudo usermod -a -G render,video $USER" if facts.amd_driver is False else ""
    yield found(AMD_UNAVAILABLE, "cuda", evidence, command=command)


def intel_unavailable(facts: Facts) -> Iterable[Finding]:
    """A torch for XPU that finds no GPU."""
    if facts.torch and facts.torch.xpu_built and not facts.torch.xpu_available:
        seen = "an Intel GPU on the PCI bus" if "Intel" in facts.display_adapters else "no Intel GPU on the PCI bus"
        yield found(INTEL_UNAVAILABLE, "xpu", f"torch {facts.packages.get('torch')} for XPU; {seen}")


def intel_wheel(facts: Facts) -> Iterable[Finding]:
    """An Intel GPU, and a torch without XPU; nothing else is in use."""
    if "Intel" in facts.display_adapters and facts.torch and not facts.torch.xpu_built and not _accelerated(facts):
        command = f"{facts.interpreter} -m pip install --upgrade torch torchvision --index-url {XPU_INDEX}"
        yield found(INTEL_WHEEL, "xpu", "an Intel GPU on the PCI bus, and a torch without XPU", command=command)


XPU_INDEX = "https://download.pytorch.org/whl/xpu"
