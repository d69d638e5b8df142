"""Environments for tests of the doctor: a virtual environment of links and stub packages, made in milliseconds."""

import json
import os
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

from support import PATIENCE_SECONDS, ROOT

LENT = (
    "annotated_doc",
    "annotated_types",
    "markdown_it",
    "mdurl",
    "msgspec",
    "packaging",
    "platformdirs",
    "psutil",
    "pydantic",
    "pydantic_core",
    "pygments",
    "rich",
    "shellingham",
    "typer",
    "typing_extensions.py",
    "typing_inspection",
)
"""What torchlap needs beside NumPy and SciPy; links to the packages of the tests' own environment."""

ANYTHING = """
class Anything:
    def __init__(self, *_, **__): pass
    def __class_getitem__(cls, _): return cls
    def __getattr__(self, name): return Anything
def __getattr__(name):
    if name.startswith("__"): raise AttributeError(name)
    return Anything
"""
"""A module that has every name: importing the real NumPy and SciPy would take most of a test's time."""

BROKEN = "raise ImportError('libcudart.so.13: cannot open shared object file')"


class Environment:
    """A virtual environment with stubs of torch, torchvision, NumPy and SciPy, in which importing torch fails."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        version = f"python{sys.version_info[0]}.{sys.version_info[1]}"
        self.site = folder / "lib" / version / "site-packages"
        self.site.mkdir(parents=True)
        (folder / "bin").mkdir()
        home = Path(sys.base_prefix) / "bin"
        self.python = folder / "bin" / "python"
        self.python.symlink_to(home / version)
        (folder / "pyvenv.cfg").write_text(f"home = {home}\ninclude-system-site-packages = false\n")
        lender = Path(sysconfig.get_paths()["purelib"])
        for name in LENT:
            (self.site / name).symlink_to(lender / name)
        (self.site / "torchlap").symlink_to(ROOT / "src" / "torchlap")
        self.package("torch", "2.13.0", BROKEN)
        self.package("torchvision", "0.28.0", needs="torch==2.13.0")
        self.package("numpy", "2.3.0", ANYTHING)
        self.package("scipy", "1.16.0", ANYTHING)
        for module in ("numpy/typing.py", "numpy/random.py", "scipy/stats.py", "scipy/special.py"):
            (self.site / module).write_text(ANYTHING)

    def package(
        self,
        name: str,
        version: str,
        body: str = "",
        *,
        needs: str = "",
        tag: str = "py3-none-any",
        by: str = "pip",
        files: tuple[str, ...] = (),
        folder: Path | None = None,
    ) -> None:
        """A package as an installer leaves it; it replaces the module of the same name."""
        site = self.site if folder is None else folder
        info = site / f"{name}-{version}.dist-info"
        info.mkdir(parents=True, exist_ok=True)
        requires = f"Requires-Dist: {needs}\n" if needs else ""
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{requires}")
        (info / "WHEEL").write_text(f"Wheel-Version: 1.0\nTag: {tag}\n")
        (info / "INSTALLER").write_text(f"{by}\n")
        (info / "RECORD").write_text("".join(f"{file},,\n" for file in (f"{name}/__init__.py", *files)))
        (site / name).mkdir(exist_ok=True)
        (site / name / "__init__.py").write_text(body)

    def remove(self, *names: str) -> None:
        """Remove files, links, folders and the metadata of packages."""
        for name in names:
            for path in (self.site / name, *self.site.glob(f"{name}-*.dist-info")):
                remove(path)

    def doctor(self, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run the doctor of this environment; `{env}` in a variable is its folder."""
        return subprocess.run(
            [str(self.python), "-m", "torchlap", "doctor", *words],
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE_SECONDS,
            cwd=self.folder,
            env=clean_environment() | {name: value.format(env=self.folder) for name, value in variables.items()},
        )

    def report(self, *words: str, **variables: str) -> dict[str, Any]:
        """The doctor's report; it has printed nothing else."""
        done = self.doctor("--format", "json", *words, **variables)
        assert done.stderr == ""
        report: dict[str, Any] = json.loads(done.stdout)
        assert report["exit_code"] == done.returncode
        return report


def remove(path: Path) -> None:
    """Remove a file, a link or a folder, if it is there."""
    if path.is_dir() and not path.is_symlink():
        for inner in path.iterdir():
            remove(inner)
        path.rmdir()
    else:
        path.unlink(missing_ok=True)


def clean_environment() -> dict[str, str]:
    """This process's variables without those that change which modules or libraries are found."""
    names = ("PYTHONPATH", "PYTHONSAFEPATH", "VIRTUAL_ENV", "LD_LIBRARY_PATH", "LD_PRELOAD", "POETRY_ACTIVE")
    return {name: value for name, value in os.environ.items() if name not in names}
