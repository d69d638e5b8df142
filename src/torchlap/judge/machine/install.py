"""Is torch there, does it fit torchvision, can it be imported?"""

from collections.abc import Iterable

from packaging.version import Version

from torchlap.judge.findings import Finding, Rule, found
from torchlap.judge.machine.versions import torch_version
from torchlap.schema import packages
from torchlap.schema.machine import Facts
from torchlap.schema.packages import misfit, reinstall

OLDEST_TORCH = Version("2.10")
"""What pyproject.toml asks for."""

MISSING = Rule(
    "TL102",
    "error",
    "torch or torchvision is not installed",
    "Without them nothing can be measured in this environment.",
    "Install both in one command, so that they fit each other.",
    "https://pytorch.org/get-started/locally",
)
MISMATCH = Rule(
    "TL103",
    "error",
    "torch and torchvision do not fit each other",
    "torchvision's operators are compiled for one torch: with another, importing it fails with \"operator "
    'torchvision::nms does not exist".',
    "Install both in one command, so that they fit each other.",
    "pytorch/pytorch#157648, pytorch/vision#9085, pytorch/vision#8985",
)
IMPORT_FAILS = Rule(
    "TL104",
    "error",
    "torch cannot be imported",
    "Importing torch and torchvision fails, crashes or hangs, so no program can use them in this environment.",
    "Install both anew; if that does not help, make a fresh virtual environment. Where it hangs, a slow network disk "
    "or a driver that does not answer are the usual causes.",
    "the import was tried in a process of its own",
)
NO_ANSWER = Rule(
    "TL105",
    "error",
    "torch cannot list its devices",
    "Torch can be imported, but asking it for its devices fails: every program that uses one will fail so.",
    "Check the device's driver, and restart the machine.",
    "torch was asked in a process of its own",
)
TOO_OLD = Rule(
    "TL106",
    "warning",
    "torch is older than torchlap needs",
    f"torchlap measures through torch.accelerator as it is since {OLDEST_TORCH}; with an older torch it can tell what "
    "it sees here, and no more.",
    "Upgrade torch and torchvision together.",
    "torchlap's own requirement",
)


def missing(facts: Facts) -> Iterable[Finding]:
    """A package is not installed."""
    absent = packages.missing(facts.packages)
    if absent and not any(unread.what == "the installation" for unread in facts.unread):
        command = f"{facts.interpreter} -m pip install torch torchvision"
        yield found(MISSING, "", f"{absent} not found for {facts.interpreter}", command=command)


def mismatch(facts: Facts) -> Iterable[Finding]:
    """The two come from different builds, by their own metadata."""
    wrong = misfit(facts.packages, facts.torchvision_needs)
    if wrong:
        yield found(MISMATCH, "", wrong, command=reinstall(facts.interpreter))


def import_fails(facts: Facts) -> Iterable[Finding]:
    """The import fails, crashes or hangs."""
    failure = facts.import_failure
    if failure is not None:
        yield found(IMPORT_FAILS, "", failure.reason, command=reinstall(facts.interpreter))


def no_answer(facts: Facts) -> Iterable[Finding]:
    """The import works, but the devices cannot be asked for."""
    for unread in facts.unread:
        if unread.what == "torch's devices":
            yield found(NO_ANSWER, "", unread.why)


def too_old(facts: Facts) -> Iterable[Finding]:
    """Torch is older than torchlap needs."""
    torch = torch_version(facts)
    if torch is not None and torch < OLDEST_TORCH:
        command = f"{facts.interpreter} -m pip install --upgrade torch torchvision"
        yield found(TOO_OLD, "", f"torch {torch} is here, {OLDEST_TORCH} is needed", command=command)
