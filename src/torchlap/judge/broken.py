"""Broken installs: what the files of the packages, or a trial of their import, say.

Needs only the standard library, because the doctor also judges where no other package can be imported.
"""

from torchlap.judge.findings import Finding, Rule
from torchlap.schema.commands import BOTH, command

NEEDED = Rule(
    "TL109",
    "error",
    "a package that torchlap needs cannot be imported",
    "torchlap itself cannot start without it, so nothing else was checked. Other programs that use it fail, too.",
    "Reinstall the package; if that does not help, create a new virtual environment.",
    "importing each package in a separate process",
)
WITHOUT = Rule(
    "TL107",
    "error",
    "an environment variable breaks an import",
    "The install is right: with the variable unset, the same Python imports the package. The variable puts another "
    "library or module before its own, so reinstalling does not help.",
    "Unset the variable, or remove the folder or library at fault from it.",
    "importing torch again without each variable; pytorch/pytorch#157709, pytorch/pytorch#120186",
)
USER_SITE = "the user site"

ELSEWHERE = Rule(
    "TL170",
    "warning",
    "a package is imported from elsewhere than it was installed",
    "Python imports the first copy on its path. The version that installers report is then not the version that runs.",
    "Remove the copy that you do not want, or take its folder out of PYTHONPATH.",
    "the package's own metadata",
)
TWICE = Rule(
    "TL171",
    "warning",
    "a package is installed twice",
    "Python imports the first copy on its path. If both are in one folder, their files are mixed.",
    "If both are in one folder, uninstall the package until none is left, and install it again. Otherwise remove the "
    "copy that you do not want.",
    "the metadata in every folder of Python's path",
)
NUMPY_ABI = Rule(
    "TL172",
    "error",
    "torch and NumPy are compiled for different versions of NumPy",
    "A module that is compiled for NumPy 1 cannot use NumPy 2: Tensor.numpy() and torch.from_numpy fail, or the import "
    "does.",
    'Upgrade torch and torchvision; if they must stay, install "numpy<2".',
    "the release notes of torch 2.3; pytorch/pytorch#107302",
)
NUMPY = Rule(
    "TL173",
    "error",
    "NumPy cannot be imported",
    "torchlap, torchvision and every program that converts tensors to arrays need it.",
    "Reinstall NumPy; if that does not help, create a new virtual environment.",
    "importing NumPy in a separate process",
)
PARTIAL = Rule(
    "TL174",
    "error",
    "files of a package are missing",
    "An installation or a removal was interrupted. What is left fails when it is imported, or when it is used.",
    "Reinstall the package.",
    "the list of files in the package's own metadata",
)
WHEEL = Rule(
    "TL175",
    "error",
    "a package was built for another Python or machine",
    "Compiled modules fit only the version of Python and the machine that they were built for. This happens if a "
    "folder of packages is copied, or shared by several Pythons.",
    "Reinstall the package with this Python.",
    "the tags of the package's wheel",
)
MUSL = Rule(
    "TL176",
    "error",
    "PyTorch has no wheels for this system's C library",
    "The wheels on PyPI need glibc. Alpine Linux and other systems with musl cannot load them.",
    "Use a Python on a system with glibc, such as the container image python:slim instead of python:alpine; or install "
    "the system's own package of PyTorch.",
    "the system that this Python was built for",
)
MIXTURE = Rule(
    "TL177",
    "warning",
    "conda and pip both installed parts of torch",
    "Neither knows what the other installed: they replace files of each other, and load different copies of the same "
    "library.",
    "Create a new environment, and install torch and torchvision into it with one of the two.",
    "the records of conda and the packages' metadata",
)

RULES = {
    "elsewhere": ELSEWHERE,
    "twice": TWICE,
    "numpy_abi": NUMPY_ABI,
    "partial": PARTIAL,
    "wheel": WHEEL,
    "musl": MUSL,
    "mixture": MIXTURE,
}
"""By the kind of a fault."""

WITHOUT_COMMAND = ("elsewhere", "twice", "musl", "mixture")
"""Kinds of which only the user knows what to keep."""


def finding(kind: str, package: str, clause: str, *, installer: str, python: str) -> Finding:
    """The finding about a fault in a package's files, with the command for the installer in use."""
    words = "" if kind in WITHOUT_COMMAND else repair(package, installer=installer, python=python, kind=kind)
    return RULES[kind].finding("", clause, command=words)


def cannot_be_imported(package: str, reason: str, *, installer: str, python: str) -> Finding:
    """The finding about a package that torchlap needs."""
    rule = NUMPY if package == "numpy" else NEEDED
    return rule.finding("", f"{package}: {reason}", command=repair(package, installer=installer, python=python))


def by_variable(package: str, variable: str, reason: str) -> Finding:
    """The finding about a variable without which a package can be imported; `variable` may be the user site."""
    unset = "export PYTHONNOUSERSITE=1" if variable == USER_SITE else f"unset {variable}"
    evidence = f"{package} can be imported without {variable}, and not with it: {reason}"
    return WITHOUT.finding("", evidence, command=unset)


def repair(package: str, *, installer: str, python: str, kind: str = "") -> str:
    """The command that installs a package anew; torch and torchvision together, so that they match."""
    if kind == "numpy_abi":
        return command(installer, python, "upgrade")
    return command(installer, python, "reinstall", BOTH if package in BOTH else (package,))
