"""Other Pythons as workers: what they have, and torchlap's source lent to them; nothing is installed anywhere.

An arm's Python needs torch, torchvision and numpy of its own. torchlap itself, and small packages that it lacks, come
from this Python through links in a temporary folder that is on its path: so nothing else of this Python is.
"""

import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec
from msgspec import Struct

from torchlap.errors import UsageError
from torchlap.processes.start import THIS, Interpreter
from torchlap.schema.arm import Arm

ASK_SECONDS = 60.0
OLDEST = (3, 11)
NEEDED, LENT = ("numpy",), ("msgspec", "psutil", "platformdirs")
COMPILED = ("msgspec", "psutil")
"""They work only in a Python of the same version."""

QUESTION = f"""
import json, sys
from importlib.util import find_spec
print(json.dumps({{
    "version": list(sys.version_info[:3]),
    "tag": sys.implementation.cache_tag,
    "path": sys.path,
    "missing": [name for name in {(*NEEDED, *LENT)!r} if find_spec(name) is None],
}}))
"""


class Answer(Struct, frozen=True):
    """What a Python says about itself: its version and search path, and which packages of a worker it lacks."""

    version: tuple[int, int, int]
    tag: str
    path: tuple[str, ...]
    missing: tuple[str, ...]


def find(arm: Arm) -> str:
    """The path of an arm's Python: a file, a virtual environment's folder, or a command.

    Raises:
        UsageError: when there is none.
    """
    if not arm.interpreter:
        return sys.executable
    path = Path(os.path.abspath(os.path.expanduser(arm.interpreter)))  # noqa: PTH100, PTH111  it may be a link to keep
    if path.is_dir():
        path /= "bin/python"
    if path.is_file() and os.access(path, os.X_OK):
        return str(path)
    command = shutil.which(arm.interpreter)
    if command is None:
        raise UsageError(
            f"Arm {arm.name!r}: {arm.interpreter} is not a Python: give the path of one, such as venv/bin/python."
        )
    return command


def ask(arm: Arm, python: str) -> Answer:
    """What an arm's Python has, asked without importing torch.

    Raises:
        UsageError: when it does not answer, is too old, or has no numpy.
    """
    try:
        lines = _asked(arm, python).splitlines() or [b""]
        answer = msgspec.json.decode(lines[-1], type=Answer)
    except (OSError, msgspec.DecodeError):
        raise UsageError(
            f"Arm {arm.name!r}: {python} does not run as Python {OLDEST[0]}.{OLDEST[1]} or newer: check it by itself."
        ) from None
    if answer.version[:2] < OLDEST:
        raise UsageError(
            f"Arm {arm.name!r}: {python} is Python {answer.version[0]}.{answer.version[1]}, but torchlap needs "
            f"{OLDEST[0]}.{OLDEST[1]} or newer: choose another Python."
        )
    fitting = answer.tag == sys.implementation.cache_tag
    lacking = [name for name in answer.missing if name in NEEDED or (name in COMPILED and not fitting)]
    if lacking:
        words = " and ".join(lacking)
        raise UsageError(f"Arm {arm.name!r}: {words} not installed: {python} -m pip install {' '.join(lacking)}.")
    return answer


def _asked(arm: Arm, python: str) -> bytes:
    """What the Python prints; it is ended when it takes too long."""
    with subprocess.Popen(
        [python, "-P", "-c", QUESTION],
        env=os.environ | arm.environment,
        cwd=arm.folder or None,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as process:
        limit = threading.Timer(ASK_SECONDS, process.kill)
        limit.start()
        try:
            return process.communicate()[0]
        finally:
            limit.cancel()


@contextmanager
def lent(arm: Arm, python: str, answer: Answer) -> Iterator[Interpreter]:
    """The arm's Python as an interpreter of workers, with torchlap's source on its path."""
    folder = arm.folder or None
    if python == THIS.python:
        yield Interpreter(python, arm.environment, folder)
        return
    with TemporaryDirectory(prefix="torchlap-arm-") as links:
        for name in ("torchlap", *answer.missing):
            spec = find_spec(name)
            if spec is not None and spec.origin is not None:
                source = Path(spec.origin)
                source = source.parent if source.name == "__init__.py" else source
                (Path(links) / source.name).symlink_to(source)
        earlier = arm.environment.get("PYTHONPATH", os.environ.get("PYTHONPATH", ""))
        path = os.pathsep.join([links, *([earlier] if earlier else [])])
        yield Interpreter(python, {**arm.environment, "PYTHONPATH": path}, folder)
