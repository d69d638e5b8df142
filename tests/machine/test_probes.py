"""Parsing the output of system commands: in its documented formats, and in any other."""

import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from torchlap.machine import probes
from torchlap.machine.probes import ProbeError, timed
from torchlap.schema.base import whole

SYSCTL = """machdep.cpu.brand_string: Apple M1 Max
hw.perflevel0.physicalcpu: 8
hw.perflevel1.physicalcpu: 2
sysctl.proc_translated: 0
"""
SW_VERS = "ProductName:\t\tmacOS\nProductVersion:\t\t14.2.1\nBuildVersion:\t\t23C71\n"
PMSET = """System-wide power settings:
Currently in use:
 standby              1
 Sleep On Power Button 1
 hibernatefile        /var/vm/sleepimage
 powernap             1
 displaysleep         10
 sleep                1 (sleep prevented by sharingd)
 lowpowermode         1
"""
COOL = """Note: No thermal warning level has been recorded
Note: No performance warning level has been recorded
Note: No CPU power status has been recorded
"""
HOT = "CPU Power notify\n\tCPU_Scheduler_Limit \t= 100\n\tCPU_Available_CPUs \t= 8\n\tCPU_Speed_Limit \t= 62\n"


def test_sysctl_and_sw_vers_give_names_and_values() -> None:
    assert probes.colon_values(SYSCTL)["machdep.cpu.brand_string"] == "Apple M1 Max"
    assert probes.colon_values(SW_VERS) == {
        "ProductName": "macOS",
        "ProductVersion": "14.2.1",
        "BuildVersion": "23C71",
    }


@pytest.mark.parametrize(
    ("text", "on"),
    [
        (PMSET, True),
        (PMSET.replace("lowpowermode         1", "lowpowermode         0"), False),
        (PMSET.replace("lowpowermode", "powermode"), True),
        (PMSET.replace("lowpowermode         1", "powermode            2"), False),  # high power
        (PMSET.replace("lowpowermode", "somethingelse"), None),
        ("lowpowermode 1", None),  # no indent: a heading
        ("", None),
    ],
)
def test_the_low_power_mode_is_read_under_either_name(text: str, on: bool | None) -> None:
    assert probes.low_power_mode(text) is on


@pytest.mark.parametrize(("text", "limit"), [(HOT, 0.62), (COOL, None), ("CPU_Speed_Limit = 300", 1.0), ("", None)])
def test_the_speed_limit_is_a_share_or_was_not_recorded(text: str, limit: float | None) -> None:
    assert probes.cpu_speed_limit(text) == limit


@pytest.mark.parametrize(
    ("text", "level"),
    [
        ("com.apple.system.thermalpressurelevel 0\n", 0),
        ("com.apple.system.thermalpressurelevel 2\n", 2),
        ("com.apple.system.thermalpressurelevel failed\n", None),
        ("", None),
    ],
)
def test_the_thermal_pressure_is_a_level(text: str, level: int | None) -> None:
    assert probes.thermal_pressure(text) == level


@given(st.text() | st.sampled_from([SYSCTL, SW_VERS, PMSET, COOL, HOT]).flatmap(lambda t: st.just(t[::-1])))
def test_any_other_output_is_no_error(text: str) -> None:
    assert all(isinstance(value, str) for value in probes.colon_values(text).values())
    assert all(isinstance(value, str) for value in probes.pmset_settings(text).values())
    assert probes.low_power_mode(text) in (True, False, None)
    assert (whole(text) or 0) >= 0
    limit, level = probes.cpu_speed_limit(text), probes.thermal_pressure(text)
    assert limit is None or 0 <= limit <= 1
    assert level is None or 0 <= level <= 99


@given(st.integers(0, 9), st.sampled_from(["thermalpressurelevel ", "CPU_Speed_Limit = "]), st.text())
def test_a_value_among_gibberish_is_in_its_range(number: int, name: str, junk: str) -> None:
    text = f"{junk}{name}{number}{junk}"
    limit, level = probes.cpu_speed_limit(text), probes.thermal_pressure(text)
    assert limit is None or 0 <= limit <= 1
    assert level is None or 0 <= level <= 99


