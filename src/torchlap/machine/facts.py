"""The machine and its torch as a `Facts` value, read without root access; a worker answers for torch."""

import os
import platform
import sys
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

import msgspec
import psutil
from msgspec.structs import replace

from torchlap.machine import installation, nvidia, packages, probes
from torchlap.machine.import_trials import culprit, hidden_by_python_path, hidden_here
from torchlap.machine.privacy import LONGEST, private
from torchlap.machine.probes import ProbeError
from torchlap.schema.base import FailureKind, whole
from torchlap.schema.machine import Facts, ImportFailure, Unread
from torchlap.schema.replies import Description

ENVIRONMENT = (
    "ATEN_CPU_CAPABILITY",
    "CUDA_LAUNCH_BLOCKING",
    "CUDA_VISIBLE_DEVICES",
    "DNNL_DEFAULT_FPMATH_MODE",
    "GOMP_CPU_AFFINITY",
    "HIP_VISIBLE_DEVICES",
    "HSA_OVERRIDE_GFX_VERSION",
    "KMP_AFFINITY",
    "KMP_BLOCKTIME",
    "LD_PRELOAD",
    "MALLOC_ARENA_MAX",
    "MALLOC_MMAP_MAX_",
    "MALLOC_MMAP_THRESHOLD_",
    "MALLOC_TRIM_THRESHOLD_",
    "MKL_CBWR",
    "MKL_NUM_THREADS",
    "NVIDIA_TF32_OVERRIDE",
    "OMP_NUM_THREADS",
    "OMP_WAIT_POLICY",
    "ONEDNN_DEFAULT_FPMATH_MODE",
    "OPENBLAS_NUM_THREADS",
    "PYTORCH_ALLOC_CONF",
    "PYTORCH_CUDA_ALLOC_CONF",
    "PYTORCH_ENABLE_MPS_FALLBACK",
    "PYTORCH_ENABLE_XPU_FALLBACK",
    "PYTORCH_MPS_FAST_MATH",
    "PYTORCH_MPS_HIGH_WATERMARK_RATIO",
    "PYTORCH_MPS_LOW_WATERMARK_RATIO",
    "PYTORCH_MPS_PREFER_METAL",
    "PYTORCH_NO_CUDA_MEMORY_CACHING",
    "ROCR_VISIBLE_DEVICES",
    "TORCHDYNAMO_DISABLE",
    "TORCH_ALLOW_TF32_CUBLAS_OVERRIDE",
    "TORCH_COMPILE_DISABLE",
    "ZE_AFFINITY_MASK",
)
"""Variables that change torch's speed or precision, or which devices it sees."""

LONGEST_VARIABLE = 1000
APPLE_NAMES = (
    "machdep.cpu.brand_string",
    "hw.perflevel0.physicalcpu",
    "kern.hv_vmm_present",
    "sysctl.proc_translated",
)
AMD_DRIVER = Path("/dev/kfd")


def begin() -> Callable[[], Facts]:
    """Start reading the machine; the function that is returned waits for the facts, without those from torch.

    Reading takes a fraction of a second, during which torch can be imported. Finish it before a worker touches a
    device: otherwise the device's users are torchlap's own processes.
    """
    waits = {what: probes.timed(probe) for what, probe in _probes().items()}

    return cache(lambda: _gathered(waits))


def _probes() -> dict[str, Callable[[], Mapping[str, object]]]:
    """The probes, by what they read, in words; each returns fields of `Facts`."""
    mac, linux = sys.platform == "darwin", sys.platform == "linux"
    return {
        "the CPU": _cpu,
        "the memory": _memory,
        "the system's version": probes.os_release,
        "the battery": _battery,
        "the power mode": _power_mode,
        "the installation": _installation,
        **({"the chip": _apple, "the thermal pressure": _heat, "the speed limit": _speed_limit} if mac else {}),
        **({"NVIDIA's driver": _nvidia, "the PCI bus": _adapters} if linux else {}),
    }


def _gathered(waits: Mapping[str, Callable[[], Mapping[str, object]]]) -> Facts:
    fields: dict[str, object] = {
        "cpu": platform.machine(),
        "physical_cores": psutil.cpu_count(logical=False) or psutil.cpu_count() or 1,
        "usable_cores": usable_cores(),
        "memory_bytes": min(psutil.virtual_memory().total, _memory_limit()[0]),
        "system": _system(),
        "architecture": platform.machine(),
        "python": platform.python_version(),
        "environment": {
            name: private(value[:LONGEST_VARIABLE]) for name, value in probes.environment(ENVIRONMENT).items()
        },
        "interpreter": installation.interpreter(),
    }
    unread, power = [], dict[str, Any]()
    for what, wait in waits.items():
        try:
            answer: dict[str, Any] = dict(wait())
            if "power" in answer:  # several probes read a part of it
                answer["power"] = power | answer["power"]
            msgspec.convert(fields | answer, Facts)
        except (ProbeError, msgspec.ValidationError) as error:
            unread.append(Unread(what, private(str(error))))
        else:
            fields |= answer
            power = answer.get("power", power)
    return msgspec.convert(fields | {"unread": tuple(unread)}, Facts)


def with_torch(machine: Facts, description: Description) -> Facts:
    """The machine's facts with a worker's answer about torch."""
    torch = description.torch
    return replace(
        machine,
        devices=description.devices,
        looked_for=description.looked_for,
        torch=replace(torch, warnings=private(torch.warnings)) if torch else None,
    )


