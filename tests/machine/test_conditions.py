"""What else happens on the machine: with a real load, and with a driver whose answers the test chooses."""

import os
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest
from making import CPU, CUDA
from support import wait_until

from torchlap.machine import conditions, probes
from torchlap.machine.conditions import GpuUsers, Watch
from torchlap.schema.events import Conditions, GpuConditions

SPIN = "import time\nend = time.monotonic() + 100\nwhile time.monotonic() < end: pass"


def watched(seconds: float = 1.2) -> Conditions:
    watch = Watch([CPU], GpuUsers(), first=True)
    watch.begin()
    time.sleep(seconds)
    return watch.end(0)


def spinning_orphans(count: int) -> list[str]:
    """The numbers of processes that spin and are not ours: the one that started them has ended."""
    start = f"subprocess.Popen([sys.executable, '-c', {SPIN!r}], stdout=2).pid"
    script = f"import subprocess, sys; print(*({start} for _ in range({count})))"
    return subprocess.run([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, check=True).stdout.split()


def test_busy_processes_of_others_are_counted() -> None:
    spinning = spinning_orphans(os.cpu_count() or 1)
    try:
        share = watched().others_cpu_share
    finally:
        subprocess.run(["kill", "-9", *spinning], check=True)
    assert share is not None
    assert share > 0.1


def test_processes_that_we_started_count_as_ours() -> None:
    before = conditions._our_seconds()
    ours = subprocess.Popen([sys.executable, "-c", SPIN])
    try:
        wait_until(lambda: conditions._our_seconds() - before > 0.2, "CPU time of a process of ours")
    finally:
        ours.kill()
        ours.wait()


def test_the_share_of_the_cpu_is_unknown_after_too_short_a_time() -> None:
    assert watched(0.05).others_cpu_share is None


class Driver:
    """NVML's part that is used, for one GPU that says what it is told to."""

    class NVMLError(Exception):
        pass

    def __init__(self, *, busy: int = 0, processes: int = 0, reasons: int = 0) -> None:
        self.busy, self.processes, self.reasons = busy, processes, reasons
        self.asked: list[int] = []

    def nvmlInit(self) -> None:  # noqa: N802  NVML's name
        return

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:  # noqa: N802
        self.asked.append(index)
        return index

    def nvmlDeviceGetUtilizationRates(self, _: int) -> SimpleNamespace:  # noqa: N802
        return SimpleNamespace(gpu=self.busy)

    def nvmlDeviceGetComputeRunningProcesses(self, _: int) -> list[SimpleNamespace]:  # noqa: N802
        return [SimpleNamespace(pid=number) for number in range(self.processes)]

    def nvmlDeviceGetCurrentClocksEventReasons(self, _: int) -> int:  # noqa: N802
        return self.reasons


def told_by(driver: Driver, monkeypatch: pytest.MonkeyPatch, *, first: bool = True) -> GpuConditions:
    monkeypatch.setitem(sys.modules, "pynvml", driver)
    watch = Watch([CPU, CUDA], GpuUsers(), first=first)
    watch.begin()
    watch.glance()
    (gpu,) = watch.end(0).gpus
    return gpu


def test_a_gpu_in_use_by_others_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    gpu = told_by(Driver(busy=80, processes=2), monkeypatch)
    assert (gpu.device, gpu.busy_before, gpu.processes_before) == ("cuda:0", 0.8, 2)


def test_our_own_earlier_work_does_not_count_as_use_by_others(monkeypatch: pytest.MonkeyPatch) -> None:
    assert told_by(Driver(busy=80), monkeypatch, first=False).busy_before is None


@pytest.mark.parametrize(
    ("reasons", "words"),
    [(0x1, ()), (0x2, ()), (0x4, ("power cap",)), (0x60, ("hardware thermal limit", "software thermal limit"))],
)
def test_a_throttle_reason_is_named_and_idling_is_not(
    reasons: int, words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert told_by(Driver(reasons=reasons), monkeypatch).throttled_by == words


def test_hidden_gpus_are_counted_by_the_drivers_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,1")
    driver = Driver()
    told_by(driver, monkeypatch)
    assert set(driver.asked) == {3}


@pytest.mark.parametrize("visible", ["GPU-8a1f", ""])
def test_a_gpu_that_cannot_be_found_has_no_conditions(visible: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    gpu = told_by(Driver(busy=80, processes=1, reasons=0x4), monkeypatch)
    assert gpu.processes_before == (0 if visible else 1)


def test_a_machine_without_nvml_has_no_gpu_conditions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)
    watch = Watch([CPU, CUDA], GpuUsers(), first=True)
    watch.glance()
    (gpu,) = watch.end(0).gpus
    assert (gpu.busy_before, gpu.processes_before, gpu.throttled_by) == (None, 0, ())
    assert Watch([CPU], GpuUsers(), first=True).end(0).gpus == ()


@pytest.mark.parametrize(("profile", "saving"), [("low-power\n", True), ("quiet", True), ("balanced", False)])
def test_linuxs_power_profile_is_read(
    profile: str, saving: object, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("sys") / "platform_profile"
    path.write_text(profile)
    monkeypatch.setattr(probes, "POWER_PROFILE", path)
    monkeypatch.setattr(sys, "platform", "linux")
    assert watched(0).power_saving is saving


@pytest.mark.parametrize(
    ("output", "saving"),
    [(" lowpowermode         1\n", True), (" sleep 1\n lowpowermode 0\n", False), ("", None), ("nonsense", None)],
)
def test_the_power_mode_of_macos_is_read_from_pmset(
    output: str, saving: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probes, "output", lambda *_, **__: output)
    monkeypatch.setattr(sys, "platform", "darwin")
    assert watched(0).power_saving is saving


def test_our_own_workers_of_the_last_group_are_not_others() -> None:
    users = GpuUsers()
    assert users.count_others([7]) == 1  # somebody who was there before us
    users.note([7, 8])
    assert users.count_others([7, 8]) == 1  # 8 was our worker: the driver forgets it late
    assert users.count_others([8, 9]) == 1  # 9 came since


def test_a_group_that_is_visited_twice_keeps_the_conditions_of_its_first_visit(monkeypatch: pytest.MonkeyPatch) -> None:
    driver = Driver(busy=80, processes=1, reasons=0x4)
    monkeypatch.setitem(sys.modules, "pynvml", driver)
    users = GpuUsers()
    watch = Watch([CPU, CUDA], users, first=True)
    driver.processes = 2  # our worker has come
    for reasons in (0x4, 0x0):
        driver.reasons = reasons
        watch.begin()
        watch.glance()
        (gpu,) = watch.end(0).gpus
    assert (gpu.busy_before, gpu.processes_before, gpu.throttled_by) == (0.8, 1, ("power cap",))
    (later,) = Watch([CPU, CUDA], users, first=False).end(1).gpus
    assert later.processes_before == 1
