"""What the packages' own files say about an install, before anything is imported: who installed it, and what is wrong.

Needs only the standard library, because it is also used where no other package can be imported.
"""

import csv
import os
import platform
import re
import sys
import sysconfig
from collections.abc import Iterator, Sequence
from importlib.machinery import ModuleSpec, PathFinder
from importlib.metadata import Distribution
from pathlib import Path
from typing import NamedTuple

PACKAGES = ("torch", "torchvision", "numpy")
FIRST_FOR_NUMPY_2 = (2, 3)
"""The first torch that is compiled for NumPy 2 (the release notes of torch 2.3)."""

INSTALLERS = ("pip", "uv", "conda", "poetry")
SHARED = (".so", ".dylib", ".pyd")
TAG = re.compile(r"cp(3)([0-9]+)")

SearchPath = Sequence[str] | None
"""Where packages are looked for, such as another interpreter's `sys.path`; None for this one's `import_path`."""


class Fault(NamedTuple):
    """Something in the files of a package that is not as an installer leaves it.

    Attributes:
        kind: elsewhere, twice, partial, wheel, musl, mixture or numpy_abi.
        package: which package.
        clause: what was observed.
    """

    kind: str
    package: str
    clause: str


def import_path() -> list[str]:
    """Where a program of this Python looks for modules: the folders of PYTHONPATH, and this process's path."""
    given = [folder for folder in os.environ.get("PYTHONPATH", "").split(os.pathsep) if folder]
    return list(dict.fromkeys([*given, *sys.path]))


def distribution(name: str, path: SearchPath = None) -> Distribution | None:
    """An installed package, by its metadata: nothing of it is imported."""
    return next(iter(distributions(name, path)), None)


def distributions(name: str, path: SearchPath = None) -> list[Distribution]:
    """Every installed package with this name, in the order in which Python finds them."""
    where = import_path() if path is None else list(path)
    found = {_place(found): found for found in reversed(list(Distribution.discover(name=name, path=where)))}
    return list(reversed(found.values()))


def versions(names: Sequence[str] = PACKAGES, path: SearchPath = None) -> dict[str, str]:
    """The versions of the packages that are installed."""
    found = {name: distribution(name, path) for name in names}
    return {name: known.version or "" for name, known in found.items() if known}


def installer(path: SearchPath = None, prefix: Path | None = None) -> str:
    """Which program installs packages here: pip, uv, conda or poetry.

    It is the one that installed torch, or, without torch, the one that made the environment.
    """
    home = Path(sys.prefix) if prefix is None else prefix
    torch = distribution("torch", path)
    recorded = _installer(torch) if torch else ""
    made = _maker(home)
    if recorded == "pip" and made in ("uv", "poetry"):
        return made  # an environment that has no pip of its own
    if recorded in INSTALLERS:
        return recorded
    return "conda" if _from_conda("torch", home) else made


def _maker(home: Path) -> str:
    """What made an environment."""
    if (home / "conda-meta").is_dir():
        return "conda"
    settings = _text(home / "pyvenv.cfg")
    if re.search(r"^uv = ", settings, re.MULTILINE):
        return "uv"
    return "poetry" if "pypoetry" in home.parts or "POETRY_ACTIVE" in os.environ else "pip"


def faults(names: Sequence[str] = PACKAGES, path: SearchPath = None, prefix: Path | None = None) -> tuple[Fault, ...]:
    """What is wrong with the files of these packages.

    Args:
        names: of the packages.
        path: where they are looked for.
        prefix: of the environment; by default this one's.
    """
    where = import_path() if path is None else list(path)
    return (
        *_musl(),
        *(fault for name in names for fault in _of_package(name, where)),
        *_mixture(where, Path(sys.prefix) if prefix is None else prefix),
        *_numpy_abi(where),
    )


def _of_package(name: str, path: Sequence[str]) -> Iterator[Fault]:
    found = distributions(name, path)
    spec = PathFinder.find_spec(name, path)
    if len(found) > 1:
        copies = [f"{name} {copy.version} in {_folder(copy)}" for copy in found]
        yield Fault("twice", name, " and ".join(copies))
    if lost := _lost(name, found[0] if found else None, spec, path):
        yield Fault("partial", name, lost)
    elif found and spec and (other := _elsewhere(name, found[0], spec)):
        yield Fault("elsewhere", name, other)
    if found and (unfit := _unfit(name, found[0])):
        yield Fault("wheel", name, unfit)


def _lost(name: str, found: Distribution | None, spec: ModuleSpec | None, path: Sequence[str]) -> str:
    """Which files of a package are missing, as a clause; empty if none is."""
    rests = "".join(f"; {rest} is the rest of an interrupted removal" for rest in _rests(name, path))
    if found is None:
        empty = spec is not None and spec.origin is None and not isinstance(spec.submodule_search_locations, list)
        if not (spec and empty):
            return ""
        folder = next(iter(spec.submodule_search_locations or ()), name)
        return f"the folder {folder} has no __init__.py, and there is no metadata of {name}{rests}"
    missing = [file for file in _important(name, found) if not Path(str(found.locate_file(file))).exists()]
    if not missing:
        return ""
    more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
    return f"{missing[0]}{more} of {name} {found.version} is missing in {_folder(found)}{rests}"


def _important(name: str, found: Distribution) -> list[str]:
    """The files of a package that its import needs: its first module and its shared libraries."""
    rows = csv.reader((found.read_text("RECORD") or "").splitlines())
    files = [row[0] for row in rows if row and row[0].startswith(f"{name}/")]
    first = [file for file in files if file == f"{name}/__init__.py"]
    return [*first, *(file for file in files if file.endswith(SHARED))]


