"""Text that every report shares."""

from torchlap.schema.machine import Facts


def machine_line(facts: Facts) -> str:
    """The machine in one line, for people."""
    packages = " ".join(f"{name} {facts.packages[name]}" for name in ("torch", "torchvision") if name in facts.packages)
    accelerators = [f"{device.name} {device.model}".strip() for device in facts.devices if device.kind != "cpu"]
    cores = f"{facts.physical_cores} cores"
    if facts.usable_cores < facts.physical_cores:
        cores += f" ({facts.usable_cores} usable)"
    memory = f"{facts.memory_bytes / 2**30:.0f} GiB"
    parts = [facts.cpu, cores, memory, ", ".join(accelerators) or "no accelerator", facts.system]
    return " · ".join(part for part in [*parts, f"Python {facts.python}" * bool(facts.python), packages] if part)
