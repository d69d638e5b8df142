"""Macs: is MPS available, and which of its bugs do these versions have?

The versions are those that were published; torchlap has reproduced none of the bugs, so each finding names its source.
"""

from collections.abc import Iterable

from msgspec import Struct
from packaging.version import Version

from torchlap.judge.findings import Finding, Rule
from torchlap.judge.machine.versions import macos_version, parsed, torch_version
from torchlap.schema.commands import command
from torchlap.schema.machine import Facts

OLDEST_MACOS = (("2.15", "15"), ("2.9", "14"), ("2.5", "13"), ("1.12", "12.3"))
"""From which torch on MPS requires which macOS, as in the published wheels; torch's own message is wrong for 2.5."""


def is_apple_silicon(facts: Facts) -> bool:
    """A Mac with an Apple GPU, even if a translated Python believes that it is an Intel Mac."""
    return facts.system.startswith("macOS") and (facts.architecture == "arm64" or facts.translated)


def _lacks_mps(facts: Facts) -> bool:
    return is_apple_silicon(facts) and not (facts.torch and facts.torch.mps_available)


def _versions(facts: Facts) -> str:
    return f"{facts.cpu}, macOS {facts.os_version}, torch {facts.packages['torch']}"


ROSETTA = Rule(
    "TL110",
    "error",
    "Python runs under Rosetta",
    "This Python is built for Intel and runs translated: everything is slow, MPS is not available, and pip finds no "
    "torch newer than 2.2 for it.",
    "Install a Python for arm64 (python.org, Homebrew in /opt/homebrew, or conda for osx-arm64), and torch into it.",
    "freqtrade/freqtrade#11541; Intel wheels ended with torch 2.2",
)


def rosetta(facts: Facts) -> Iterable[Finding]:
    """Python is built for Intel, but the chip is Apple's."""
    if is_apple_silicon(facts) and facts.translated:
        evidence = f"{facts.cpu}, Python for {facts.architecture} (sysctl.proc_translated is 1)"
        yield ROSETTA.finding("", evidence)


WITHOUT_MPS = Rule(
    "TL111",
    "error",
    "torch is built without MPS",
    "This torch cannot use the GPU of this Mac.",
    "Install the wheel for arm64 from PyPI.",
    "torch.backends.mps.is_built()",
)


def without_mps(facts: Facts) -> Iterable[Finding]:
    """Torch reports that it was built without MPS, or is older than MPS."""
    version = torch_version(facts)
    if not _lacks_mps(facts) or version is None:
        return
    if version < Version(OLDEST_MACOS[-1][0]) or (facts.torch and not facts.torch.mps_built):
        evidence = f"{facts.cpu}, torch {facts.packages['torch']}"
        yield WITHOUT_MPS.finding("", evidence, command=command(facts.installer, facts.interpreter, "reinstall"))


MACOS_TOO_OLD = Rule(
    "TL112",
    "error",
    "macOS is too old for this torch",
    "pip installs this version of torch, but it refuses to use MPS on this version of macOS.",
    "Update macOS.",
    "read in torch's published wheels; pytorch/pytorch#139425, #164943",
)


def macos_too_old(facts: Facts) -> Iterable[Finding]:
    """This torch requires a newer macOS."""
    torch, macos = torch_version(facts), macos_version(facts)
    if not _lacks_mps(facts) or torch is None or macos is None:
        return
    needed = next((needs for since, needs in OLDEST_MACOS if torch >= Version(since)), "")
    if not needed or macos >= Version(needed):
        return
    evidence = f"macOS {facts.os_version}, torch {facts.packages['torch']}, which requires macOS {needed} or newer"
    remedy = f"Update macOS to {needed} or newer{_alternative(macos)}."
    yield MACOS_TOO_OLD.finding("mps", evidence, remedy=remedy)


def _alternative(macos: Version) -> str:
    """Which torch still uses MPS on this macOS, as the end of a sentence; empty if none does."""
    newer = None
    for since, needs in OLDEST_MACOS:
        if macos >= Version(needs):
            return f", or install a torch older than {newer}"
        newer = since
    return ""


UNAVAILABLE = Rule(
    "TL113",
    "error",
    "MPS is built in, but not available",
    "Torch is built for this Mac's GPU and macOS is new enough, but torch does not find the GPU.",
    "Run on the machine itself: a virtual machine, or a session without access to the GPU, has no Metal device.",
    "torch.backends.mps.is_available()",
)


def unavailable(facts: Facts) -> Iterable[Finding]:
    """Nothing explains why MPS is not available."""
    if _lacks_mps(facts) and facts.torch and facts.torch.mps_built:
        yield UNAVAILABLE.finding("mps", f"{facts.cpu}, macOS {facts.os_version}. {facts.looked_for}")


DEFAULT_HIGH_WATERMARK, DEFAULT_LOW_WATERMARK = 1.7, 1.4
"""Of the recommended working set (torch's documentation of the MPS environment variables)."""

WATERMARKS = Rule(
    "TL114",
    "warning",
    "unsafe MPS memory limits",
    "Above the high watermark, MPS refuses to allocate. At 0.0 it never refuses, and the system may run out of memory. "
    f"If the high watermark is below the low one ({DEFAULT_LOW_WATERMARK} by default), the first allocation fails.",
    "Unset both, or lower both together.",
    "https://docs.pytorch.org/docs/stable/mps_environment_variables.html",
)


