"""Ask the system: its commands, its files, its drivers. Without rights, each within its own time, and never believed.

A probe raises `ProbeError` where it cannot tell; what a command says is taken apart by a pure function that survives
any text. The shapes of macOS's commands are those of their manual pages and of published transcripts; nobody has run
them for torchlap on a Mac yet.
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
    """A probe could not read what it was to read; one phrase that says why."""


def timed(probe: Callable[[], Answer], seconds: float = PROBE_SECONDS) -> Callable[[], Answer]:
    """Start a probe in a thread of its own; the function that is returned waits for its answer, `seconds` at most.

    That function raises ProbeError where the probe failed in whatever way, or hangs: then its thread is left behind.
    """
    box: queue.SimpleQueue[Callable[[], Answer]] = queue.SimpleQueue()

    def work() -> None:
        try:
            answer = probe()
        except Exception as error:  # noqa: BLE001  a probe that fails is a fact
            why = str(error) or type(error).__name__
            box.put(lambda: _refuse(why))
        else:
            box.put(lambda: answer)

    threading.Thread(target=work, daemon=True).start()

    def wait() -> Answer:
        try:
            told = box.get(timeout=seconds)
        except queue.Empty:
            raise ProbeError(f"no answer within {seconds:g} s") from None
        return told()

    return wait


def _refuse(why: str) -> Answer:  # type: ignore[type-var]  # it answers nothing
    raise ProbeError(why)


def output(words: Sequence[str], *, whatever_status: bool = False, seconds: float | None = None) -> str:
    """What a command prints.

    Raises:
        ProbeError: when there is no such command, it fails, or it takes too long.
    """
    name, limit = Path(words[0]).name, COMMAND_SECONDS if seconds is None else seconds
    try:
        ended = run(words, stdin=DEVNULL, capture_output=True, timeout=limit, check=False)
    except FileNotFoundError:
        raise ProbeError(f"{name} is not there") from None
    except TimeoutExpired:
        raise ProbeError(f"{name} did not answer within {limit:g} s") from None
    except (OSError, SubprocessError) as error:
        raise ProbeError(f"{name}: {type(error).__name__}") from None
    if ended.returncode and not whatever_status:
        raise ProbeError(f"{name} exited with status {ended.returncode}")
    return ended.stdout[:LONGEST_OUTPUT].decode(errors="replace")


def colon_values(text: str) -> dict[str, str]:
    """`name: value` a line, as sysctl and sw_vers print it, and /proc/cpuinfo; of a name given twice, the first."""
    pairs = [line.partition(":") for line in text.splitlines()]
    values: dict[str, str] = {}
    for name, colon, value in pairs:
        if colon and name.strip():
            values.setdefault(name.strip(), value.strip())
    return values


def sysctl(*names: str) -> dict[str, str]:
    """The values of these names, those that macOS knows.

    Raises:
        ProbeError: when there is no sysctl.
    """
    return colon_values(output(["/usr/sbin/sysctl", *names], whatever_status=True))


def os_release() -> dict[str, str]:
    """The system's version and build: macOS's by sw_vers, a Linux distribution's by os-release.

    Raises:
        ProbeError: when neither can be read.
    """
    if sys.platform == "darwin":
        told = colon_values(output(["/usr/bin/sw_vers"]))
        return {"os_version": told.get("ProductVersion", ""), "os_build": told.get("BuildVersion", "")}
    try:
        return {"os_version": platform.freedesktop_os_release().get("PRETTY_NAME", "")}
    except OSError:
        raise ProbeError("no os-release file") from None


def pmset_settings(text: str) -> dict[str, str]:
    """The settings in use, of `pmset -g`: a name and a value a line, by an indent apart from headings."""
    lines = [line.rsplit(None, 1) for line in text.splitlines() if line.startswith((" ", "\t"))]
    return {line[0].strip(): line[1] for line in lines if len(line) == 2}  # noqa: PLR2004  a name and a value


def low_power_mode(text: str) -> bool | None:
    """Whether `pmset -g` says that the low-power mode is on; None where it has none."""
    settings = pmset_settings(text)
    told = [settings[name] for name in ("lowpowermode", "powermode") if name in settings]
    return LOW_POWER_MODE in told if told else None


def cpu_speed_limit(text: str) -> Share | None:
    """The CPU's speed limit, of `pmset -g therm`; None where none was recorded."""
    found = re.search(r"CPU_Speed_Limit\s*=\s*([0-9]{1,3})\b", text)
    return min(100, int(found[1])) / 100 if found else None


