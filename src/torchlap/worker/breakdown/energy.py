"""Who can tell how much energy a device took: NVIDIA's driver, Linux's RAPL, or zeus where it is installed."""

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from msgspec import Struct

RAPL = Path("/sys/class/powercap")
MICRO, MILLI = 1e-6, 1e-3
ZEUS = "pip install 'torchlap[energy]' brings zeus, which may read it"


class NoMeterError(Exception):
    """Nobody here can tell; one sentence."""


class Meter(Struct, frozen=True):
    """A counter of energy: `read` gives joules since some time ago, `name` says whose it is."""

    name: str
    read: Callable[[], float]


def meter(device: torch.device) -> Meter:
    """The counter of a device's energy.

    Raises:
        NoMeterError: where there is none.
    """
    if device.type == "cuda" and torch.version.hip is None:
        return _nvidia(device)
    if device.type in ("cuda", "mps"):
        return _zeus(device)
    if device.type == "cpu":
        return _zeus(device) if not RAPL.is_dir() and _soc() is not None else _rapl()
    raise NoMeterError(f"Energy: nobody is known who reads it on {device.type}.")


def _nvidia(device: torch.device) -> Meter:
    try:
        nvml = importlib.import_module("pynvml")
        nvml.nvmlInit()
        handle = nvml.nvmlDeviceGetHandleByUUID(f"GPU-{torch.cuda.get_device_properties(device).uuid}")
        nvml.nvmlDeviceGetTotalEnergyConsumption(handle)
    except Exception as error:  # noqa: BLE001  the driver's errors are of many kinds
        raise NoMeterError(f"Energy: NVIDIA's driver does not tell it ({error}).") from None
    return Meter("NVIDIA's driver, the whole GPU", lambda: MILLI * nvml.nvmlDeviceGetTotalEnergyConsumption(handle))


def _rapl() -> Meter:
    """The CPU's packages (https://docs.kernel.org/power/powercap/powercap.html)."""
    try:
        zones = [path for path in sorted(RAPL.glob("intel-rapl:*")) if path.name.count(":") == 1]
        packages = [path for path in zones if (path / "name").read_text().startswith("package")]  # not the platform
        readers = [_package(path) for path in packages]
    except (OSError, ValueError):
        raise NoMeterError("Energy: the CPU's counter (RAPL) may be read by the administrator alone.") from None
    if not readers:
        raise NoMeterError("Energy: this machine has no counter of the CPU's energy that it shows (RAPL).")
    return Meter("RAPL, the CPU's packages", lambda: sum(read() for read in readers))


def _package(path: Path) -> Callable[[], float]:
    """Joules of one package; its counter begins again at its range."""
    counter, span = path / "energy_uj", int((path / "max_energy_range_uj").read_text())
    last, total = int(counter.read_text()), 0

    def read() -> float:
        nonlocal last, total
        now = int(counter.read_text())
        total += (now - last) % (span + 1)
        last = now
        return MICRO * total

    return read


def _soc() -> Any:
    """What zeus knows of an Apple chip; None without it."""
    try:
        soc = importlib.import_module("zeus.device.soc").get_soc()
        soc.get_total_energy_consumption()
    except Exception:  # noqa: BLE001  not installed, or not such a machine
        return None
    return soc


def _zeus(device: torch.device) -> Meter:
    """An AMD GPU, or the GPU or CPU part of an Apple chip (https://ml.energy/zeus)."""
    if device.type == "cuda":
        try:
            gpus = importlib.import_module("zeus.device").get_gpus()
            gpus.get_total_energy_consumption(device.index or 0)
        except Exception as error:  # noqa: BLE001  not installed, or not such a machine
            raise NoMeterError(f"Energy: {ZEUS} ({error}).") from None
        return Meter("zeus", lambda: MILLI * gpus.get_total_energy_consumption(device.index or 0))
    soc, part = _soc(), "gpu_mj" if device.type == "mps" else "cpu_total_mj"
    if soc is None or getattr(soc.get_total_energy_consumption(), part, None) is None:
        raise NoMeterError(f"Energy: {ZEUS}.")
    return Meter(f"zeus, {part.removesuffix('_mj')}", lambda: MILLI * getattr(soc.get_total_energy_consumption(), part))
