"""A git revision of the user's files in a temporary worktree, which is removed at the end, also after Ctrl-C.

What this does not cover: files that git does not track, submodules, and a torchlap that is killed by SIGKILL; then
`git worktree prune` forgets the folder once the system has emptied its temporary folder.
"""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from msgspec import Struct

from torchlap.errors import UsageError


class CheckedOut(Struct, frozen=True):
    """A revision's commit, and the folder that has its files, at the place of the working directory."""

    commit: str
    folder: Path


@contextmanager
def checked_out(revision: str) -> Iterator[CheckedOut]:
    """Check out a revision of the repository that the working directory is in.

    Raises:
        UsageError: when git is missing, this is not a repository, or the revision does not exist.
    """
    if shutil.which("git") is None:
        raise UsageError("--against needs git: install it, or name two folders with --arm NAME=path:FOLDER.")
    inside = _git(["rev-parse", "--show-toplevel", "--show-prefix"])
    if inside.returncode:
        raise UsageError(f"{Path.cwd()} is not in a git repository: run torchlap in the repository of your model.")
    root, _, prefix = inside.stdout.partition("\n")
    found = _git(["rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}"])
    if found.returncode:
        raise UsageError(f"git does not know the revision {revision!r}: use a branch, tag or commit.")
    parent = Path(tempfile.mkdtemp(prefix="torchlap-against-"))
    tree = parent / "files"
    try:
        added = _git(["worktree", "add", "--detach", "--quiet", str(tree), found.stdout.strip()])
        if added.returncode:
            raise UsageError(f"git cannot check out {revision} ({_last(added.stderr)}): try git worktree add yourself.")
        folder = tree / prefix.strip("\n")
        if not folder.is_dir():
            raise UsageError(f"{revision} does not have the folder {prefix.strip()}: choose a revision that has it.")
        yield CheckedOut(found.stdout.strip(), folder)
    finally:
        try:
            _git(["worktree", "remove", "--force", str(tree)], root)
        finally:
            shutil.rmtree(parent, ignore_errors=True)
            _git(["worktree", "prune"], root)


def _git(words: Sequence[str], folder: str | None = None) -> "subprocess.CompletedProcess[str]":
    """Run git without the repository's hooks, and in a session of its own, which Ctrl-C does not reach."""
    return subprocess.run(
        [shutil.which("git") or "git", "-c", f"core.hooksPath={os.devnull}", *words],
        cwd=folder,
        env=os.environ | {"GIT_TERMINAL_PROMPT": "0"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
        start_new_session=True,
    )


def _last(text: str) -> str:
    return (text.strip().splitlines() or ["no reason given"])[-1][:300]
