"""Versions among the facts; None if there is none, or it cannot be parsed."""

from packaging.version import InvalidVersion, Version

from torchlap.schema.machine import Facts


def parsed(text: str) -> Version | None:
    """A version, or None."""
    try:
        return Version(text)
    except InvalidVersion:
        return None


def torch_version(facts: Facts) -> Version | None:
    """The release of the installed torch, without its build: a nightly of 2.15 counts as 2.15."""
    version = parsed(facts.packages.get("torch", ""))
    return Version(version.base_version) if version else None


def macos_version(facts: Facts) -> Version | None:
    """The version of macOS, if the system is macOS."""
    return parsed(facts.os_version) if facts.system.startswith("macOS") else None
