"""Is torch installed, does it match torchvision, can it be imported?"""

from collections.abc import Iterable

from packaging.version import Version

from torchlap.judge.findings import Finding, Rule
from torchlap.judge.machine.versions import torch_version
from torchlap.schema import packages
from torchlap.schema.machine import Facts

OLDEST_TORCH = Version("2.10")
"""As pyproject.toml requires."""

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
        command = f"{facts.interpreter} -m pip install torch torchvision"
        yield MISSING.finding("", f"{absent} not found for {facts.interpreter}", command=command)


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
    """By their metadata, the two come from different builds."""
    evidence = packages.misfit(facts.packages, facts.torchvision_needs)
    if evidence:
        yield MISMATCH.finding("", evidence, command=packages.reinstall(facts.interpreter))


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
        yield IMPORT_FAILS.finding("", failure.reason, command=packages.reinstall(facts.interpreter))


WITHOUT = Rule(
    "TL107",
    "error",
    "an environment variable breaks the import of torch",
    "The install is right: with the variable unset, the same Python imports torch. The variable puts another library "
    "or module before torch's own, so reinstalling does not help.",
    "Unset the variable, or remove the folder or library at fault from it.",
    "importing torch again without each variable; pytorch/pytorch#157709, pytorch/pytorch#120186",
)
USER_SITE = "the user site"


def broken_by_variable(facts: Facts) -> Iterable[Finding]:
    """Without one variable, the import works."""
    failure = facts.import_failure
    if failure is not None and failure.without:
        name = failure.without
        command = "export PYTHONNOUSERSITE=1" if name == USER_SITE else f"unset {name}"
        evidence = (
            f"torch can be imported without {name}, and not with it: {'; '.join([failure.reason, *facts.hiding])}"
        )
        yield WITHOUT.finding("", evidence, command=command)


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
        command = f"{facts.interpreter} -m pip install --upgrade torch torchvision"
        evidence = f"torch {torch} is installed, {OLDEST_TORCH} or newer is required"
        yield TOO_OLD.finding("", evidence, command=command)
