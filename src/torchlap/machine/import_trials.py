"""Why importing torch fails although the install may be right: a file that hides a module, or an environment variable.

Needs only the standard library, because it is also used where NumPy cannot be imported.
"""

import os
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping
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
LONGEST_TRIAL_SECONDS = 60.0


def culprit(python: str = sys.executable, limit_seconds: float = LONGEST_TRIAL_SECONDS) -> str:
    """The variable without which torch can be imported, or `USER_SITE`; empty if there is none.

    Args:
        python: which Python imports it, in a process of its own for every trial.
        limit_seconds: for all trials together.
    """
    end = time.monotonic() + limit_seconds
    for name in SUSPECTS:
        if os.environ.get(name):
            without = {key: value for key, value in os.environ.items() if key != name}
            if _imports(python, without, end):
                return name
    uses_user_site = sys.prefix == sys.base_prefix and not os.environ.get("PYTHONNOUSERSITE")
    if uses_user_site and _imports(python, os.environ | {"PYTHONNOUSERSITE": "1"}, end):
        return USER_SITE
    return ""


def _imports(python: str, environment: Mapping[str, str], end: float, *, safe_path: bool = True) -> bool:
    """Whether torch can be imported with these variables, before the end."""
    command = [python, *(["-P"] if safe_path else []), "-c", IMPORT]
    try:
        done = subprocess.run(
            command, env=environment, capture_output=True, check=False, timeout=max(0.0, end - time.monotonic())
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


def hidden_here(python: str = sys.executable, limit_seconds: float = LONGEST_TRIAL_SECONDS) -> tuple[str, ...]:
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
