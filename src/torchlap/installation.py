"""What is installed, read from the packages' own files before anything is imported."""

import ast
import re
import sys
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.version import InvalidVersion, Version

from torchlap.errors import InstallError
from torchlap.privacy import shell_path
from torchlap.records import TorchBuild

TORCH = ("torch", "torchvision")
PACKAGES = (*TORCH, "numpy", "triton")
BUILD = re.compile(r"cpu|cu[0-9]+|rocm[0-9]+(\.[0-9]+)*|xpu")
"""What the local part of a version says of its build; other parts, as of a build from source, say nothing of it."""


def interpreter() -> str:
    """How a shell calls this Python."""
    return shell_path(sys.executable or "python")


def reinstall(python: str) -> str:
    """The command that installs torch and torchvision anew, so that they fit each other."""
    return f"{python} -m pip install --upgrade --force-reinstall torch torchvision"


def versions(packages: tuple[str, ...] = PACKAGES) -> dict[str, str]:
    """The versions of those that are installed."""
    found = {}
    for name in packages:
        try:
            found[name] = metadata.version(name) or ""  # damaged metadata has none
        except metadata.PackageNotFoundError:
            continue
    return found


def torchvision_needs() -> str:
    """Which torch the installed torchvision asks for, like `==2.13.0`; empty where it does not say."""
    try:
        wanted = [Requirement(line) for line in metadata.requires("torchvision") or ()]
    except (metadata.PackageNotFoundError, ValueError):
        return ""
    return next((str(one.specifier) for one in wanted if one.name == "torch"), "")


def missing(packages: dict[str, str]) -> str:
    """Which of the two are not installed, in words; empty for none."""
    return " and ".join(name for name in TORCH if name not in packages)


def misfit(packages: dict[str, str], needs: str) -> str:
    """Why torch and torchvision do not fit each other, as a clause; empty where they do."""
    torch, torchvision = packages.get("torch", ""), packages.get("torchvision", "")
    try:
        wanted = SpecifierSet(needs)
        builds = [BUILD.match(Version(version).local or "") for version in (torch, torchvision)]
    except (InvalidSpecifier, InvalidVersion):
        return ""
    if not wanted.contains(torch, prereleases=True):
        return f"torchvision {torchvision} needs torch{needs}, but torch {torch} is here"
    if builds[0] and builds[1] and builds[0][0] != builds[1][0]:
        return f"torch {torch} and torchvision {torchvision} come from different builds"
    return ""


def check() -> None:
    """Make sure, before any import, that torch and torchvision are there and fit each other.

    Raises:
        InstallError: when one is missing, or they come from different builds.
    """
    packages = versions(TORCH)
    absent = missing(packages)
    if absent:
        raise InstallError(f"{absent} not installed: {sys.executable} -m pip install torch torchvision.")
    wrong = misfit(packages, torchvision_needs())
    if wrong:
        raise InstallError(f"{wrong}: {reinstall(sys.executable)}.")


def torch_build() -> TorchBuild | None:
    """What torch was built for, by its version.py and its wheel's tag; None where it is not installed.

    An editable or source install may have neither: then the fields are empty.
    """
    try:
        file = metadata.distribution("torch").locate_file("torch/version.py")
    except metadata.PackageNotFoundError:
        return None
    values = _assignments(Path(str(file)))
    return TorchBuild(**{name: values.get(name) or "" for name in ("cuda", "hip", "xpu")}, wheel=_wheel_tag())


def _assignments(path: Path) -> dict[str, str]:
    """The module's plain texts by name, without running it."""
    try:
        tree = ast.parse(path.read_text(errors="replace"))
    except (OSError, SyntaxError, ValueError):
        return {}
    found: dict[str, str] = {}
    for node in tree.body:
        names = [node.target] if isinstance(node, ast.AnnAssign) else getattr(node, "targets", [])
        value = getattr(node, "value", None)
        if isinstance(value, ast.Constant) and isinstance(value.value, str):
            found |= {name.id: value.value for name in names if isinstance(name, ast.Name)}
    return found


def _wheel_tag() -> str:
    try:
        text = metadata.distribution("torch").read_text("WHEEL") or ""
    except metadata.PackageNotFoundError:
        return ""
    tags = [line.partition(":")[2].strip() for line in text.splitlines() if line.startswith("Tag:")]
    return ", ".join(tags)[:500]
