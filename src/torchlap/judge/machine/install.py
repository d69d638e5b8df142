"""Is torch installed, does it match torchvision, can it be imported?"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace

from packaging.version import Version

from torchlap.judge import broken
from torchlap.judge.findings import Finding, Rule
from torchlap.judge.machine.versions import torch_version
from torchlap.schema import packages
from torchlap.schema.commands import Action, command
from torchlap.schema.machine import Facts, PackageFault

OLDEST_TORCH = Version("2.10")
"""As pyproject.toml requires."""

NUMPY_1_OR_2 = re.compile(r"compiled using NumPy 1|numpy\.dtype size changed|_ARRAY_API not found")
"""What NumPy and Cython print where a module is compiled for another major version of NumPy."""

NUMPY_FAILS = re.compile(r"Error importing numpy|No module named 'numpy[.']|Importing the numpy C-extensions failed")
BREAK_THE_IMPORT = ("partial", "wheel", "musl")
SUSPICIOUS = ("elsewhere", "twice", "mixture")


def _command(facts: Facts, action: Action) -> str:
    return command(facts.installer, facts.interpreter, action)


MISSING = Rule(
    "TL102",
    "error",
    "torch or torchvision is not installed",
    "Without them, nothing can be measured in this environment.",
    "Install both with one command, so that they match.",
    "https://pytorch.org/get-started/locally",
)


def missing(facts: Facts) -> Iterable[Finding]:
    """A package is not installed."""
    absent = packages.missing(facts.packages)
    if absent and not any(unread.what == "the installation" for unread in facts.unread):
        yield MISSING.finding("", f"{absent} not found for {facts.interpreter}", command=_command(facts, "install"))


MISMATCH = Rule(
    "TL103",
    "error",
    "torch and torchvision do not match",
    "torchvision's operators are compiled for one version of torch. With another version, importing it fails with "
    '"operator torchvision::nms does not exist".',
    "Install both with one command, so that they match.",
    "pytorch/pytorch#157648, pytorch/vision#9085, pytorch/vision#8985",
)


def mismatch(facts: Facts) -> Iterable[Finding]:
    """By their metadata, the two come from different builds, perhaps because one of them is there twice."""
    evidence = packages.misfit(facts.packages, facts.torchvision_needs)
    twice = _twice(facts) if evidence else []
    for fault in twice:
        found = _of_fault(facts, fault)
        yield replace(found, severity="error", evidence=f"{fault.clause}; {evidence}")
    if evidence and not twice:
        yield MISMATCH.finding("", evidence, command=_command(facts, "reinstall"))


def _twice(facts: Facts) -> list[PackageFault]:
    """Copies of torch or torchvision, one of which hides the other: a reinstall would not remove it."""
    return [
        fault for fault in facts.package_faults if fault.kind == "twice" and fault.package in ("torch", "torchvision")
    ]


IMPORT_FAILS = Rule(
    "TL104",
    "error",
    "torch cannot be imported",
    "Importing torch and torchvision fails, crashes or hangs, so no program in this environment can use them.",
    "Reinstall both; if that does not help, create a new virtual environment. If the import hangs, the usual causes "
    "are a slow network disk and a driver that does not respond.",
    "importing torch in a separate process",
)


def import_fails(facts: Facts) -> Iterable[Finding]:
    """The import fails, crashes or hangs."""
    failure = facts.import_failure
    if failure is not None:
        yield IMPORT_FAILS.finding("", failure.reason, command=_command(facts, "reinstall"))


def broken_by_variable(facts: Facts) -> Iterable[Finding]:
    """Without one variable, the import works."""
    failure = facts.import_failure
    if failure is not None and failure.without:
        yield broken.by_variable("torch", failure.without, "; ".join([failure.reason, *facts.hiding]))


HIDDEN = Rule(
    "TL108",
    "error",
    "a file hides a module that torch needs",
    "Python imports the first module with a name, so a file in the working folder or in PYTHONPATH replaces the module "
    "of the same name. The import of torch then fails in that folder alone.",
    "Rename the file, and delete its __pycache__.",
    "pytorch/pytorch#39473, pytorch/pytorch#19943",
)


def hidden_module(facts: Facts) -> Iterable[Finding]:
    """The import fails, and a file has the name of a module."""
    for clause in facts.hiding:
        yield HIDDEN.finding("", clause)


NO_DEVICES = Rule(
    "TL105",
    "error",
    "torch cannot list its devices",
    "Torch can be imported, but listing its devices fails: every program that uses a device will fail in the same way.",
    "Check the device's driver, and restart the machine.",
    "torch's list of devices, queried in a separate process",
)


def no_devices(facts: Facts) -> Iterable[Finding]:
    """The import works, but listing the devices fails."""
    for unread in facts.unread:
        if unread.what == "torch's devices":
            yield NO_DEVICES.finding("", unread.why)


TOO_OLD = Rule(
    "TL106",
    "warning",
    "torch is older than torchlap requires",
    f"torchlap uses torch.accelerator in the form that torch {OLDEST_TORCH} and newer have. With an older torch, it "
    "can only report what it detects.",
    "Upgrade torch and torchvision together.",
    "torchlap's own requirement",
)


def too_old(facts: Facts) -> Iterable[Finding]:
    """Torch is older than torchlap requires."""
    torch = torch_version(facts)
    if torch is not None and torch < OLDEST_TORCH:
        evidence = f"torch {torch} is installed, {OLDEST_TORCH} or newer is required"
        yield TOO_OLD.finding("", evidence, command=_command(facts, "upgrade"))


def broken_files(facts: Facts) -> Iterable[Finding]:
    """The import fails, or a package is not found, because of what is wrong with its files."""
    for fault in facts.package_faults:
        absent = fault.package not in facts.packages
        if fault.kind in BREAK_THE_IMPORT and (absent or _crashes(facts)):
            yield _of_fault(facts, fault)


def suspicious_files(facts: Facts, known: Sequence[PackageFault] = ()) -> Iterable[Finding]:
    """What is wrong with the packages' files although torch can be imported; an error if it cannot.

    Args:
        facts: of the machine.
        known: what another rule has reported.
    """
    failure = facts.import_failure
    for fault in facts.package_faults:
        if fault.kind in SUSPICIOUS and fault not in known:
            found = _of_fault(facts, fault)
            yield replace(found, severity="error", evidence=f"{fault.clause}; {failure.reason}") if failure else found


def suspicious_files_break(facts: Facts) -> Iterable[Finding]:
    """The same, where the import fails."""
    return suspicious_files(facts) if _crashes(facts) else ()


def suspicious_files_work(facts: Facts) -> Iterable[Finding]:
    """The same, where the import works."""
    if facts.import_failure is not None:
        return ()
    return suspicious_files(facts, _twice(facts) if packages.misfit(facts.packages, facts.torchvision_needs) else ())


def numpy_abi(facts: Facts) -> Iterable[Finding]:
    """By their versions or by what the import printed, torch and NumPy do not fit."""
    for fault in facts.package_faults:
        if fault.kind == "numpy_abi":
            yield _of_fault(facts, fault)
            return
    failure = facts.import_failure
    if failure and NUMPY_1_OR_2.search(failure.output):
        yield broken.NUMPY_ABI.finding("", failure.reason, command=_command(facts, "upgrade"))


def numpy_fails(facts: Facts) -> Iterable[Finding]:
    """The import fails in NumPy."""
    failure = facts.import_failure
    if failure and NUMPY_FAILS.search(failure.output):
        repair = broken.repair("numpy", installer=facts.installer, python=facts.interpreter)
        yield broken.NUMPY.finding("", failure.reason, command=repair)


def _crashes(facts: Facts) -> bool:
    return facts.import_failure is not None and facts.import_failure.kind == "crash"


def _of_fault(facts: Facts, fault: PackageFault) -> Finding:
    return broken.finding(fault.kind, fault.package, fault.clause, installer=facts.installer, python=facts.interpreter)