def test_a_command_that_is_missing_fails_or_hangs_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ProbeError, match="nosuchcommand not found"):
        probes.output(["/nowhere/nosuchcommand"])
    with pytest.raises(ProbeError, match="exited with status 3"):
        probes.output([sys.executable, "-c", "raise SystemExit(3)"])
    with pytest.raises(ProbeError, match="PermissionError"):
        probes.output(["/"])
    monkeypatch.setattr(probes, "COMMAND_SECONDS", 0.3)
    with pytest.raises(ProbeError, match=r"did not answer within 0\.3 s"):
        probes.output([sys.executable, "-c", "import time; time.sleep(60)"])


def test_bytes_that_are_not_text_are_read() -> None:
    script = "import sys; sys.stdout.buffer.write(b'a: \\xff\\xfe')"
    assert probes.colon_values(probes.output([sys.executable, "-c", script])) == {"a": "\ufffd\ufffd"}


def test_a_probe_that_hangs_does_not_delay_the_others() -> None:
    release = threading.Event()
    hangs, answers = timed(release.wait, 0.2), timed(lambda: 7, 60.0)
    with pytest.raises(ProbeError, match=r"no answer within 0\.2 s"):
        hangs()
    assert answers() == 7
    release.set()


def test_a_probe_that_raises_any_exception_is_an_error() -> None:
    def fails() -> int:
        raise ZeroDivisionError("by zero")

    with pytest.raises(ProbeError, match="by zero"):
        timed(fails)()


def test_a_probe_runs_at_once_and_is_awaited_later() -> None:
    ran = threading.Event()
    wait = timed(ran.set)
    assert ran.wait(60)
    assert wait() is None


def group(root: Path, name: str, content: str) -> None:
    folder = root / name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "cpu.max").write_text(content)


@pytest.mark.parametrize(
    ("groups", "own", "quota"),
    [
        ({"": "250000 100000"}, "0::/\n", 2.5),
        ({"": "max 100000"}, "0::/\n", None),
        ({"a/b": "max 100000", "a": "150000 100000"}, "0::/a/b\n", 1.5),
        ({"a/b": "50000 100000", "a": "150000 100000"}, "0::/a/b\n", 0.5),
        ({"other": "50000 100000"}, "0::/a\n", None),
        ({"": "unheard"}, "0::/\n", None),
        ({"": "-5 100000"}, "0::/\n", None),
        ({"": "5 0"}, "0::/\n", None),
        ({"": "300000 100000"}, None, 3.0),
        ({"": "300000 100000"}, "0::/../../x\n", 3.0),
        ({}, "0::/\n", None),
    ],
)
def test_the_quota_is_the_smallest_of_all_parent_groups(
    groups: dict[str, str], own: str | None, quota: float | None, tmp_path: Path
) -> None:
    for name, content in groups.items():
        group(tmp_path / "root", name, content)
    if own is not None:
        (tmp_path / "own").write_text(own)
    assert probes.cpu_quota(tmp_path / "root", tmp_path / "own") == quota


@pytest.mark.parametrize(("limit", "quota"), [("200000", 2.0), ("-1", None)])
def test_the_first_version_of_control_groups_is_read_too(limit: str, quota: float | None, tmp_path: Path) -> None:
    (tmp_path / "cpu").mkdir()
    (tmp_path / "cpu" / "cpu.cfs_quota_us").write_text(limit)
    (tmp_path / "cpu" / "cpu.cfs_period_us").write_text("100000")
    assert probes.cpu_quota(tmp_path, tmp_path / "own") == quota


def test_graphics_cards_are_found_by_maker_and_class(tmp_path: Path) -> None:
    cards = [("0x10de", "0x030200"), ("0x10de", "0x040300"), ("0x1002", "0x120000"), ("0x8086", "0x030000")]
    for number, (vendor, kind) in enumerate([*cards, ("0x1234", "0x030000")]):
        folder = tmp_path / f"0000:{number:02}:00.0"
        folder.mkdir()
        (folder / "vendor").write_text(f"{vendor}\n")
        (folder / "class").write_text(f"{kind}\n")
    (tmp_path / "without files").mkdir()
    assert probes.display_adapters(tmp_path) == ("NVIDIA", "AMD", "Intel")
    assert probes.display_adapters(tmp_path / "nothing") == ()


@pytest.mark.parametrize(
    ("text", "is_guest"),
    [("flags\t\t: fpu hypervisor lahf_lm\n", True), ("flags\t\t: fpu lahf_lm\n", False), ("", False)],
)
def test_a_virtual_machine_shows_in_the_flags_of_an_x86_processor(tmp_path: Path, text: str, is_guest: bool) -> None:
    (tmp_path / "cpuinfo").write_text(text)
    assert probes.is_guest(tmp_path / "cpuinfo", tmp_path) is is_guest
    assert probes.is_guest(tmp_path / "nothing", tmp_path) is False


