"""Virtual environments with a release of torch, in the cache folder: made once, used again, nothing else is touched.

They are made by uv where that is installed, and otherwise, or if that fails, by venv and pip, with the user's own
configuration of package indexes.
"""

import hashlib
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import platformdirs
from packaging.requirements import InvalidRequirement, Requirement
from packaging.version import InvalidVersion, Version

from torchlap.errors import InstallError, UsageError

WITH_TORCH = ("torchvision", "numpy")
LONGEST_REASON = 300


def requirement(text: str) -> str:
    """What pip takes, from a release of torch such as `2.15`, `2.15.1` or `torch==2.15.*`.

    Raises:
        UsageError: when it names anything else.
    """
    plain = text.strip()
    if re.fullmatch(r"[0-9]+\.[0-9]+", plain):
        plain = f"torch=={plain}.*"
    elif re.fullmatch(r"[0-9]+\.[0-9]+\.[0-9]+\S*", plain):
        plain = f"torch=={plain}"
    try:
        wanted = Requirement(plain)
    except InvalidRequirement:
        wanted = Requirement("nothing")
    if wanted.name.lower() != "torch" or not (wanted.specifier or wanted.url):
        raise UsageError(f"Invalid release {text!a:.80}: use one such as 2.15 or 'torch==2.15.*'.")
    return plain


def folder() -> Path:
    """Where the environments are."""
    return Path(platformdirs.user_cache_dir("torchlap")) / "environments"


def releases() -> list[Version]:
    """The final releases of torch that pip finds for this Python, the oldest first.

    Raises:
        InstallError: when pip cannot list them.
    """
    command = [sys.executable, "-m", "pip", "index", "versions", "--disable-pip-version-check", "--no-input", "torch"]
    known = re.search(r"^Available versions: (.*)$", _run(command).stdout, re.MULTILINE)
    if known is None:
        raise InstallError(
            "Cannot list the releases of torch: check that python -m pip index versions torch works, or name existing "
            "Pythons with --python."
        )
    found = set()
    for text in known[1].split(","):
        with suppress(InvalidVersion):
            found.add(Version(Version(text.strip()).public))
    return sorted(version for version in found if not version.is_prerelease and not version.is_devrelease)


def environment(wanted: str, report: Callable[[str], None]) -> Path:
    """The Python of an environment that has a release of torch; it is made if there is none yet.

    Args:
        wanted: a `requirement`.
        report: called with what is being done.

    Raises:
        InstallError: when it cannot be made.
    """
    key = hashlib.sha256(f"{wanted} {sys.version_info[:2]} {sys.base_prefix}".encode()).hexdigest()[:16]
    place = folder() / key
    if not place.is_dir():
        report(f"installing {wanted}")
        try:
            folder().mkdir(parents=True, exist_ok=True)
            part = Path(tempfile.mkdtemp(prefix=f"{key}-", dir=folder()))
        except OSError as error:
            raise InstallError(f"Cannot write to {folder()} ({error.strerror}): free disk space.") from None
        try:
            _make(part, wanted)
            _check(part, wanted)
            part.rename(place)  # in one step, so that an environment that exists is complete
        finally:
            shutil.rmtree(part, ignore_errors=True)
    return place / "bin" / "python"


def _make(place: Path, wanted: str) -> None:
    python, packages = str(place / "bin" / "python"), (wanted, *WITH_TORCH)
    uv = shutil.which("uv")
    if uv is not None:
        made = [[uv, "venv", "--quiet", "--allow-existing", "--python", sys.executable, str(place)]]
        made.append([uv, "pip", "install", "--quiet", "--python", python, *packages])
        if not any(map(_failure, made)):
            return
    pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input", *packages]
    for command in ([sys.executable, "-m", "venv", "--clear", str(place)], pip):
        if reason := _failure(command):
            raise InstallError(
                f"Cannot install {wanted} ({reason}): check the release, the network and the disk space."
            )


def _check(place: Path, wanted: str) -> None:
    """Import what was installed: where several indexes are mixed, torch and torchvision can be of different builds."""
    if reason := _failure([str(place / "bin" / "python"), "-c", "import torchvision"]):
        raise InstallError(
            f"{wanted} was installed, but cannot be imported with torchvision ({reason}): name the build, as in "
            "torch===2.15.0, or make an environment and name its Python with --python."
        )


def _failure(command: Sequence[str]) -> str:
    """Run a command; empty if it succeeds, otherwise the line of its errors that says most."""
    try:
        done = _run(command)
    except OSError as error:
        return str(error.strerror)
    if not done.returncode:
        return ""
    lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("ERROR: ") and "ResolutionImpossible" not in line]
    reason = (errors or lines or [f"exit code {done.returncode}"])[-1]
    return reason.removeprefix("ERROR: ")[:LONGEST_REASON].rstrip(".")


def _run(command: Sequence[str]) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", check=False
    )