def _rests(name: str, path: Sequence[str]) -> list[str]:
    """What pip renames before it removes a package, and leaves behind if it is interrupted."""
    return sorted({rest.name for folder in path for rest in _glob(Path(folder), f"~{name[1:]}*")})


def _elsewhere(name: str, found: Distribution, spec: ModuleSpec) -> str:
    """That Python imports another copy than the one of the metadata, as a clause; empty if it does not."""
    if spec.origin is None or f"{name}/__init__.py" not in _important(name, found):
        return ""  # an editable install has its files elsewhere
    expected = Path(str(found.locate_file(f"{name}/__init__.py")))
    if _same(expected, Path(spec.origin)):
        return ""
    return f"the metadata of {name} {found.version} is in {_folder(found)}, but Python imports {spec.origin}"


def _unfit(name: str, found: Distribution) -> str:
    """For which Python or machine a package was built, as a clause, if this is another one."""
    tags = [line.partition(":")[2].strip() for line in (found.read_text("WHEEL") or "").splitlines() if "Tag:" in line]
    parts = [tag.split("-") for tag in tags if tag.count("-") == 2]  # noqa: PLR2004  a tag has three parts
    if not parts or any(_fits_python(python, abi) and _fits_machine(system) for python, abi, system in parts):
        return ""
    here = f"Python {sys.version_info[0]}.{sys.version_info[1]} on {sys.platform} {platform.machine()}"
    return f"{name} {found.version} was built for {tags[0]}, and this is {here}"


def _fits_python(python: str, abi: str) -> bool:
    """Whether a wheel's tags of Python and ABI fit this Python (the packaging specification, platform tags)."""
    match = TAG.fullmatch(python)
    if match is None:
        return not python.startswith("cp")
    version = (int(match[1]), int(match[2]))
    if abi == "abi3":
        return version <= sys.version_info[:2]
    threads = "t" if "t" in getattr(sys, "abiflags", "") else ""
    return version == sys.version_info[:2] and abi in ("none", f"{python}{threads}")


def _fits_machine(system: str) -> bool:
    """Whether a wheel's tag of a platform fits this machine; an unknown one does."""
    machine = platform.machine()
    if "musllinux" in system and "musl" not in _built_for():
        return False
    for word, name in (("linux", "linux"), ("macosx", "darwin"), ("win", "win32")):
        if word in system:
            universal = system.endswith(("universal2", "any"))
            return sys.platform == name and (universal or system.endswith(machine))
    return True


def _musl() -> Iterator[Fault]:
    if sys.platform == "linux" and "musl" in _built_for():
        yield Fault(
            "musl", "torch", "this Python is built for musl, as on Alpine Linux, and PyTorch's wheels for glibc"
        )


def _built_for() -> str:
    """The system that this Python is built for, like x86_64-linux-gnu."""
    return f"{sysconfig.get_config_var('MULTIARCH') or ''} {sysconfig.get_config_var('HOST_GNU_TYPE') or ''}"


def _mixture(path: Sequence[str], prefix: Path) -> Iterator[Fault]:
    """Packages of which conda and pip each installed a part."""
    sources = {name: _sources(name, path, prefix) for name in PACKAGES}
    for name, both in sources.items():
        if len(both) > 1:
            yield Fault("mixture", name, f"{name} is installed by {' and by '.join(both)}")
            return
    torch, torchvision = sources["torch"], sources["torchvision"]
    if torch and torchvision and torch != torchvision:
        yield Fault("mixture", "torch", f"torch is installed by {torch[0]}, torchvision by {torchvision[0]}")


def _sources(name: str, path: Sequence[str], prefix: Path) -> list[str]:
    """Conda, pip or both, as far as records say who installed a package."""
    recorded = {_installer(found) for found in distributions(name, path)} - {"", "conda", "poetry"}
    conda = ["conda"] if _from_conda(name, prefix) else []
    return [*conda, *(["pip"] if recorded else [])]


def _from_conda(name: str, prefix: Path) -> bool:
    """Whether conda has a record of a package."""
    names = ("pytorch", "libtorch") if name == "torch" else (name,)
    return any(list(_glob(prefix / "conda-meta", f"{known}-[0-9]*.json")) for known in names)


def _numpy_abi(path: Sequence[str]) -> Iterator[Fault]:
    found = versions(("torch", "numpy"), path)
    torch, numpy = _release(found.get("torch", "")), _release(found.get("numpy", ""))
    if torch and numpy and torch < FIRST_FOR_NUMPY_2 and numpy >= (2,):
        clause = f"NumPy {found['numpy']} is installed, and torch {found['torch']} is compiled for NumPy 1"
        yield Fault("numpy_abi", "numpy", clause)


def _release(version: str) -> tuple[int, ...]:
    match = re.match(r"[0-9]+(\.[0-9]+)*", version)
    return tuple(map(int, match[0].split("."))) if match else ()


def _installer(found: Distribution) -> str:
    return (found.read_text("INSTALLER") or "").strip().lower()


def _place(found: Distribution) -> str:
    return f"{_folder(found).resolve()} {found.version}"


def _folder(found: Distribution) -> Path:
    return Path(str(found.locate_file("")))


def _same(one: Path, other: Path) -> bool:
    return one.resolve() == other.resolve()


def _glob(folder: Path, pattern: str) -> list[Path]:
    try:
        return sorted(folder.glob(pattern))
    except OSError:
        return []


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""
