"""Whether the versions of torch and torchvision match."""

import re

from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.version import InvalidVersion, Version

from torchlap.schema.commands import BOTH

BUILD = re.compile(r"cpu|cu[0-9]+|rocm[0-9]+(\.[0-9]+)*|xpu")
"""The build, as the local part of a version names it; the local part of a build from source names none."""


def missing(packages: dict[str, str]) -> str:
    """Which of the two are not installed, in words; empty if both are."""
    return " and ".join(name for name in BOTH if name not in packages)


def misfit(packages: dict[str, str], needs: str) -> str:
    """Why torch and torchvision do not match, as a clause; empty if they do."""
    torch, torchvision = packages.get("torch", ""), packages.get("torchvision", "")
    try:
        wanted = SpecifierSet(needs)
        builds = [BUILD.match(Version(version).local or "") for version in (torch, torchvision)]
    except (InvalidSpecifier, InvalidVersion):
        return ""
    if not wanted.contains(torch, prereleases=True):
        return f"torchvision {torchvision} needs torch{needs}, but torch {torch} is installed"
    if builds[0] and builds[1] and builds[0][0] != builds[1][0]:
        return f"torch {torch} and torchvision {torchvision} come from different builds"
    return ""
