"""The driver's answers, by a stand-in for its library; and a driver that hangs, crashes or is missing."""

import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from torchlap.machine import nvidia, probes
from torchlap.machine.nvidia import ask, read, throttled_by
from torchlap.machine.probes import ProbeError
from torchlap.schema.machine import Nvidia, NvidiaGpu


class Library(ModuleType):
    """NVML's part that is used, for two GPUs: one that tells all, one that tells nothing but that it is there."""

    NVML_CLOCK_SM, NVML_TEMPERATURE_GPU = 1, 0

    class NVMLError(Exception):
        pass

    def __init__(self) -> None:
        super().__init__("pynvml")
        memory = SimpleNamespace(total=80 << 30, free=70 << 30)
        answers: dict[str, Any] = {
            "Name": "NVIDIA H100 80GB HBM3",
            "CudaComputeCapability": (9, 0),
            "MemoryInfo": memory,
            "ClockInfo": 600,
            "MaxClockInfo": 1980,
            "Temperature": 91,
            "UtilizationRates": SimpleNamespace(gpu=250),
            "ComputeRunningProcesses": [1, 2],
            "CurrentClocksEventReasons": 0x40 | 0x1 | 0x8,
        }
        for name, answer in answers.items():
            setattr(self, f"nvmlDeviceGet{name}", self._only_first(answer))
        self.nvmlInit = lambda: None
        self.nvmlSystemGetCudaDriverVersion_v2 = lambda: 12040
        self.nvmlSystemGetDriverVersion = lambda: "550.54.15"
        self.nvmlDeviceGetCount = lambda: 2
        self.nvmlDeviceGetHandleByIndex = lambda index: index

    def _only_first(self, answer: object) -> Any:
        def tell(handle: int, *_: object) -> object:
            if handle:
                raise self.NVMLError("Not Supported")
            return answer

        return tell


def test_the_values_that_a_gpu_reports_are_read_and_the_others_left_out() -> None:
    assert read(Library()) == Nvidia(
        driver="550.54.15",
        cuda="12.4",
        gpus=(
            NvidiaGpu(
                model="NVIDIA H100 80GB HBM3",
                capability="9.0",
                memory_bytes=80 << 30,
                free_bytes=70 << 30,
                clock_mhz=600,
                most_clock_mhz=1980,
                celsius=91,
                busy=1.0,
                processes=2,
                throttled_by=("hardware slowdown", "hardware thermal limit"),
            ),
            NvidiaGpu(model="NVIDIA GPU"),
        ),
    )


def test_idle_and_application_clocks_are_not_throttling() -> None:
    assert throttled_by(0x1 | 0x2 | 0x10 | 0x100) == ()
    assert throttled_by(0xFFF) == (
        "hardware slowdown",
        "hardware thermal limit",
        "power brake",
        "power cap",
        "software thermal limit",
    )


@pytest.fixture
def driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine with a driver whose library is what is written to the file."""
    library = tmp_path / "pynvml.py"
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return library


def test_without_a_driver_nothing_is_started(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(nvidia, "output", lambda *_, **__: pytest.fail("a process was started"))
    assert ask([tmp_path / "nothing"]) is None


def test_the_driver_is_read_in_a_process_of_its_own(driver: Path) -> None:
    driver.write_text(
        "class NVMLError(Exception): pass\n"
        "def nvmlInit(): pass\n"
        "def nvmlDeviceGetCount(): return 0\n"
        "def nvmlSystemGetCudaDriverVersion_v2(): return 13000\n"
        "def nvmlSystemGetDriverVersion(): return '580.1'\n"
    )
    assert ask([driver]) == Nvidia(driver="580.1", cuda="13.0")


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("def nvmlInit(): raise NVMLError('Driver/library version mismatch')", "NVML: Driver/library version mismatch"),
        ("def nvmlInit(): import os; os.abort()", "exited with status -6"),
        ("raise SystemExit(0)", "printed nothing"),
    ],
)
def test_a_driver_that_fails_is_reported(driver: Path, body: str, reason: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nvidia, "ANSWER_SECONDS", 60.0)
    driver.write_text(f"class NVMLError(Exception): pass\n{body}\n")
    with pytest.raises(ProbeError, match=reason):
        ask([driver])


def test_a_driver_that_hangs_is_reported(driver: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nvidia, "ANSWER_SECONDS", 0.3)
    driver.write_text("def nvmlInit(): import time; time.sleep(100)")
    with pytest.raises(ProbeError, match=r"did not answer within 0\.3 s"):
        ask([driver])


def test_the_driver_of_this_machine_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the real binding: on a machine without a driver it reports that the library is missing."""
    printed = probes.output([sys.executable, "-P", "-m", "torchlap.machine.nvidia"])
    assert printed.startswith(("NVML: ", '{"driver"'))
