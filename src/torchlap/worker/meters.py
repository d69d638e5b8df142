"""The meters that count a device's energy: NVIDIA's driver, Linux's RAPL, or zeus where it is installed."""

import importlib
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from msgspec import Struct

from torchlap.schema.energy import IdlePower
from torchlap.worker import devices
from torchlap.worker.errors import first_line

RAPL = Path("/sys/class/powercap")
MICRO, MILLI = 1e-6, 1e-3
INSTALL_ZEUS = "pip install 'torchlap[energy]'"
ALLOW_RAPL = "sudo chmod a+r /sys/class/powercap/intel-rapl:*/energy_uj"
"""Lasts until the machine starts again. Since CVE-2020-8694 the kernel lets only root read the counter, because it
shows other users' work."""

SETTLE_SECONDS, IDLE_SECONDS = 1.0, 2.0
"""A device lowers its clock within a second of its last work; drivers update their counters ten times a second."""


class NoMeterError(Exception):
    """The device's energy cannot be read; one sentence with its remedy, if there is one."""


class Meter(Struct, frozen=True):
    """A counter of energy: `read` returns joules since some fixed time, `name` is the instrument's."""

    name: str
    read: Callable[[], float]


class Reading(Struct, frozen=True):
    """The meter's joules at a time of `time.perf_counter`."""

    seconds: float
    joules: float


def read(counter: Meter) -> Reading:
    """The meter now."""
    return Reading(time.perf_counter(), counter.read())


def measure_idle(name: str) -> IdlePower:
    """The energy of a device on which torch is loaded and nothing runs; or why it cannot be read."""
    device = devices.select(name)
    try:
        counter = meter(device)
    except NoMeterError as none:
        return IdlePower(device=name, reason=str(none))
    torch.zeros(1, device=device)
    devices.synchronizer(device)()
    time.sleep(SETTLE_SECONDS)
    before = read(counter)
    time.sleep(IDLE_SECONDS)
    after = read(counter)
    joules = max(0.0, after.joules - before.joules)
    return IdlePower(device=name, meter=counter.name, joules=joules, seconds=after.seconds - before.seconds)


def meter(device: torch.device) -> Meter:
    """The counter of a device's energy.

    Raises:
        NoMeterError: where there is none.
    """
    if device.type == "cuda" and torch.version.hip is None:
        return _nvidia(device)
    if device.type == "cuda":
        return _zeus_gpu(device)
    if device.type == "mps":
        return _zeus_apple("gpu_mj")
    if device.type == "cpu":
        return _rapl() if RAPL.is_dir() or _apple_chip() is None else _zeus_apple("cpu_total_mj")
    raise NoMeterError(f"Energy: no supported energy meter for {device.type}.")


def _nvidia(device: torch.device) -> Meter:
    try:
        nvml = importlib.import_module("pynvml")
        nvml.nvmlInit()
        handle = nvml.nvmlDeviceGetHandleByUUID(f"GPU-{torch.cuda.get_device_properties(device).uuid}")
        nvml.nvmlDeviceGetTotalEnergyConsumption(handle)
    except Exception as error:  # noqa: BLE001  NVML has many kinds of errors, and may be missing
        raise NoMeterError(f"Energy: NVIDIA's driver does not report it ({first_line(error)}).") from None
    return Meter("NVIDIA's driver, the whole GPU", lambda: MILLI * nvml.nvmlDeviceGetTotalEnergyConsumption(handle))


def _rapl() -> Meter:
    """The CPU's packages (https://docs.kernel.org/power/powercap/powercap.html)."""
    try:
        zones = [path for path in sorted(RAPL.glob("intel-rapl:*")) if path.name.count(":") == 1]
        packages = [path for path in zones if (path / "name").read_text().startswith("package")]  # not the platform
        readers = [_package(path) for path in packages]
    except PermissionError:
        raise NoMeterError(f"Energy: only root may read the CPU's energy counter (RAPL): {ALLOW_RAPL}.") from None
    except (OSError, ValueError) as error:
        raise NoMeterError(
            f"Energy: the CPU's energy counter (RAPL) cannot be read ({first_line(error)}): check {RAPL}."
        ) from None
    if not readers:
        raise NoMeterError("Energy: this machine exposes no energy counter for the CPU (RAPL).")
    return Meter("RAPL, the CPU's packages", lambda: sum(read() for read in readers))


def _package(path: Path) -> Callable[[], float]:
    """A function that returns the joules of one package; its counter wraps around at its range."""
    counter, span = path / "energy_uj", int((path / "max_energy_range_uj").read_text())
    last, total = int(counter.read_text()), 0

    def read() -> float:
        nonlocal last, total
        now = int(counter.read_text())
        total += (now - last) % (span + 1)
        last = now
        return MICRO * total

    return read


def _zeus_gpu(device: torch.device) -> Meter:
    """An AMD GPU (https://ml.energy/zeus)."""
    index = device.index or 0
    try:
        gpus = importlib.import_module("zeus.device").get_gpus()
        gpus.get_total_energy_consumption(index)
    except Exception as error:  # noqa: BLE001  zeus is not installed, or does not support this machine
        raise NoMeterError(
            f"Energy: reading it on an AMD GPU needs zeus ({first_line(error)}): {INSTALL_ZEUS}."
        ) from None
    return Meter("zeus", lambda: MILLI * gpus.get_total_energy_consumption(index))


def _zeus_apple(part: str) -> Meter:
    """The GPU or the CPU part of an Apple chip (https://ml.energy/zeus)."""
    chip = _apple_chip()
    if chip is None or getattr(chip.get_total_energy_consumption(), part, None) is None:
        raise NoMeterError(f"Energy: reading it on an Apple chip needs zeus: {INSTALL_ZEUS}.")
    return Meter(
        f"zeus, {part.removesuffix('_mj')}", lambda: MILLI * getattr(chip.get_total_energy_consumption(), part)
    )


def _apple_chip() -> Any:
    """Zeus's view of an Apple chip; None where zeus or the chip is missing."""
    try:
        chip = importlib.import_module("zeus.device.soc").get_soc()
        chip.get_total_energy_consumption()
    except Exception:  # noqa: BLE001  zeus is not installed, or this is not such a machine
        return None
    return chip
