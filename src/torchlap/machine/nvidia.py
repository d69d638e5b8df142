"""What NVIDIA's driver reports through NVML, read in a process of its own, because a broken driver can hang.

python -m torchlap.machine.nvidia    one line of JSON: a `torchlap.schema.machine.Nvidia`
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import msgspec

from torchlap.machine.probes import ProbeError, output
from torchlap.schema.machine import Nvidia, NvidiaGpu

THROTTLED = {
    0x04: "power cap",
    0x08: "hardware slowdown",
    0x20: "software thermal limit",
    0x40: "hardware thermal limit",
    0x80: "power brake",
}
"""NVML's clock event reasons that slow a busy GPU down (nvml.h); idle clocks and chosen clocks are not among them."""

SIGNS = (Path("/dev/nvidiactl"), Path("/usr/lib/wsl/lib/libnvidia-ml.so.1"))
"""Where one of these exists, there is a driver; /proc/driver/nvidia also exists in containers without a GPU."""

ANSWER_SECONDS = 8.0
"""Without persistence mode the driver wakes each GPU first, which takes seconds."""

MOST_GPUS = 64


def throttled_by(reasons: int) -> tuple[str, ...]:
    """The reasons for which a GPU is throttled, in words."""
    return tuple(sorted(word for bit, word in THROTTLED.items() if reasons & bit))


def ask(signs: Sequence[Path] = SIGNS) -> Nvidia | None:
    """The driver's answer; None without a driver.

    Raises:
        ProbeError: when there is a driver that does not answer.
    """
    if not any(sign.exists() for sign in signs):
        return None
    printed = output([sys.executable, "-P", "-m", "torchlap.machine.nvidia"], seconds=ANSWER_SECONDS)
    try:
        return msgspec.json.decode(printed, type=Nvidia)
    except msgspec.DecodeError:
        raise ProbeError(printed.strip()[:300] or "the driver's library printed nothing") from None


def read(nvml: ModuleType) -> Nvidia:
    """Everything that is read from NVML, in this process; what a GPU does not report is left out."""
    nvml.nvmlInit()
    cuda = _tried(nvml, nvml.nvmlSystemGetCudaDriverVersion_v2) or 0
    count = min(MOST_GPUS, nvml.nvmlDeviceGetCount())
    return Nvidia(
        driver=str(_tried(nvml, nvml.nvmlSystemGetDriverVersion) or ""),
        cuda=f"{cuda // 1000}.{cuda % 1000 // 10}" if cuda else "",
        gpus=tuple(_gpu(nvml, nvml.nvmlDeviceGetHandleByIndex(index)) for index in range(count)),
    )


def _gpu(nvml: ModuleType, handle: Any) -> NvidiaGpu:  # noqa: ANN401  NVML's own handle
    memory = _tried(nvml, nvml.nvmlDeviceGetMemoryInfo, handle)
    rates = _tried(nvml, nvml.nvmlDeviceGetUtilizationRates, handle)
    capability = _tried(nvml, nvml.nvmlDeviceGetCudaComputeCapability, handle) or ()
    processes = _tried(nvml, nvml.nvmlDeviceGetComputeRunningProcesses, handle) or ()
    return NvidiaGpu(
        model=str(_tried(nvml, nvml.nvmlDeviceGetName, handle) or "NVIDIA GPU"),
        capability=".".join(map(str, capability)),
        memory_bytes=memory.total if memory else None,
        free_bytes=memory.free if memory else None,
        clock_mhz=_tried(nvml, nvml.nvmlDeviceGetClockInfo, handle, nvml.NVML_CLOCK_SM),
        most_clock_mhz=_tried(nvml, nvml.nvmlDeviceGetMaxClockInfo, handle, nvml.NVML_CLOCK_SM),
        celsius=_tried(nvml, nvml.nvmlDeviceGetTemperature, handle, nvml.NVML_TEMPERATURE_GPU),
        busy=min(1.0, rates.gpu / 100) if rates else None,
        processes=len(processes),
        throttled_by=throttled_by(_tried(nvml, nvml.nvmlDeviceGetCurrentClocksEventReasons, handle) or 0),
    )


def _tried(nvml: ModuleType, function: Any, *words: Any) -> Any:  # noqa: ANN401  NVML's answers have many types
    """NVML's answer, or None if this GPU or driver has none."""
    try:
        return function(*words)
    except nvml.NVMLError:
        return None


def main() -> None:
    """Print the driver's answer, or why there is none."""
    import pynvml  # noqa: PLC0415  only in this process: the judge itself does not load the driver's library

    try:
        answer = msgspec.json.encode(read(pynvml)).decode()
    except pynvml.NVMLError as error:
        answer = f"NVML: {error}"
    sys.stdout.write(answer + "\n")


if __name__ == "__main__":
    main()
