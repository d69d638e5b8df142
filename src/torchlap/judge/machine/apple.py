"""Macs: is there MPS, and what is known to be wrong with it in these versions?

The versions are as published; torchlap has reproduced none of it, so each finding carries its source.
"""

from collections.abc import Iterable

from msgspec import Struct
from packaging.version import Version

from torchlap.judge.findings import Finding, Rule, found
from torchlap.judge.machine.versions import macos_version, parsed, torch_version
from torchlap.schema.machine import Facts
from torchlap.schema.packages import reinstall

OLDEST_MACOS = (("2.15", "15"), ("2.9", "14"), ("2.5", "13"), ("1.12", "12.3"))
"""From which torch on MPS needs which macOS: read in the published wheels; torch's own message is wrong for 2.5."""

DEFAULT_HIGH_WATERMARK, DEFAULT_LOW_WATERMARK = 1.7, 1.4
"""Of the recommended working set (torch's documentation of the MPS environment variables)."""

ROSETTA = Rule(
    "TL110",
    "error",
    "Python runs under Rosetta",
    "This Python is built for Intel and translated: everything is slow, MPS is not there, and pip finds no torch for "
    "it newer than 2.2.",
    "Install a Python for arm64 (python.org, Homebrew in /opt/homebrew, or a conda for osx-arm64), and torch into it.",
    "freqtrade/freqtrade#11541; Intel wheels ended with torch 2.2",
)
WITHOUT_MPS = Rule(
    "TL111",
    "error",
    "this torch is built without MPS",
    "The GPU of this Mac cannot be used by it.",
    "Install the wheel for arm64 from PyPI.",
    "torch.backends.mps.is_built()",
)
MACOS_TOO_OLD = Rule(
    "TL112",
    "error",
    "macOS is too old for this torch",
    "pip installs this torch here, but it refuses to use MPS on this macOS.",
    "Update macOS.",
    "read in torch's published wheels; pytorch/pytorch#139425, #164943",
)
UNAVAILABLE = Rule(
    "TL113",
    "error",
    "MPS is built in, but not available",
    "Torch is built for this Mac's GPU and macOS is new enough, and yet torch does not find it.",
    "Inside a virtual machine, or in a session without access to the GPU, there is no Metal device: run it on the "
    "machine itself.",
    "torch.backends.mps.is_available()",
)
WATERMARKS = Rule(
    "TL114",
    "warning",
    "MPS memory limits are set",
    "Above the high watermark MPS refuses memory, with 0.0 it never does and the system may run out; a high one below "
    f"the low one, {DEFAULT_LOW_WATERMARK} by default, fails at the first allocation.",
    "Unset both, or lower both together.",
    "https://docs.pytorch.org/docs/stable/mps_environment_variables.html",
)
LOST_UPDATES = Rule(
    "TL115",
    "warning",
    "Adam may leave parameters as they are",
    "On MPS, in-place arithmetic on a transposed tensor does nothing in these versions: a step of Adam leaves such "
    "parameters frozen, and training looks merely bad.",
    "Upgrade torch to 2.4 or newer, or macOS to 15.",
    "pytorch/pytorch#118115",
)
KNOWN_WRONG = Rule(
    "TL116",
    "warning",
    "numbers are known to be wrong in these versions",
    "Users found operators that silently compute wrong numbers on MPS in these versions; models that do not use them "
    "so are not hit.",
    "Upgrade to the version that is named.",
)
SETTINGS_IGNORED = Rule(
    "TL117",
    "warning",
    "this torch ignores or refuses settings on MPS",
    "What is asked for and silently not done makes a comparison of settings meaningless.",
    "Upgrade torch.",
)


class KnownBug(Struct, frozen=True):
    """Wrong numbers in some versions, [first, fixed) each; empty for no limit. `chips` are as the CPU is called."""

    what: str
    source: str
    torch: tuple[str, str] = ("", "")
    macos: tuple[str, str] = ("", "")
    chips: tuple[str, ...] = ()


KNOWN_BUGS = (
    KnownBug(
        "random numbers into a transposed tensor, so Dropout too (fixed by macOS 15, or torch 2.11)",
        "pytorch/pytorch#165267",
        torch=("", "2.11"),
        macos=("", "15"),
    ),
    KnownBug(
        "gradients of Linear over more than 32,768 rows (fixed in torch 2.14)",
        "pytorch/pytorch#177116, #183535",
        torch=("2.7", "2.14"),
        chips=("Apple M1", "Apple M2"),
    ),
    KnownBug(
        "attention of one query over 1,024 keys in bf16 (fixed in torch 2.11)",
        "pytorch/pytorch#174861",
        torch=("2.8", "2.11"),
    ),
    KnownBug(
        "a product with an expanded gradient, as of y.sum().backward() (fixed in macOS 26.4)",
        "pytorch/pytorch#180201, #180236",
        macos=("15", "26.4"),
    ),
)
LACKING = (
    ("2.3", "", "bf16", "read in torch's published wheels"),
    ("2.9", "14", "bf16 below macOS 14", "read in torch's published wheels"),
    ("2.5", "", "autocast in fp16", "pytorch/pytorch#99272"),
    ("2.6", "", "autocast in bf16", "pytorch/pytorch#139390"),
    ("2.8", "", "GradScaler, which wants float64", "pytorch/pytorch#142397"),
    ("2.8", "", "torch.compile", "pytorch/pytorch#152155, #157957"),
)
"""What torch below a version has not got on MPS, where macOS is older than the second or that is empty."""


