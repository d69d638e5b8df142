"""Print, as JSON, the name and the joules of each energy meter on simulated machines, or why it cannot be read."""

import json
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from unittest.mock import patch

import torch

from torchlap.worker import meters as energy

answer: dict[str, object] = {}


def read(name: str, device: str, change: object = None) -> None:
    """Record the joules that are read over a change, or why nothing is."""
    try:
        meter = energy.meter(torch.device(device))
    except energy.NoMeterError as none:
        answer[name] = str(none)
        return
    before = meter.read()
    if callable(change):
        change()
    answer[name] = [meter.name, meter.read() - before]


def rapl() -> None:
    with TemporaryDirectory() as folder:
        energy.RAPL = Path(folder)
        read("no rapl", "cpu")
        package, platform = Path(folder) / "intel-rapl:0", Path(folder) / "intel-rapl:1"
        for zone, name, counter in ((package, "package-0", "1000000"), (platform, "psys", "5")):
            zone.mkdir()
            (zone / "name").write_text(f"{name}\n")
            (zone / "max_energy_range_uj").write_text("9999999\n")
            (zone / "energy_uj").write_text(f"{counter}\n")
        energy_uj = package / "energy_uj"
        read("rapl", "cpu", lambda: energy_uj.write_text("4500000\n"))
        energy_uj.write_text("9800000\n")
        read("rapl, its counter begun again", "cpu", lambda: energy_uj.write_text("300000\n"))
        refused = PermissionError(13, "Permission denied")
        with patch.object(Path, "read_text", side_effect=refused):
            read("rapl, not for us", "cpu")
        energy_uj.unlink()
        read("rapl, gone", "cpu")


def nvidia() -> None:
    millijoules = iter([0.0, 1000.0, 3000.0])
    sys.modules["pynvml"] = SimpleNamespace(  # type: ignore[assignment]
        nvmlInit=lambda: None,
        nvmlDeviceGetHandleByUUID=lambda uuid: uuid,
        nvmlDeviceGetTotalEnergyConsumption=lambda _: next(millijoules),
    )
    with patch.object(torch.cuda, "get_device_properties", lambda _: SimpleNamespace(uuid="a")):
        read("nvidia", "cuda:0")
        read("nvidia, too old", "cuda:0")


def apple() -> None:
    read("apple, without zeus", "mps")
    parts = iter([0.0, 0.0, 500.0, 2000.0])
    chip = SimpleNamespace(get_total_energy_consumption=lambda: SimpleNamespace(gpu_mj=next(parts), cpu_total_mj=None))
    sys.modules["zeus"] = sys.modules["zeus.device"] = SimpleNamespace()  # type: ignore[assignment]
    sys.modules["zeus.device.soc"] = SimpleNamespace(get_soc=lambda: chip)  # type: ignore[assignment]
    read("apple", "mps")


rapl()
nvidia()
apple()
read("another", "xpu")
print(json.dumps(answer))
