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

SUBMODULE = "160000"
"""The mode of a submodule's folder."""


class CheckedOut(Struct, frozen=True):
    """A revision's commit, and the folder that has its files, at the place of the working directory."""

    commit: str
    folder: Path


@contextmanager
def checked_out(revision: str, paths: Sequence[str] = ()) -> Iterator[CheckedOut]:
    """Check out a revision of the repository that the working directory is in.

    Args:
        revision: a branch, tag or commit.
        paths: files, relative to the working directory, that the revision must have.

    Raises:
        UsageError: when git is missing, this is not a repository, or the revision or a file does not exist.
    """
    root, prefix, commit = _found(revision)
    for path in paths:
        if os.path.normpath(os.path.join(prefix, path)).startswith(os.pardir):  # noqa: PTH118
            raise UsageError(f"{path} is outside of the repository {root}: run torchlap in the repository that has it.")
    parent = Path(tempfile.mkdtemp(prefix="torchlap-against-"))
    tree = parent / "files"
    try:
        added = _git(["worktree", "add", "--detach", "--quiet", str(tree), commit])
        if added.returncode:
            raise UsageError(f"git cannot check out {revision} ({_last(added.stderr)}): try git worktree add yourself.")
        folder = tree / prefix
        if not folder.is_dir():
            raise UsageError(f"{revision} does not have the folder {prefix}: choose a revision that has it.")
        for path in paths:
            if not (folder / path).exists():
                raise UsageError(_missing(revision, commit, path))
        yield CheckedOut(commit, folder)
    finally:
        try:
            _git(["worktree", "remove", "--force", str(tree)], root)
        finally:
            shutil.rmtree(parent, ignore_errors=True)
            _git(["worktree", "prune"], root)


def _found(revision: str) -> tuple[str, str, str]:
    """The repository's folder, the place of the working directory in it, and the revision's commit.

    Raises:
        UsageError: when git is missing, this is not a repository, or the revision does not exist.
    """
    if shutil.which("git") is None:
        raise UsageError("--against needs git: install it, or name two folders with --arm NAME=path:FOLDER.")
    inside = _git(["rev-parse", "--show-toplevel", "--show-prefix"])
    if inside.returncode and "dubious ownership" in inside.stderr:
        raise UsageError(
            f"git does not trust the repository of {Path.cwd()}, which belongs to another user: allow it with git "
            "config --global --add safe.directory FOLDER."
        )
    if inside.returncode:
        raise UsageError(f"{Path.cwd()} is not in a git repository: run torchlap in the repository of your model.")
    root, _, prefix = inside.stdout.partition("\n")
    found = _git(["rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}"])
    if found.returncode:
        shallow = _git(["rev-parse", "--is-shallow-repository"]).stdout.strip() == "true"
        fetch = "this is a shallow clone, so fetch it first, as with git fetch --unshallow"
        remedy = fetch if shallow else "use a branch, tag or commit"
        raise UsageError(f"git does not know the revision {revision!r}: {remedy}.")
    return root, prefix.strip("\n"), found.stdout.strip()


def _missing(revision: str, commit: str, path: str) -> str:
    """Why a revision does not have a file, in one sentence: a submodule, another name, or not there yet."""
    if not Path(path).exists():
        return f"There is no file {path}, now or in {revision}: check the path."
    for folder in Path(path).parents[:-1]:
        if _git(["ls-tree", commit, "--", str(folder)]).stdout.startswith(SUBMODULE):
            return f"{folder} is a submodule, whose files {revision} does not contain: run torchlap in {folder}."
    names = [
        line.split("\t")[1:]
        for line in _git(["diff", "--relative", "--find-renames", "--name-status", commit]).stdout.splitlines()
        if line.startswith("R")
    ]
    former = [before for before, after in names if after == os.path.normpath(path)]
    if former:
        return (
            f"{revision} has {path} as {former[0]}: choose a revision after it was renamed, or give it that name again."
        )
    return f"{revision} does not have {path}: choose a revision that has it, or commit it there."


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
