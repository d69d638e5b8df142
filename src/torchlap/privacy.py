"""Text without who and where: what a user may paste into a bug report."""

import getpass
import os
import re
import shlex
import socket
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path

HOME_FOLDER = re.compile(r"(?:/home/|/Users/|/var/home/|[A-Za-z]:\\Users\\)[^/\\\s:'\"]+")
IDENTIFIER = re.compile(r"\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b", re.IGNORECASE)
"""A UUID, which is how drivers write the serial number of a GPU."""

SHORTEST_NAME = 3
"""A shorter name of a user or host is part of too many words."""

LONGEST = 10_000


def private(text: str) -> str:
    """The text with the home folder as `~`, and without user name, host name, UUIDs, and what no encoding has."""
    text = text[:LONGEST].encode(errors="replace").decode()
    for home in _homes():
        text = re.sub(rf"{re.escape(home)}(?![\w.-])", "~", text)
    text = IDENTIFIER.sub("<id>", HOME_FOLDER.sub("~", text))
    for name, word in _names():
        text = re.sub(rf"(?<![\w.-]){re.escape(name)}(?![\w-])", word, text)
    return text


def shell_path(path: str) -> str:
    """A path as a word for a shell, its home folder as a `~` that the shell expands."""
    path = private(path)
    if path.startswith("~/"):
        return "~/" + shlex.quote(path.removeprefix("~/"))
    return shlex.quote(path)


@cache
def _homes() -> tuple[str, ...]:
    """This user's home folder as it is called and as it is, longest first; never the root of all files."""
    found = {os.path.expanduser("~")}  # noqa: PTH111  Path.home raises where there is none
    with suppress(OSError, RuntimeError):
        found.add(str(Path.home().resolve()))
    return tuple(sorted((home.rstrip("/") for home in found if len(home) > 1 and home != "~"), key=len, reverse=True))


@cache
def _names() -> tuple[tuple[str, str], ...]:
    """The names of the user and the host, with what stands in their place."""
    user, host = _asked(getpass.getuser), _asked(socket.gethostname)
    names = [(host, "<host>"), (host.partition(".")[0], "<host>"), (user, "<user>")]
    return tuple((name, word) for name, word in names if len(name) >= SHORTEST_NAME)


def _asked(function: Callable[[], str]) -> str:
    with suppress(OSError, KeyError, ImportError):
        return function()
    return ""
