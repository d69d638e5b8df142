"""Print, as JSON, what the meters of energy say on machines made by hand: whose they are, and the joules they read."""

import json
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace

import torch

from torchlap.worker.breakdown import energy

told: dict[str, object] = {}


def reads(name: str, device: str, change: object = None) -> None:
    """Note what is read over a change, or why nothing is."""
    try:
        meter = energy.meter(torch.device(device))
    except energy.NoMeterError as none:
        told[name] = str(none)
        return
    before = meter.read()
    if callable(change):
        change()
    told[name] = [meter.name, meter.read() - before]


with TemporaryDirectory() as folder:
    energy.RAPL = Path(folder)
    reads("no rapl", "cpu")
    package = Path(folder) / "intel-rapl:0"
    package.mkdir()
    platform = Path(folder) / "intel-rapl:1"
    platform.mkdir()
    for zone, name in ((package, "package-0"), (platform, "psys")):
        (zone / "name").write_text(f"{name}\n")
    (platform / "max_energy_range_uj").write_text("9999999\n")
    (platform / "energy_uj").write_text("5\n")
    counter = package / "energy_uj"
    (package / "max_energy_range_uj").write_text("9999999\n")
    counter.write_text("1000000\n")
    reads("rapl", "cpu", lambda: counter.write_text("4500000\n"))
    counter.write_text("9800000\n")
    reads("rapl, its counter begun again", "cpu", lambda: counter.write_text("300000\n"))
    counter.unlink()
    reads("rapl, not for us", "cpu")

millijoules = iter([0.0, 1000.0, 3000.0])
setattr(torch.cuda, "get_device_properties", lambda _: SimpleNamespace(uuid="a"))  # noqa: B010  another type
sys.modules["pynvml"] = SimpleNamespace(  # type: ignore[assignment]
    nvmlInit=lambda: None,
    nvmlDeviceGetHandleByUUID=lambda uuid: uuid,
    nvmlDeviceGetTotalEnergyConsumption=lambda _: next(millijoules),
)
reads("nvidia", "cuda:0")
reads("nvidia, too old", "cuda:0")
reads("apple, without zeus", "mps")
parts = iter([0.0, 0.0, 0.0, 500.0, 2000.0])
soc = SimpleNamespace(get_total_energy_consumption=lambda: SimpleNamespace(gpu_mj=next(parts), cpu_total_mj=None))
sys.modules["zeus"] = sys.modules["zeus.device"] = SimpleNamespace()  # type: ignore[assignment]
sys.modules["zeus.device.soc"] = SimpleNamespace(get_soc=lambda: soc)  # type: ignore[assignment]
next(parts)
reads("apple", "mps")
reads("another", "xpu")
told["another"] = str(told["another"]).replace("xpu", "sim")
print(json.dumps(told))
