"""The machine in one line."""

from torchlap.schema.machine import Facts


def machine_line(facts: Facts) -> str:
    """The machine in one line, not yet clean."""
    packages = " ".join(f"{name} {facts.packages[name]}" for name in ("torch", "torchvision") if name in facts.packages)
    accelerators = [f"{device.name} {device.model}".strip() for device in facts.devices if device.kind != "cpu"]
    cores = f"{facts.physical_cores} cores"
    if facts.usable_cores < facts.physical_cores:
        cores += f" ({facts.usable_cores} usable)"
    memory = f"{facts.memory_bytes / 2**30:.0f} GiB"
    python = f"Python {facts.python}" if facts.python else ""
    parts = [facts.cpu, cores, memory, ", ".join(accelerators) or "no accelerator", facts.system, python, packages]
    return " · ".join(part for part in parts if part)
