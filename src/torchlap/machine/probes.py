"""Ask the system through its commands, files and drivers, without root access, each within its own time limit.

A probe raises `ProbeError` where it has no answer. Pure functions parse what commands print, and survive any text. The
output of macOS's commands is parsed as manual pages and published transcripts show it; nothing ran on a Mac yet.
"""

import os
import platform
import queue
import re
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from subprocess import DEVNULL, SubprocessError, TimeoutExpired, run
from typing import TypeVar

import psutil

from torchlap.schema.base import Share
from torchlap.schema.machine import Power

COMMAND_SECONDS = 3.0
PROBE_SECONDS = 10.0
LONGEST_OUTPUT = 100_000

POWER_PROFILE = Path("/sys/firmware/acpi/platform_profile")
DISPLAY_CLASSES = ("0x03", "0x12")
"""PCI classes of display controllers, and of processing accelerators (pci.ids)."""

VENDORS = {"0x10de": "NVIDIA", "0x1002": "AMD", "0x8086": "Intel"}
LOW_POWER_MODE = "1"
"""Of pmset's `lowpowermode`, and of `powermode`, whose 2 is high power."""

PMSET = ("/usr/bin/pmset", "-g")
PMSET_THERM = ("/usr/bin/pmset", "-g", "therm")
NOTIFYUTIL = ("/usr/bin/notifyutil", "-g", "com.apple.system.thermalpressurelevel")

Answer = TypeVar("Answer")


class ProbeError(Exception):
    """A probe has no answer; a phrase that says why."""


def timed(probe: Callable[[], Answer], seconds: float = PROBE_SECONDS) -> Callable[[], Answer]:
    """Start a probe in a thread; the function that is returned waits for its answer, at most `seconds`.

    That function raises ProbeError if the probe failed in any way, or hangs: its thread is then abandoned.
    """
    box: queue.SimpleQueue[Callable[[], Answer]] = queue.SimpleQueue()

    def work() -> None:
        try:
            answer = probe()
        except Exception as error:  # noqa: BLE001  a probe's failure is a fact
            why = str(error) or type(error).__name__
            box.put(lambda: _refuse(why))
        else:
            box.put(lambda: answer)

    threading.Thread(target=work, daemon=True).start()

    def wait() -> Answer:
        try:
            answer = box.get(timeout=seconds)
        except queue.Empty:
            raise ProbeError(f"no answer within {seconds:g} s") from None
        return answer()

    return wait


def _refuse(why: str) -> Answer:  # type: ignore[type-var]  # it never returns
    raise ProbeError(why)


def output(words: Sequence[str], *, whatever_status: bool = False, seconds: float | None = None) -> str:
    """The output of a command.

    Raises:
        ProbeError: when the command does not exist, fails, or takes too long.
    """
    name, limit = Path(words[0]).name, COMMAND_SECONDS if seconds is None else seconds
    try:
        ended = run(words, stdin=DEVNULL, capture_output=True, timeout=limit, check=False)
    except FileNotFoundError:
        raise ProbeError(f"{name} not found") from None
    except TimeoutExpired:
        raise ProbeError(f"{name} did not answer within {limit:g} s") from None
    except (OSError, SubprocessError) as error:
        raise ProbeError(f"{name}: {type(error).__name__}") from None
    if ended.returncode and not whatever_status:
        raise ProbeError(f"{name} exited with status {ended.returncode}")
    return ended.stdout[:LONGEST_OUTPUT].decode(errors="replace")


def colon_values(text: str) -> dict[str, str]:
    """The values of `name: value` lines, as in sysctl, sw_vers and /proc/cpuinfo; the first of a repeated name."""
    pairs = [line.partition(":") for line in text.splitlines()]
    values: dict[str, str] = {}
    for name, colon, value in pairs:
        if colon and name.strip():
            values.setdefault(name.strip(), value.strip())
    return values


def sysctl(*names: str) -> dict[str, str]:
    """The values of those names that macOS knows.

    Raises:
        ProbeError: when there is no sysctl.
    """
    return colon_values(output(["/usr/sbin/sysctl", *names], whatever_status=True))


