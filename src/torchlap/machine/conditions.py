"""What else this machine is doing during a measurement: read by the judge, without root access, never during a lap."""

import os
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from types import ModuleType
from typing import Any

import psutil
from msgspec import Struct

from torchlap.machine.nvidia import throttled_by
from torchlap.machine.probes import ProbeError, battery, power_saving
from torchlap.schema.events import Conditions, GpuConditions
from torchlap.schema.machine import DeviceFacts

SHORTEST_SECONDS = 0.5
"""Processor times are counted in hundredths of a second: over a shorter time they mean nothing."""


class _Moment(Struct, frozen=True):
    """A reading of counters."""

    at_seconds: float
    busy_seconds: float
    our_seconds: float
    swap_bytes: int


class GpuUsers:
    """Whose processes are on the GPUs: our own of earlier groups, which the driver lists for a while, or others'."""

    def __init__(self) -> None:
        self._ours: set[int] = set()
        self._others: set[int] = set()

    def count_others(self, processes: Sequence[int]) -> int:
        """How many of the processes listed before our workers started belong to others."""
        self._others.update(set(processes) - self._ours)
        return sum(process in self._others for process in processes)

    def note(self, processes: Sequence[int]) -> None:
        """Count processes that appear while our workers are alive as ours, except those that were there before."""
        self._ours.update(set(processes) - self._others)


class Watch:
    """Watches one group, however often it is visited: `begin` before its rounds, `glance` between them, `end`.

    It is created before the group's first visit: a GPU's users and work until then are others', or of earlier groups.
    """

    def __init__(
        self,
        devices: Sequence[DeviceFacts],
        users: GpuUsers,
        *,
        first: bool,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clock = clock
        self._users = users
        self._nvml = _nvml(devices)
        self._gpus = [self._before(device.name, first=first) for device in devices if device.kind == "cuda"]
        self._throttled: dict[str, set[str]] = {}
        self._begun: _Moment | None = None
        self._seconds = 0.0
        self._others_seconds = 0.0
        self._swap_grown_bytes = 0

    def begin(self) -> None:
        """The rounds begin."""
        self._begun = self._read()

    def glance(self) -> None:
        """Read the GPUs' clocks, just after a round."""
        for gpu in self._gpus:
            reasons = self._ask(gpu.device, "nvmlDeviceGetCurrentClocksEventReasons") or 0
            self._throttled.setdefault(gpu.device, set()).update(throttled_by(reasons))

    def end(self, group: int) -> Conditions:
        """The rounds are over, and their workers still alive: the conditions of every visit up to now."""
        now, begun = self._read(), self._begun or self._read()
        for gpu in self._gpus:
            self._users.note(self._processes(gpu.device))
        self._seconds += max(0.0, now.at_seconds - begun.at_seconds)
        self._others_seconds += (now.busy_seconds - begun.busy_seconds) - (now.our_seconds - begun.our_seconds)
        self._swap_grown_bytes += now.swap_bytes - begun.swap_bytes
        share = self._others_seconds / max(self._seconds * (psutil.cpu_count() or 1), SHORTEST_SECONDS)
        return Conditions(
            group=group,
            seconds=self._seconds,
            others_cpu_share=min(1.0, max(0.0, share)) if self._seconds >= SHORTEST_SECONDS else None,
            swap_grown_bytes=self._swap_grown_bytes,
            on_battery=battery().on_battery,
            power_saving=_power_saving(),
            gpus=tuple(
                GpuConditions(
                    device=gpu.device,
                    busy_before=gpu.busy_before,
                    processes_before=gpu.processes_before,
                    throttled_by=tuple(sorted(self._throttled.get(gpu.device, ()))),
                )
                for gpu in self._gpus
            ),
        )

    def _read(self) -> _Moment:
        times = psutil.cpu_times()
        busy = sum(getattr(times, name, 0.0) for name in ("user", "nice", "system", "irq", "softirq", "steal"))
        return _Moment(self._clock(), busy, _our_seconds(), psutil.swap_memory().used)

    def _before(self, device: str, *, first: bool) -> GpuConditions:
        """Who uses a GPU while we do not. How busy it is counts only at first: the driver remembers our own work."""
        rates = self._ask(device, "nvmlDeviceGetUtilizationRates") if first else None
        busy = None if rates is None else min(1.0, rates.gpu / 100)
        others = self._users.count_others(self._processes(device))
        return GpuConditions(device=device, busy_before=busy, processes_before=others)

    def _processes(self, device: str) -> list[int]:
        return [process.pid for process in self._ask(device, "nvmlDeviceGetComputeRunningProcesses") or ()]

    def _ask(self, device: str, function: str) -> Any:  # noqa: ANN401  NVML's answers have many types
        """NVML's answer about a device, or None if it has none."""
        if self._nvml is None:
            return None
        with suppress(self._nvml.NVMLError, ValueError, IndexError, AttributeError):
            return getattr(self._nvml, function)(self._nvml.nvmlDeviceGetHandleByIndex(_physical_index(device)))
        return None


def _nvml(devices: Sequence[DeviceFacts]) -> ModuleType | None:
    """NVML, if there is a CUDA device and NVIDIA's driver."""
    if all(device.kind != "cuda" for device in devices):
        return None
    try:
        import pynvml  # noqa: PLC0415  installed on Linux only
    except ImportError:
        return None
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return None
    nvml: ModuleType = pynvml
    return nvml


def _physical_index(device: str) -> int:
    """The driver's number of torch's device, which CUDA_VISIBLE_DEVICES can change."""
    index = int(device.partition(":")[2] or 0)
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    return int(visible.split(",")[index]) if visible else index


def _our_seconds() -> float:
    """Processor seconds of this process and of everything that it started and that is still alive."""
    me = psutil.Process()
    total = 0.0
    for process in [me, *me.children(recursive=True)]:
        with suppress(psutil.Error):
            times = process.cpu_times()
            total += times.user + times.system
    return total


def _power_saving() -> bool | None:
    with suppress(ProbeError):
        return power_saving()
    return None
