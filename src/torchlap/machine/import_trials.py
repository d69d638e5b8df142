"""Why importing torch fails although the install may be right: a file that hides a module, or an environment variable.

Needs only the standard library, because it is also used where NumPy cannot be imported.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

SUSPECTS = (
    "LD_LIBRARY_PATH",
    "LD_PRELOAD",
    "DYLD_LIBRARY_PATH",
    "DYLD_INSERT_LIBRARIES",
    "DYLD_FALLBACK_LIBRARY_PATH",
    "PYTHONPATH",
)
"""Variables that put other libraries or modules before the installed ones."""

USER_SITE = "the user site"
THEIRS = ("torch", "torchvision", "numpy")
IMPORT = "import numpy, torch, torchvision"
MARK = "torchlap: "
IMPORT_EACH = f"""
import importlib, sys
for name in sys.argv[1:]:
    print({MARK!r} + name, flush=True)
    try:
        importlib.import_module(name)
    except BaseException as error:
        text = " ".join(f"{{type(error).__name__}}: {{error}}".split())
        print({MARK!r} + name, text[:300], flush=True)
"""
LONGEST_TRIAL_SECONDS = 60.0


def broken(names: Sequence[str], python: str = "") -> dict[str, str]:
    """Why packages cannot be imported, by their names; those that can be are left out.

    Args:
        names: of the packages.
        python: which Python imports them, all in one process unless one of them ends it; by default this one.
    """
    found: dict[str, str] = {}
    left = list(names)
    while left:
        printed, ending = _imported_each(python, left)
        lines = [line.removeprefix(MARK) for line in printed.splitlines() if line.startswith(MARK)]
        begun = [line for line in lines if line in left]
        found |= dict(line.split(" ", 1) for line in lines if " " in line)
        last = begun[-1] if begun else left[0]
        if not ending and len(begun) == len(left):
            break
        found.setdefault(last, ending or "ends the process")
        left = left[left.index(last) + 1 :]
    return found


def _imported_each(python: str, names: Sequence[str]) -> tuple[str, str]:
    """What `IMPORT_EACH` prints, and how its process ended, as a clause; empty if well."""
    command = [python or sys.executable, "-P", "-c", IMPORT_EACH, *names]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=LONGEST_TRIAL_SECONDS)
    except subprocess.TimeoutExpired as late:
        printed = late.stdout or b""
        return printed.decode(errors="replace") if isinstance(printed, bytes) else printed, "the import hangs"
    except (OSError, UnicodeDecodeError) as error:
        return "", f"{type(error).__name__}: {error}"
    if done.returncode < 0:
        return done.stdout, f"the import is killed by {signal.Signals(-done.returncode).name}"
    return done.stdout, f"the import exits with status {done.returncode}" if done.returncode else ""


def culprit(python: str = "", limit_seconds: float = LONGEST_TRIAL_SECONDS, statement: str = IMPORT) -> str:
    """The variable without which torch can be imported, or `USER_SITE`; empty if there is none.

    Args:
        python: which Python imports it, in a process of its own for every trial; by default this one.
        limit_seconds: for all trials together.
        statement: what is tried.
    """
    end = time.monotonic() + limit_seconds
    for name in SUSPECTS:
        if os.environ.get(name):
            without = {key: value for key, value in os.environ.items() if key != name}
            if _imports(python, without, end, statement=statement):
                return name
    uses_user_site = sys.prefix == sys.base_prefix and not os.environ.get("PYTHONNOUSERSITE")
    if uses_user_site and _imports(python, os.environ | {"PYTHONNOUSERSITE": "1"}, end, statement=statement):
        return USER_SITE
    return ""


def _imports(
    python: str, environment: Mapping[str, str], end: float, *, safe_path: bool = True, statement: str = IMPORT
) -> bool:
    """Whether a statement, such as the import of torch, works with these variables, before the end."""
    command = [python or sys.executable, *(["-P"] if safe_path else []), "-c", statement]
    try:
        done = subprocess.run(
            command, env=environment, capture_output=True, check=False, timeout=max(0.0, end - time.monotonic())
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


def hidden_here(python: str = "", limit_seconds: float = LONGEST_TRIAL_SECONDS) -> tuple[str, ...]:
    """Clauses that name the working folder's files that hide a module, if importing torch fails because of them.

    Call it where torch can be imported without the working folder.
    """
    files = hiding_files(["."])
    end = time.monotonic() + limit_seconds
    return files if files and not _imports(python, os.environ, end, safe_path=False) else ()


def hidden_by_python_path() -> tuple[str, ...]:
    """Clauses that name files in PYTHONPATH that hide a module."""
    return hiding_files(folder for folder in os.environ.get("PYTHONPATH", "").split(os.pathsep) if folder)


def hiding_files(folders: Iterable[str | Path]) -> tuple[str, ...]:
    """Clauses that name files that hide a module of Python's, torch's, torchvision's or NumPy's."""
    found: dict[Path, str] = {}
    for folder in folders:
        for path in _entries(Path(folder)):
            owner = path.stem if path.stem in THEIRS else "Python" if path.stem in sys.stdlib_module_names else ""
            if owner and not _is_installed(path):
                hidden = f"the package {owner}" if owner in THEIRS else f"Python's module {path.stem}"
                found.setdefault(path.absolute(), f"{path} hides {hidden}")
    return tuple(found.values())


def _entries(folder: Path) -> list[Path]:
    """Modules and packages of a folder."""
    try:
        entries = sorted(folder.iterdir())
        return [path for path in entries if path.suffix == ".py" or (path / "__init__.py").is_file()]
    except OSError:
        return []


def _is_installed(path: Path) -> bool:
    """Whether it is what an installer wrote, or belongs to Python's own library."""
    return any(path.parent.glob(f"{path.stem}-*.dist-info")) or path.parent == Path(os.__file__).parent
