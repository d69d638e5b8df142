"""What is installed, read from the packages' own files before anything is imported."""

import ast
import sys
from collections.abc import Sequence
from importlib.metadata import Distribution
from pathlib import Path

from packaging.requirements import Requirement

from torchlap.machine import packages
from torchlap.machine.packages import SearchPath
from torchlap.machine.packages import distribution as _distribution
from torchlap.machine.privacy import private, shell_path
from torchlap.schema.commands import BOTH
from torchlap.schema.machine import PackageFault, TorchBuild

PACKAGES = (*BOTH, "numpy", "triton")


def interpreter() -> str:
    """How a shell calls this Python."""
    return shell_path(sys.executable or "python")


def versions(packages: Sequence[str] = PACKAGES, path: SearchPath = None) -> dict[str, str]:
    """The versions of the packages that are installed."""
    found = {name: _distribution(name, path) for name in packages}
    return {name: distribution.version or "" for name, distribution in found.items() if distribution}


def faults() -> tuple[PackageFault, ...]:
    """What is wrong with the packages' files; paths in it are private."""
    return tuple(PackageFault(fault.kind, fault.package, private(fault.clause)) for fault in packages.faults())


def torchvision_needs(path: SearchPath = None) -> str:
    """Which torch the installed torchvision requires, like `==2.13.0`; empty if it does not say."""
    distribution = _distribution("torchvision", path)
    try:
        wanted = [Requirement(line) for line in (distribution.requires if distribution else None) or ()]
    except ValueError:
        return ""
    return next((str(requirement.specifier) for requirement in wanted if requirement.name == "torch"), "")


def torch_build(path: SearchPath = None) -> TorchBuild | None:
    """What torch was built for, by its version.py and its wheel's tag; None if it is not installed.

    An editable or source install may have neither: then the fields are empty.
    """
    distribution = _distribution("torch", path)
    if distribution is None:
        return None
    values = _assignments(Path(str(distribution.locate_file("torch/version.py"))))
    built_for = {name: values.get(name) or "" for name in ("cuda", "hip", "xpu")}
    return TorchBuild(**built_for, wheel=_wheel_tag(distribution))


def _assignments(path: Path) -> dict[str, str]:
    """The module's string constants by name, without running it."""
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


def _wheel_tag(distribution: Distribution) -> str:
    text = distribution.read_text("WHEEL") or ""
    tags = [line.partition(":")[2].strip() for line in text.splitlines() if line.startswith("Tag:")]
    return ", ".join(tags)[:500]
