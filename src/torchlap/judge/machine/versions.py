"""Versions among facts; None where there is none, or it is no version."""

from packaging.version import InvalidVersion, Version

from torchlap.schema.machine import Facts


def parsed(text: str) -> Version | None:
    """A version, or None."""
    try:
        return Version(text)
    except InvalidVersion:
        return None


def torch_version(facts: Facts) -> Version | None:
    """The installed torch's release, without its build: a nightly of 2.15 counts as 2.15."""
    version = parsed(facts.packages.get("torch", ""))
    return Version(version.base_version) if version else None


def macos_version(facts: Facts) -> Version | None:
    """The version of macOS, where this is one."""
    return parsed(facts.os_version) if facts.system.startswith("macOS") else None