@pytest.mark.parametrize(
    ("vendor", "product", "is_guest"),
    [
        ("Microsoft Corporation", "Virtual Machine", True),
        ("Microsoft Corporation", "Surface Pro", False),
        ("QEMU", "KVM Virtual Machine", True),
        ("Amazon EC2", "m7g.large", True),
        ("Amazon EC2", "m7g.metal", False),
        ("Dell Inc.", "PowerEdge R760", False),
    ],
)
def test_a_virtual_machine_shows_in_its_firmware(tmp_path: Path, vendor: str, product: str, is_guest: bool) -> None:
    (tmp_path / "sys_vendor").write_text(f"{vendor}\n")
    (tmp_path / "product_name").write_text(f"{product}\n")
    assert probes.is_guest(tmp_path / "cpuinfo", tmp_path) is is_guest


@pytest.mark.parametrize(("plugged", "on_battery"), [(True, False), (False, True), (None, None)])
def test_the_battery_is_a_share_and_whether_it_is_used(
    monkeypatch: pytest.MonkeyPatch, plugged: bool | None, on_battery: bool | None
) -> None:
    battery = SimpleNamespace(percent=140.0, power_plugged=plugged)
    monkeypatch.setattr(psutil, "sensors_battery", lambda: battery, raising=False)
    monkeypatch.setattr(probes, "_has_battery", lambda: True)
    assert (probes.battery().on_battery, probes.battery().battery_share) == (on_battery, 1.0)


def test_a_battery_that_cannot_be_read_counts_as_none(monkeypatch: pytest.MonkeyPatch) -> None:
    def breaks() -> None:
        raise FileNotFoundError

    monkeypatch.setattr(probes, "_has_battery", lambda: True)
    for sensor in (lambda: None, breaks):
        monkeypatch.setattr(psutil, "sensors_battery", sensor, raising=False)
        assert probes.battery().battery_share is None


@pytest.mark.parametrize(
    ("supplies", "own"),
    [
        ({"BAT0": ("Battery", None)}, True),
        ({"hidpp_battery_0": ("Battery", "Device")}, False),
        ({"hidpp_battery_0": ("Battery", "Device"), "BAT1": ("Battery", "System")}, True),
        ({"AC": ("Mains", None)}, False),
        ({}, False),
    ],
)
def test_the_battery_of_a_mouse_is_ignored(
    supplies: dict[str, tuple[str, str | None]], own: bool, tmp_path: Path
) -> None:
    for name, (kind, scope) in supplies.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "type").write_text(f"{kind}\n")
        if scope:
            (tmp_path / name / "scope").write_text(f"{scope}\n")
    assert probes._has_battery(tmp_path) is own


@pytest.mark.parametrize(
    ("files", "limit"),
    [
        ({"memory.max": "1000", "memory.current": "700", "memory.stat": "anon 1\ninactive_file 200\n"}, (1000, 500)),
        ({"memory.max": "max", "memory.current": "700"}, None),
        ({"memory.max": "1000"}, (1000, 1000)),
        ({"memory.max": "1000", "memory.current": "7000", "memory.stat": ""}, (1000, 0)),
        ({"a/memory.max": "800", "memory.max": "1000", "memory.current": "900", "memory.stat": ""}, (800, 100)),
        ({"memory/memory.limit_in_bytes": "500", "memory/memory.usage_in_bytes": "100"}, (500, 500)),
        ({"memory/memory.limit_in_bytes": "9223372036854771712"}, None),
        ({"memory/b/memory.limit_in_bytes": "600", "memory/memory.limit_in_bytes": "900"}, (600, 600)),
        ({}, None),
    ],
)
def test_the_memory_of_a_container_is_its_limit_and_not_the_hosts(
    files: dict[str, str], limit: tuple[int, int] | None, tmp_path: Path
) -> None:
    for name, content in files.items():
        (tmp_path / "root" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "root" / name).write_text(content)
    (tmp_path / "own").write_text("4:memory:/b\n1:cpu,cpuacct:/c\n0::/a\n")
    assert probes.memory_limit(tmp_path / "root", tmp_path / "own") == limit
