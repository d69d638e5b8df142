"""A git revision in a temporary worktree."""

import subprocess
from pathlib import Path

import pytest

from torchlap.errors import UsageError
from torchlap.processes.revision import checked_out


def git(*words: str) -> str:
    settings = ("-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "init.defaultBranch=main")
    return subprocess.run(["git", *settings, *words], check=True, capture_output=True, text=True).stdout


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository whose folder `part` is the working directory; its file has changed since the only commit."""
    folder = tmp_path / "repository" / "part"
    folder.mkdir(parents=True)
    monkeypatch.chdir(folder)
    for name in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"):
        monkeypatch.delenv(name, raising=False)
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    file = folder / "net.py"
    file.write_text("before")
    git("init", str(folder.parent))
    git("add", "net.py")
    git("commit", "--message", "first")
    file.write_text("after")
    return folder


def leftovers(repository: Path) -> tuple[int, list[str]]:
    """How many worktrees the repository has, and what is in the temporary folder."""
    folders = (repository.parents[1] / "temporary").iterdir()
    return len(git("worktree", "list").splitlines()), [folder.name for folder in folders]


def test_a_revision_has_its_own_files_in_the_same_folder_and_leaves_nothing(repository: Path) -> None:
    with checked_out("main") as found:
        assert (found.folder / "net.py").read_text() == "before"
        assert found.commit == git("rev-parse", "HEAD").strip()
        assert leftovers(repository)[0] == 2
    assert leftovers(repository) == (1, [])
    assert (repository / "net.py").read_text() == "after"
    assert git("branch", "--show-current").strip() == "main"


def test_it_is_removed_after_ctrl_c(repository: Path) -> None:
    def interrupted() -> None:
        with checked_out("HEAD") as found:
            (found.folder / "net.py").write_text("changed meanwhile")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert leftovers(repository) == (1, [])


def test_hooks_are_not_run(repository: Path) -> None:
    hook = repository.parent / ".git" / "hooks" / "post-checkout"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text("#!/bin/sh\nexit 1\n")
    hook.chmod(0o755)
    with checked_out("main") as found:
        assert found.folder.is_dir()


@pytest.mark.parametrize("revision", ["no-such-branch", "--help", "HEAD:part/net.py"])
def test_an_unknown_revision_is_refused(revision: str, repository: Path) -> None:
    with pytest.raises(UsageError, match="git does not know the revision"), checked_out(revision):
        pass
    assert leftovers(repository) == (1, [])


def test_a_revision_without_the_working_directory_is_refused(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (repository.parent / "new").mkdir()
    monkeypatch.chdir(repository.parent / "new")
    with pytest.raises(UsageError, match="main does not have the folder new/"), checked_out("main"):
        pass
    assert leftovers(repository) == (1, [])


def test_a_folder_outside_of_any_repository_is_refused(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(repository.parents[1])
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(repository.parents[2]))
    with pytest.raises(UsageError, match="is not in a git repository"), checked_out("main"):
        pass


def test_a_machine_without_git_is_refused(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(repository))
    with pytest.raises(UsageError, match="--against needs git"), checked_out("main"):
        pass