def thermal_pressure(text: str) -> int | None:
    """The level, of `notifyutil -g com.apple.system.thermalpressurelevel`; None where it says none."""
    found = re.search(r"thermalpressurelevel\s+([0-9]{1,2})\b", text)
    return int(found[1]) if found else None


def power_saving() -> bool | None:
    """Tell whether a low-power mode is on: macOS's, or the firmware's profile on Linux; None where nothing tells.

    Raises:
        ProbeError: when macOS's command is not there or fails.
    """
    if sys.platform == "darwin":
        return low_power_mode(output(PMSET))
    try:
        return POWER_PROFILE.read_text().strip() in ("low-power", "quiet")
    except OSError:
        return None


def _has_battery(root: Path = Path("/sys/class/power_supply")) -> bool:
    """Whether Linux knows a battery of the machine's own, and not only of a mouse's or a headset's."""
    own = []
    for supply in root.glob("*"):
        with suppress(OSError):
            if (supply / "type").read_text().strip() == "Battery":
                scope = supply / "scope"
                own.append(not (scope.exists() and scope.read_text().strip() == "Device"))
    return any(own)


def battery() -> Power:
    """Whether the machine runs on its battery, and how full that is."""
    if sys.platform == "linux" and not _has_battery():
        return Power()
    try:
        told = psutil.sensors_battery() if hasattr(psutil, "sensors_battery") else None
    except (OSError, RuntimeError):  # psutil's own: where the system has the files, but not the words
        told = None
    if told is None:
        return Power()
    share = min(1.0, max(0.0, told.percent / 100))
    return Power(on_battery=None if told.power_plugged is None else not told.power_plugged, battery_share=share)


def cpu_quota(root: Path = Path("/sys/fs/cgroup"), own: Path = Path("/proc/self/cgroup")) -> float | None:
    """Cores that a container's or a service's quota leaves; None for no limit. Affinity does not show it."""
    limits = [_quota_v2(folder) for folder in _cgroup_folders(root, own)] + [_quota_v1(root / "cpu")]
    known = [limit for limit in limits if limit is not None]
    return min(known) if known else None


def _cgroup_folders(root: Path, own: Path) -> list[Path]:
    """The group that this process is in, by version 2, and those above it."""
    try:
        lines = own.read_text().splitlines()
    except OSError:
        lines = []
    names = [line.removeprefix("0::/") for line in lines if line.startswith("0::/") and ".." not in line]
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


def display_adapters(root: Path = Path("/sys/bus/pci/devices")) -> tuple[str, ...]:
    """The makers of the graphics cards and accelerators on the PCI bus, whether they have a driver or not."""
    try:
        folders = sorted(root.iterdir())
    except OSError:
        return ()
    found = [_adapter(folder) for folder in folders]
    return tuple(maker for maker in found if maker)


def _adapter(folder: Path) -> str:
    try:
        vendor, kind = (folder / "vendor").read_text().strip(), (folder / "class").read_text().strip()
    except OSError:
        return ""
    return VENDORS.get(vendor, "") if kind.startswith(DISPLAY_CLASSES) else ""


def environment(names: Sequence[str], values: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Those of the variables that are set."""
    return {name: values[name] for name in names if name in values}