def is_apple_silicon(facts: Facts) -> bool:
    """A Mac with a GPU of Apple's own, also where Python is translated and takes it for an Intel Mac."""
    return facts.system.startswith("macOS") and (facts.architecture == "arm64" or facts.translated)


def rosetta(facts: Facts) -> Iterable[Finding]:
    """Python is for Intel, on a chip of Apple's."""
    if is_apple_silicon(facts) and facts.translated:
        yield found(ROSETTA, "", f"{facts.cpu}, Python for {facts.architecture} (sysctl.proc_translated is 1)")


def _lacks_mps(facts: Facts) -> bool:
    return is_apple_silicon(facts) and not (facts.torch and facts.torch.mps_available)


def without_mps(facts: Facts) -> Iterable[Finding]:
    """Torch says that it was built without MPS, or is older than MPS."""
    version = torch_version(facts)
    if not _lacks_mps(facts) or version is None:
        return
    if version < Version(OLDEST_MACOS[-1][0]) or (facts.torch and not facts.torch.mps_built):
        command = reinstall(facts.interpreter)
        yield found(WITHOUT_MPS, "", f"{facts.cpu}, torch {facts.packages['torch']}", command=command)


def macos_too_old(facts: Facts) -> Iterable[Finding]:
    """This torch needs a newer macOS."""
    torch, macos = torch_version(facts), macos_version(facts)
    if not _lacks_mps(facts) or torch is None or macos is None:
        return
    needed = next((needs for since, needs in OLDEST_MACOS if torch >= Version(since)), "")
    if not needed or macos >= Version(needed):
        return
    evidence = f"macOS {facts.os_version}, torch {facts.packages['torch']}, which needs macOS {needed} or newer"
    yield found(MACOS_TOO_OLD, "mps", evidence, remedy=f"Update macOS to {needed} or newer.{_last_torch_for(macos)}")


def _last_torch_for(macos: Version) -> str:
    """In words, which torch is the newest that uses MPS on this macOS."""
    newer = None
    for since, needs in OLDEST_MACOS:
        if macos >= Version(needs):
            return f" The last torch for this macOS came before {newer}."
        newer = since
    return ""


def unavailable(facts: Facts) -> Iterable[Finding]:
    """Nothing explains why MPS is not there."""
    if _lacks_mps(facts) and facts.torch and facts.torch.mps_built:
        yield found(UNAVAILABLE, "mps", f"{facts.cpu}, macOS {facts.os_version}. {facts.looked_for}")


def watermarks(facts: Facts) -> Iterable[Finding]:
    """The limits of MPS's memory are set, so that they fail or protect nothing."""
    high = _number(facts.environment.get("PYTORCH_MPS_HIGH_WATERMARK_RATIO"))
    low = _number(facts.environment.get("PYTORCH_MPS_LOW_WATERMARK_RATIO"))
    if not is_apple_silicon(facts) or (high is None and low is None):
        return
    high = DEFAULT_HIGH_WATERMARK if high is None else high
    if high == 0 or high < (DEFAULT_LOW_WATERMARK if low is None else low):
        settings = [f"{name}={facts.environment[name]}" for name in facts.environment if "_WATERMARK_" in name]
        yield found(WATERMARKS, "mps", ", ".join(settings))


def _number(text: str | None) -> float | None:
    try:
        return float(text) if text else None
    except ValueError:
        return None


def lost_updates(facts: Facts) -> Iterable[Finding]:
    """Adam does nothing on a transposed parameter."""
    if is_apple_silicon(facts) and _within(facts, ("", "2.4"), ("", "15")):
        yield found(LOST_UPDATES, "mps", _versions(facts))


def _within(facts: Facts, torch: tuple[str, str], macos: tuple[str, str]) -> bool:
    return _between(torch_version(facts), *torch) and _between(macos_version(facts), *macos)


def _between(version: Version | None, first: str, fixed: str) -> bool:
    if version is None:
        return False
    least, end = parsed(first), parsed(fixed)
    return (least is None or version >= least) and (end is None or version < end)


def _versions(facts: Facts) -> str:
    return f"{facts.cpu}, macOS {facts.os_version}, torch {facts.packages['torch']}"


def known_wrong(facts: Facts) -> Iterable[Finding]:
    """Other operators that are known to compute wrong numbers here, and in which version no more."""
    for bug in KNOWN_BUGS:
        on_chip = not bug.chips or facts.cpu.startswith(bug.chips)
        if is_apple_silicon(facts) and on_chip and _within(facts, bug.torch, bug.macos):
            yield found(KNOWN_WRONG, "mps", f"{bug.what}; here {_versions(facts)}", source=bug.source)


def settings_ignored(facts: Facts) -> Iterable[Finding]:
    """What this torch has not got on MPS."""
    if not is_apple_silicon(facts):
        return
    for below, below_macos, what, source in LACKING:
        if _within(facts, ("", below), ("", below_macos)):
            command = f"{facts.interpreter} -m pip install --upgrade torch torchvision"
            evidence = f"{what} (torch {facts.packages['torch']}; since {below})"
            yield found(SETTINGS_IGNORED, "mps", evidence, command=command, source=source)