def without_torch(machine: Facts, kind: FailureKind, cause: str, output: str) -> Facts:
    """The machine's facts, and why torch cannot be imported; a crash is tried again without each suspect variable."""
    without = culprit() if kind == "crash" else ""
    failure = ImportFailure(kind, private(cause), private(output[-LONGEST:]), without=without)
    hiding = hidden_by_python_path() if without == "PYTHONPATH" else ()
    return replace(machine, import_failure=failure, hiding=tuple(map(private, hiding)))


def with_hidden(machine: Facts) -> Facts:
    """The machine's facts, where torch can be imported, with the files that would prevent it in the working folder."""
    return replace(machine, hiding=tuple(map(private, hidden_here())))


def with_unread(machine: Facts, what: str, why: str) -> Facts:
    """The machine's facts, and that something could not be read."""
    return replace(machine, unread=(*machine.unread, Unread(what, private(why))))


def _cpu() -> dict[str, object]:
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    return {
        "cpu": cpu_name(),
        **({"virtual": probes.is_guest()} if sys.platform == "linux" else {}),
        "logical_cores": psutil.cpu_count(),
        "affinity_cores": _affinity_cores(),
        "cpu_quota": probes.cpu_quota() if sys.platform == "linux" else None,
        "load": load,
        "amd_driver": os.access(AMD_DRIVER, os.R_OK | os.W_OK) if AMD_DRIVER.exists() else None,
    }


def _memory() -> dict[str, object]:
    limit, _ = _memory_limit()
    is_limited = limit < psutil.virtual_memory().total
    return {
        "available_bytes": available_bytes(),
        "memory_limit_bytes": limit if is_limited else None,
        "swap_used_bytes": None if is_limited else psutil.swap_memory().used,  # the host's, not the container's
    }


def _memory_limit() -> tuple[int, int]:
    """Bytes that a container allows, and how many of them are free; both unlimited without a limit."""
    limit = probes.memory_limit() if sys.platform == "linux" else None
    return limit or (sys.maxsize, sys.maxsize)


def available_bytes() -> int:
    """Bytes of memory that this process can still get: of the machine, and of its container's limit."""
    return min(psutil.virtual_memory().available, _memory_limit()[1])


def _battery() -> dict[str, Any]:
    power = probes.battery()
    return {"power": {"on_battery": power.on_battery, "battery_share": power.battery_share}}


def _power_mode() -> dict[str, Any]:
    return {"power": {"power_saving": probes.power_saving()}}


def _heat() -> dict[str, Any]:
    return {"power": {"thermal_pressure": probes.thermal_pressure(probes.output(probes.NOTIFYUTIL))}}


def _speed_limit() -> dict[str, Any]:
    return {"power": {"speed_limit": probes.cpu_speed_limit(probes.output(probes.PMSET_THERM))}}


def _installation() -> dict[str, object]:
    return {
        "packages": installation.versions(),
        "torchvision_needs": installation.torchvision_needs(),
        "torch_build": installation.torch_build(),
        "package_faults": installation.faults(),
        "installer": packages.installer(),
    }


def _apple() -> dict[str, object]:
    return apple_fields(probes.sysctl(*APPLE_NAMES))


def apple_fields(values: Mapping[str, str]) -> dict[str, object]:
    """The chip, from the values of sysctl."""
    return {
        **({"cpu": values["machdep.cpu.brand_string"]} if values.get("machdep.cpu.brand_string") else {}),
        "performance_cores": whole(values.get("hw.perflevel0.physicalcpu")),
        "translated": values.get("sysctl.proc_translated") == "1",
        "virtual": values.get("kern.hv_vmm_present") == "1",
    }


def _nvidia() -> dict[str, object]:
    return {"nvidia": nvidia.ask()}


def _adapters() -> dict[str, object]:
    return {"display_adapters": probes.display_adapters()}


def _system() -> str:
    if sys.platform == "darwin":
        return f"macOS {platform.mac_ver()[0]}"
    return private(f"{platform.system()} {platform.release()}")


@cache
def cpu_name() -> str:
    """The processor's name as its vendor writes it, or its architecture if that cannot be read."""
    if sys.platform == "darwin":
        return _sysctl("machdep.cpu.brand_string") or platform.machine()
    try:
        name = probes.colon_values(Path("/proc/cpuinfo").read_text()).get("model name")
    except OSError:
        name = None
    return name or platform.processor() or platform.machine()


def _sysctl(name: str) -> str:
    try:
        return probes.sysctl(name).get(name, "")
    except ProbeError:
        return ""


def _affinity_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)


def usable_cores() -> int:
    """Logical cores that this process may use, by its affinity and by the container's quota, rounded up."""
    allowed = _affinity_cores()
    quota = probes.cpu_quota() if sys.platform == "linux" else None
    return allowed if quota is None else max(1, min(allowed, -int(-quota // 1)))


def usable_core_numbers() -> list[int]:
    """The numbers of as many of them; empty where a process cannot be confined to cores."""
    numbers = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_setaffinity") else []
    return numbers[: usable_cores()]


def cpu_threads(variables: Mapping[str, str] = MappingProxyType({})) -> tuple[int, str]:
    """The number of threads that suits this CPU best, and why.

    Args:
        variables: of the worker, beside those of this process.
    """
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        value = variables.get(name, os.environ.get(name, ""))
        if value.isdecimal() and int(value) > 0:
            return int(value), f"{name} is set"
    physical = psutil.cpu_count(logical=False) or psutil.cpu_count() or 1
    performance = _sysctl("hw.perflevel0.physicalcpu") if sys.platform == "darwin" else ""
    if performance.isdecimal() and int(performance) > 0:
        return int(performance), "one per performance core"
    usable = usable_cores()
    return (
        (physical, "one per physical core")
        if physical <= usable
        else (usable, "one per core that this process may use")
    )
