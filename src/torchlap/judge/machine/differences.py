"""What differs between two machines, or between one machine at two times, as far as results depend on it."""

from collections.abc import Mapping

from torchlap.schema.machine import Facts


def difference(ours: Facts, theirs: Facts) -> str:
    """What makes results of two machines incomparable, theirs first; empty if nothing does."""
    return "; ".join(_differing(_identity(theirs), _identity(ours)))


def differences(first: Facts, second: Facts) -> tuple[str, ...]:
    """Everything that differs and that results depend on, in words: `torch 2.11.0 vs. 2.13.0`."""
    known = [name for name in ("numpy", "triton") if name in first.packages and name in second.packages]
    packages = [{name: facts.packages[name] for name in known} for facts in (first, second)]
    return _differing(_conditions(first) | packages[0], _conditions(second) | packages[1])


def _differing(first: Mapping[str, str], second: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(
        f"{name} {first[name] or 'unknown'} vs. {second[name] or 'unknown'}"
        for name in first
        if first[name] != second[name]
    )


def _conditions(facts: Facts) -> dict[str, str]:
    states = {"on battery": facts.power.on_battery, "saving power": facts.power.power_saving}
    power = [state for state, is_active in states.items() if is_active]
    variables = " ".join(f"{name}={value}" for name, value in sorted(facts.environment.items()))
    return {
        **_identity(facts),
        "machine": "virtual" if facts.virtual else "",
        "Rosetta": "translated" if facts.translated else "native",
        "memory": f"{facts.memory_bytes / 2**30:.0f} GiB",
        "system": facts.system,
        "Python": facts.python,
        "NVIDIA driver": facts.nvidia.driver if facts.nvidia else "none",
        "power": " and ".join(power) or "plugged in",
        "environment": variables or "no variables",
    }


def _identity(facts: Facts) -> dict[str, str]:
    devices = ", ".join(f"{device.name} {device.model}".strip() for device in facts.devices)
    packages = {name: facts.packages.get(name, "none") for name in ("torch", "torchvision")}
    return {"CPU": facts.cpu, "devices": devices, "cores": str(facts.usable_cores), **packages}