def watermarks(facts: Facts) -> Iterable[Finding]:
    """The limits of MPS's memory are set so that allocations fail, or so that they protect nothing."""
    high = _number(facts.environment.get("PYTORCH_MPS_HIGH_WATERMARK_RATIO"))
    low = _number(facts.environment.get("PYTORCH_MPS_LOW_WATERMARK_RATIO"))
    if not is_apple_silicon(facts) or (high is None and low is None):
        return
    high = DEFAULT_HIGH_WATERMARK if high is None else high
    if high == 0 or high < (DEFAULT_LOW_WATERMARK if low is None else low):
        settings = [f"{name}={facts.environment[name]}" for name in facts.environment if "_WATERMARK_" in name]
        yield WATERMARKS.finding("mps", ", ".join(settings))


def _number(text: str | None) -> float | None:
    try:
        return float(text) if text else None
    except ValueError:
        return None


LOST_UPDATES = Rule(
    "TL115",
    "warning",
    "Adam may not update parameters",
    "On MPS, in-place arithmetic on a transposed tensor has no effect in these versions. Adam silently leaves such "
    "parameters unchanged, so the model trains poorly.",
    "Upgrade torch to 2.4 or newer, or macOS to 15 or newer.",
    "pytorch/pytorch#118115",
)


def lost_updates(facts: Facts) -> Iterable[Finding]:
    """Adam does not update a transposed parameter."""
    if is_apple_silicon(facts) and _within(facts, ("", "2.4"), ("", "15")):
        yield LOST_UPDATES.finding("mps", _versions(facts))


def _within(facts: Facts, torch: tuple[str, str], macos: tuple[str, str]) -> bool:
    return _between(torch_version(facts), *torch) and _between(macos_version(facts), *macos)


def _between(version: Version | None, first: str, fixed: str) -> bool:
    if version is None:
        return False
    least, end = parsed(first), parsed(fixed)
    return (least is None or version >= least) and (end is None or version < end)


class KnownBug(Struct, frozen=True):
    """Wrong results in some versions.

    Attributes:
        torch: the first affected version and the first fixed one; empty for no limit. So is `macos`.
        chips: the affected chips, as `Facts.cpu` begins; empty for all.
    """

    what: str
    source: str
    torch: tuple[str, str] = ("", "")
    macos: tuple[str, str] = ("", "")
    chips: tuple[str, ...] = ()


KNOWN_BUGS = (
    KnownBug(
        "random numbers written to a transposed tensor, and so Dropout (fixed by macOS 15, or by torch 2.11)",
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
        "a matrix product with an expanded gradient, as in y.sum().backward() (fixed in macOS 26.4)",
        "pytorch/pytorch#180201, #180236",
        macos=("15", "26.4"),
    ),
)

KNOWN_WRONG = Rule(
    "TL116",
    "warning",
    "known wrong results in these versions",
    "Users found operators that silently compute wrong results on MPS in these versions. Models that do not use them "
    "in this way are not affected.",
    "Upgrade to a version with the fix.",
)


def known_wrong(facts: Facts) -> Iterable[Finding]:
    """Other operators that are known to compute wrong results in these versions."""
    for bug in KNOWN_BUGS:
        on_chip = not bug.chips or facts.cpu.startswith(bug.chips)
        if is_apple_silicon(facts) and on_chip and _within(facts, bug.torch, bug.macos):
            yield KNOWN_WRONG.finding("mps", f"{bug.what}; this machine: {_versions(facts)}", source=bug.source)


LACKING = (
    ("2.3", "", "bf16", "read in torch's published wheels"),
    ("2.9", "14", "bf16 (requires macOS 14)", "read in torch's published wheels"),
    ("2.5", "", "autocast in fp16", "pytorch/pytorch#99272"),
    ("2.6", "", "autocast in bf16", "pytorch/pytorch#139390"),
    ("2.8", "", "GradScaler, which uses float64", "pytorch/pytorch#142397"),
    ("2.8", "", "torch.compile", "pytorch/pytorch#152155, #157957"),
)
"""What torch below a version lacks on MPS, if macOS is older than the second version or that is empty."""

SETTINGS_IGNORED = Rule(
    "TL117",
    "warning",
    "settings not supported on MPS by this torch",
    "Torch ignores or refuses them. If a requested setting is silently ignored, a comparison of settings is "
    "meaningless.",
    "Upgrade torch.",
)


def settings_ignored(facts: Facts) -> Iterable[Finding]:
    """What this torch lacks on MPS."""
    if not is_apple_silicon(facts):
        return
    for below, below_macos, what, source in LACKING:
        if _within(facts, ("", below), ("", below_macos)):
            upgrade = command(facts.installer, facts.interpreter, "upgrade")
            evidence = f"{what}: supported since torch {below}, this is torch {facts.packages['torch']}"
            yield SETTINGS_IGNORED.finding("mps", evidence, command=upgrade, source=source)


CANNOT_ALLOCATE = Rule(
    "TL118",
    "error",
    "MPS is reported, but cannot allocate memory",
    "Torch lists the GPU, but the first tensor fails. This is usual for macOS in a virtual machine, whose GPU has no "
    "memory of its own, for example on hosted CI runners.",
    "Use the CPU in this machine (--devices cpu), and let scripts allocate a tensor before they choose MPS.",
    "the live probe; actions/runner-images#9918, actions/runner-images#11899",
)


def cannot_allocate(facts: Facts) -> Iterable[Finding]:
    """The live probe of MPS fails at its first allocation."""
    for trial in facts.trials:
        if trial.device == "mps" and trial.failed_at == "allocating memory":
            where = "; this macOS runs in a virtual machine" if facts.virtual else ""
            yield CANNOT_ALLOCATE.finding("mps", f"while allocating memory: {trial.reason}{where}")
