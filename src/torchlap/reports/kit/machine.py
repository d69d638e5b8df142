"""The machine in one line."""

from collections.abc import Sequence

from torchlap.schema.machine import DeviceFacts, Facts

MOST_ALIKE = 2
"""More devices of one model are counted instead of listed."""


def machine_line(facts: Facts) -> str:
    """The machine in one line, not yet clean."""
    packages = " ".join(f"{name} {facts.packages[name]}" for name in ("torch", "torchvision") if name in facts.packages)
    accelerators = _accelerators([device for device in facts.devices if device.kind != "cpu"])
    cores = f"{facts.physical_cores} cores"
    if facts.usable_cores < facts.physical_cores:
        cores += f" ({facts.usable_cores} usable)"
    memory = f"{facts.memory_bytes / 2**30:.0f} GiB"
    python = f"Python {facts.python}" if facts.python else ""
    parts = [facts.cpu, cores, memory, ", ".join(accelerators) or "no accelerator", facts.system, python, packages]
    return " · ".join(part for part in parts if part)


def _accelerators(devices: Sequence[DeviceFacts]) -> list[str]:
    models = {device.model for device in devices}
    if len(devices) > MOST_ALIKE and len(models) == 1 and models != {""}:
        return [f"{len(devices)} x {devices[0].model} ({devices[0].name} to {devices[-1].name})"]
    return [f"{device.name} {device.model}".strip() for device in devices]