def os_release() -> dict[str, str]:
    """The system's version and build, from sw_vers on macOS and os-release on Linux.

    Raises:
        ProbeError: when neither can be read.
    """
    if sys.platform == "darwin":
        values = colon_values(output(["/usr/bin/sw_vers"]))
        return {"os_version": values.get("ProductVersion", ""), "os_build": values.get("BuildVersion", "")}
    try:
        return {"os_version": platform.freedesktop_os_release().get("PRETTY_NAME", "")}
    except OSError:
        raise ProbeError("no os-release file") from None


def pmset_settings(text: str) -> dict[str, str]:
    """The current settings in the output of `pmset -g`: indented lines of a name and a value."""
    settings = {}
    for line in text.splitlines():
        match line.rsplit(None, 1):
            case [name, value] if line.startswith((" ", "\t")):
                settings[name.strip()] = value
    return settings


def low_power_mode(text: str) -> bool | None:
    """Whether `pmset -g` says that low-power mode is on; None if it does not mention it."""
    settings = pmset_settings(text)
    modes = [settings[name] for name in ("lowpowermode", "powermode") if name in settings]
    return LOW_POWER_MODE in modes if modes else None


def cpu_speed_limit(text: str) -> Share | None:
    """The CPU's speed limit in the output of `pmset -g therm`; None if there is none."""
    found = re.search(r"CPU_Speed_Limit\s*=\s*([0-9]{1,3})\b", text)
    return min(100, int(found[1])) / 100 if found else None


def thermal_pressure(text: str) -> int | None:
    """The level in the output of `notifyutil -g com.apple.system.thermalpressurelevel`; None if there is none."""
    found = re.search(r"thermalpressurelevel\s+([0-9]{1,2})\b", text)
    return int(found[1]) if found else None


def power_saving() -> bool | None:
    """Whether low-power mode is on, in macOS or in the firmware's profile on Linux; None if not known.

    Raises:
        ProbeError: when macOS's command is missing or fails.
    """
    if sys.platform == "darwin":
        return low_power_mode(output(PMSET))
    try:
        return POWER_PROFILE.read_text().strip() in ("low-power", "quiet")
    except OSError:
        return None


def _has_battery(root: Path = Path("/sys/class/power_supply")) -> bool:
    """Whether Linux reports a battery of the machine itself, and not only of a mouse or a headset."""
    own = []
    for supply in root.glob("*"):
        with suppress(OSError):
            if (supply / "type").read_text().strip() == "Battery":
                scope = supply / "scope"
                own.append(not (scope.exists() and scope.read_text().strip() == "Device"))
    return any(own)


def battery() -> Power:
    """Whether the machine runs on battery, and its charge."""
    if sys.platform == "linux" and not _has_battery():
        return Power()
    try:
        state = psutil.sensors_battery() if hasattr(psutil, "sensors_battery") else None
    except (OSError, RuntimeError):  # psutil raises these where the system's files have unexpected content
        state = None
    if state is None:
        return Power()
    share = min(1.0, max(0.0, state.percent / 100))
    return Power(on_battery=None if state.power_plugged is None else not state.power_plugged, battery_share=share)


NO_LIMIT = 1 << 60
"""The first version of control groups writes a number like this where there is no limit."""


def cpu_quota(root: Path = Path("/sys/fs/cgroup"), own: Path = Path("/proc/self/cgroup")) -> float | None:
    """Cores that a container's or service's CPU quota allows; None without a limit. Affinity does not show it."""
    limits = [_quota_v2(folder) for folder in _cgroup_folders(root, own)]
    limits += [_quota_v1(folder) for folder in _cgroup_folders(root / "cpu", own, "cpu")]
    known = [limit for limit in limits if limit is not None]
    return min(known) if known else None


def memory_limit(root: Path = Path("/sys/fs/cgroup"), own: Path = Path("/proc/self/cgroup")) -> tuple[int, int] | None:
    """Bytes of memory that a container or a service may use, and how many of them are free; None without a limit."""
    known = [_memory_v2(folder) for folder in _cgroup_folders(root, own)]
    known += [_memory_v1(folder) for folder in _cgroup_folders(root / "memory", own, "memory")]
    limits = [limit for limit in known if limit is not None]
    return (min(limit for limit, _ in limits), min(free for _, free in limits)) if limits else None


