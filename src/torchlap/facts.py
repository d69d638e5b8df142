"""What machine and what torch: a Facts value, read without rights; the torch part is asked of a worker."""

import os
import platform
import sys
from functools import cache
from importlib import metadata
from pathlib import Path
from subprocess import SubprocessError, run

import psutil
from packaging.requirements import Requirement
from packaging.version import Version

from torchlap.errors import InstallError
from torchlap.protocol import Description
from torchlap.records import Facts

PACKAGES = ("torch", "torchvision", "numpy", "triton")
ENVIRONMENT = (
    "CUDA_LAUNCH_BLOCKING",
    "CUDA_VISIBLE_DEVICES",
    "GOMP_CPU_AFFINITY",
    "KMP_AFFINITY",
    "KMP_BLOCKTIME",
    "LD_PRELOAD",
    "MALLOC_ARENA_MAX",
    "MALLOC_MMAP_MAX_",
    "MALLOC_MMAP_THRESHOLD_",
    "MALLOC_TRIM_THRESHOLD_",
    "MKL_NUM_THREADS",
    "NVIDIA_TF32_OVERRIDE",
    "OMP_NUM_THREADS",
    "OMP_WAIT_POLICY",
    "OPENBLAS_NUM_THREADS",
    "PYTORCH_ALLOC_CONF",
    "PYTORCH_CUDA_ALLOC_CONF",
    "PYTORCH_ENABLE_MPS_FALLBACK",
    "PYTORCH_MPS_FAST_MATH",
    "PYTORCH_MPS_HIGH_WATERMARK_RATIO",
    "PYTORCH_MPS_LOW_WATERMARK_RATIO",
    "PYTORCH_MPS_PREFER_METAL",
    "TORCH_ALLOW_TF32_CUBLAS_OVERRIDE",
)
"""Variables that change how fast or how exactly torch computes."""

REINSTALL = f"{sys.executable} -m pip install --upgrade --force-reinstall torch torchvision"


def check_installation() -> None:
    """Make sure, from the packages' own metadata and before any import, that torch and torchvision fit each other.

    Raises:
        InstallError: when one is missing, or they come from different builds.
    """
    versions = _versions(("torch", "torchvision"))
    missing = [name for name in ("torch", "torchvision") if name not in versions]
    if missing:
        raise InstallError(f"{' and '.join(missing)} not installed: {sys.executable} -m pip install torch torchvision.")
    torch, torchvision = versions["torch"], versions["torchvision"]
    wanted = [Requirement(line) for line in metadata.requires("torchvision") or ()]
    wants = next((one for one in wanted if one.name == "torch"), None)
    if wants and not wants.specifier.contains(torch, prereleases=True):
        raise InstallError(
            f"torchvision {torchvision} needs torch{wants.specifier}, but torch {torch} is here: {REINSTALL}."
        )
    builds = Version(torch).local, Version(torchvision).local
    if all(builds) and builds[0] != builds[1]:
        raise InstallError(f"torch {torch} and torchvision {torchvision} come from different builds: {REINSTALL}.")


def _versions(packages: tuple[str, ...]) -> dict[str, str]:
    found = {}
    for name in packages:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def gather(description: Description) -> Facts:
    """The facts of this machine; `description` is a worker's answer about torch."""
    return Facts(
        cpu=cpu_name(),
        physical_cores=psutil.cpu_count(logical=False) or psutil.cpu_count() or 1,
        usable_cores=usable_cores(),
        memory_bytes=psutil.virtual_memory().total,
        system=_system(),
        architecture=platform.machine(),
        python=platform.python_version(),
        packages=_versions(PACKAGES),
        environment={name: _printable(os.environ[name]) for name in ENVIRONMENT if name in os.environ},
        devices=description.devices,
        looked_for=description.looked_for,
    )


def _printable(text: str) -> str:
    """Text of bounded length, without what no encoding has."""
    return text[:1000].encode(errors="replace").decode()


def _system() -> str:
    if sys.platform == "darwin":
        return f"macOS {platform.mac_ver()[0]}"
    return f"{platform.system()} {platform.release()}"


@cache
def cpu_name() -> str:
    """The processor's name as its maker writes it, or its architecture where none can be read."""
    if sys.platform == "darwin":
        return _sysctl("machdep.cpu.brand_string") or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _sysctl(name: str) -> str:
    try:
        return run(
            ["/usr/sbin/sysctl", "-n", name], capture_output=True, text=True, timeout=2, check=True
        ).stdout.strip()
    except (OSError, SubprocessError):
        return ""


def usable_cores() -> int:
    """Logical cores that this process may use: by affinity, and by the container's quota, rounded up."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)
    quota = _cpu_quota()
    return allowed if quota is None else max(1, min(allowed, -int(-quota // 1)))


def _cpu_quota() -> float | None:
    try:
        limit, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()[:2]
    except (OSError, ValueError):
        return None
    return None if limit == "max" else int(limit) / int(period)


def cpu_threads() -> tuple[int, str]:
    """How many threads give the CPU its fair chance, and why."""
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        if os.environ.get(name, "").isdecimal() and int(os.environ[name]) > 0:
            return int(os.environ[name]), f"{name} is set"
    physical = psutil.cpu_count(logical=False) or psutil.cpu_count() or 1
    performance = _sysctl("hw.perflevel0.physicalcpu") if sys.platform == "darwin" else ""
    if performance.isdecimal() and int(performance) > 0:
        return int(performance), "its performance cores"
    usable = usable_cores()
    return (physical, "its physical cores") if physical <= usable else (usable, "the cores that this process may use")


def machine_line(facts: Facts) -> str:
    """The machine in one line, for people."""
    packages = " ".join(f"{name} {facts.packages[name]}" for name in ("torch", "torchvision") if name in facts.packages)
    accelerators = [f"{device.name} {device.model}".strip() for device in facts.devices if device.kind != "cpu"]
    cores = f"{facts.physical_cores} cores"
    if facts.usable_cores < facts.physical_cores:
        cores += f" ({facts.usable_cores} usable)"
    memory = f"{facts.memory_bytes / 2**30:.0f} GiB"
    parts = [facts.cpu, cores, memory, ", ".join(accelerators) or "no accelerator", facts.system]
    return " · ".join(part for part in [*parts, f"Python {facts.python}", packages] if part)


def difference(ours: Facts, theirs: Facts) -> str:
    """What makes figures of two machines incomparable, in words; empty when nothing does."""
    mine, its = _identity(ours), _identity(theirs)
    return "; ".join(f"{name} {its[name]} there, {mine[name]} here" for name in mine if mine[name] != its[name])


def _identity(facts: Facts) -> dict[str, str]:
    devices = ", ".join(f"{device.name} {device.model}" for device in facts.devices)
    packages = {name: facts.packages.get(name, "none") for name in ("torch", "torchvision")}
    return {"CPU": facts.cpu, "devices": devices, "cores": str(facts.usable_cores), **packages}
