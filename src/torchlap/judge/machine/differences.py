"""What differs between two machines that figures depend on."""

from torchlap.schema.machine import Facts


def difference(ours: Facts, theirs: Facts) -> str:
    """What makes figures of two machines incomparable, in words; empty when nothing does."""
    mine, its = _identity(ours), _identity(theirs)
    return "; ".join(f"{name} {its[name]} there, {mine[name]} here" for name in mine if mine[name] != its[name])


def differences(first: Facts, other: Facts) -> tuple[str, ...]:
    """What differs between two machines, or one at two times, that figures depend on: `torch 2.11.0 against 2.13.0`."""
    mine, its = _conditions(first), _conditions(other)
    return tuple(
        f"{name} {mine[name] or 'unknown'} against {its[name] or 'unknown'}" for name in mine if mine[name] != its[name]
    )


def _conditions(facts: Facts) -> dict[str, str]:
    power = ["on battery"] * bool(facts.power.on_battery) + ["saving power"] * bool(facts.power.power_saving)
    variables = " ".join(f"{name}={value}" for name, value in sorted(facts.environment.items()))
    return {
        **_identity(facts),
        "memory": f"{facts.memory_bytes / 2**30:.0f} GiB",
        "system": facts.system,
        "Python": facts.python,
        "NVIDIA driver": facts.nvidia.driver if facts.nvidia else "none",
        "power": " and ".join(power) or "mains",
        "environment": variables or "no variables",
    }


def _identity(facts: Facts) -> dict[str, str]:
    devices = ", ".join(f"{device.name} {device.model}" for device in facts.devices)
    packages = {name: facts.packages.get(name, "none") for name in ("torch", "torchvision")}
    return {"CPU": facts.cpu, "devices": devices, "cores": str(facts.usable_cores), **packages}