def _memory_v2(folder: Path) -> tuple[int, int] | None:
    try:
        limit = int((folder / "memory.max").read_text())
    except (OSError, ValueError):
        return None  # no such file, or "max"
    return limit, _free(limit, folder / "memory.current", folder / "memory.stat", "inactive_file ")


def _memory_v1(folder: Path) -> tuple[int, int] | None:
    try:
        limit = int((folder / "memory.limit_in_bytes").read_text())
    except (OSError, ValueError):
        return None
    if limit >= NO_LIMIT:
        return None
    return limit, _free(limit, folder / "memory.usage_in_bytes", folder / "memory.stat", "total_inactive_file ")


def _free(limit: int, used: Path, details: Path, cached: str) -> int:
    """What is left below a limit; files that are only cached do not count as used."""
    try:
        taken = int(used.read_text())
        lines = [line for line in details.read_text().splitlines() if line.startswith(cached)]
        taken -= int(lines[0].split()[1]) if lines else 0
    except (OSError, ValueError, IndexError):
        return limit
    return max(0, limit - max(0, taken))


def _cgroup_folders(root: Path, own: Path, controller: str = "") -> list[Path]:
    """The cgroup that this process is in, and those above it: of version 2, or of a controller of version 1."""
    try:
        lines = own.read_text().splitlines()
    except OSError:
        lines = []
    parts = [line.split(":", 2) for line in lines if line.count(":") > 1 and ".." not in line]
    names = [path.removeprefix("/") for _, controllers, path in parts if controller in controllers.split(",")]
    group = root / names[0] if names else root
    return [group, *(parent for parent in group.parents if parent.is_relative_to(root))]


def _quota_v2(folder: Path) -> float | None:
    try:
        limit, period = (folder / "cpu.max").read_text().split()[:2]
        return int(limit) / int(period) if int(limit) > 0 else None
    except (OSError, ValueError, ZeroDivisionError):
        return None  # no such file, or "max"


def _quota_v1(folder: Path) -> float | None:
    try:
        limit = int((folder / "cpu.cfs_quota_us").read_text())
        return limit / int((folder / "cpu.cfs_period_us").read_text()) if limit > 0 else None
    except (OSError, ValueError, ZeroDivisionError):
        return None


GUESTS = (
    "kvm",
    "qemu",
    "openstack",
    "google compute engine",
    "vmware",
    "virtualbox",
    "innotek",
    "xen",
    "bochs",
    "parallels",
    "bhyve",
    "virtual machine",
    "apple virtualization",
)
"""How the firmware of virtual machines calls them or their makers: systemd's src/basic/virt.c."""


def is_guest(cpuinfo: Path = Path("/proc/cpuinfo"), firmware: Path = Path("/sys/class/dmi/id")) -> bool:
    """Whether the processor reports a hypervisor, as x86 processors do, or the firmware names a virtual machine."""
    texts = []
    for path in (cpuinfo, firmware / "sys_vendor", firmware / "product_name"):
        try:
            texts.append(path.read_text(errors="replace"))
        except OSError:
            texts.append("")
    machine = " ".join(texts[1:]).lower()
    rented = "amazon ec2" in machine and "metal" not in machine
    named = rented or any(guest in machine for guest in GUESTS)
    return named or "hypervisor" in colon_values(texts[0]).get("flags", "").split()


def display_adapters(root: Path = Path("/sys/bus/pci/devices")) -> tuple[str, ...]:
    """The vendors of the graphics cards and accelerators on the PCI bus, with or without a driver."""
    try:
        folders = sorted(root.iterdir())
    except OSError:
        return ()
    return tuple(vendor for vendor in map(_adapter, folders) if vendor)


def _adapter(folder: Path) -> str:
    try:
        vendor, kind = (folder / "vendor").read_text().strip(), (folder / "class").read_text().strip()
    except OSError:
        return ""
    return VENDORS.get(vendor, "") if kind.startswith(DISPLAY_CLASSES) else ""


def environment(names: Sequence[str], values: Mapping[str, str] = os.environ) -> dict[str, str]:
    """The variables that are set, with their values."""
    return {name: values[name] for name in names if name in values}
