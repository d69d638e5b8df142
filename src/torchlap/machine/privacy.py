"""Text that does not say who or where: safe to paste into a bug report."""

import os
import pwd
import re
import shlex
import socket
from contextlib import suppress
from functools import cache
from pathlib import Path

HOME_FOLDER = re.compile(r"(?<![\w.~-])(/home/|/Users/|/var/home/|[A-Za-z]:\\Users\\)[^/\\\s:'\"]+")
IDENTIFIER = re.compile(
    r"\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b|(?<=\bGPU-|\bMIG-)[0-9a-f-]{4,}", re.IGNORECASE
)
"""A UUID or the beginning of one, which is how drivers write a GPU's serial number."""

SHORTEST_NAME = 3
"""Shorter names of users or hosts are part of too many words."""

LONGEST = 20_000


def private(text: str) -> str:
    """The text with the home folder as `~`, and without other homes, user and host names, UUIDs and invalid bytes."""
    text = text[:LONGEST].encode(errors="replace").decode()
    for home in _homes():
        text = re.sub(rf"(?<![\w.~-]){re.escape(home)}(?![\w.-])", "~", text)
    text = IDENTIFIER.sub("<id>", HOME_FOLDER.sub(r"\1<other>", text))
    for name, word in _names():
        text = re.sub(rf"(?<![^\W_]){re.escape(name)}(?![^\W_])", word, text, flags=re.IGNORECASE)
    return text


def identifying(text: str) -> tuple[str, ...]:
    """What in a text would identify somebody, on whatever machine it was written: home folders and identifiers."""
    homes = (match[0] for match in HOME_FOLDER.finditer(text) if not match[0].endswith("<other>"))
    return tuple(dict.fromkeys([*homes, *IDENTIFIER.findall(text)]))


def shell_path(path: str) -> str:
    """A program's path as a shell word, with the home folder as a `~` that the shell expands.

    If more of it is private, only the program's name.
    """
    public = private(path)
    if "<" in public:
        return Path(path).name
    if public.startswith("~/"):
        return "~/" + shlex.quote(public.removeprefix("~/"))
    return shlex.quote(public)


@cache
def _homes() -> tuple[str, ...]:
    """This user's home folder, by name and with links resolved, longest first; never the root folder."""
    found = {os.path.expanduser("~"), _account().pw_dir}  # noqa: PTH111  Path.home raises if there is none
    with suppress(OSError, RuntimeError):
        found |= {str(Path(home).resolve()) for home in found if home not in ("", "~")}
    homes = {home.rstrip("/") for home in found if home.startswith("/")}
    return tuple(sorted((home for home in homes if len(home) > 1), key=len, reverse=True))


@cache
def _names() -> tuple[tuple[str, str], ...]:
    """The names of the user and the host, each with its replacement; longest first."""
    users = {os.environ.get(name, "") for name in ("LOGNAME", "USER", "SUDO_USER")} | {_account().pw_name}
    host = socket.gethostname()
    names = dict.fromkeys(users, "<user>") | {host: "<host>", host.partition(".")[0]: "<host>"}
    return tuple((name, names[name]) for name in sorted(names, key=len, reverse=True) if len(name) >= SHORTEST_NAME)


def _account() -> pwd.struct_passwd:
    try:
        return pwd.getpwuid(os.getuid())
    except KeyError:  # as in a container that runs under a numeric user
        return pwd.struct_passwd(("", "", 0, 0, "", "", ""))
