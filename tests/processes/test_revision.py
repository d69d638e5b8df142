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


def test_a_shallow_clone_says_how_to_get_the_revision(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    git("commit", "--all", "--message", "second")
    shallow = tmp_path / "shallow"
    git("clone", "--depth=1", f"file://{repository.parent}", str(shallow))
    monkeypatch.chdir(shallow / "part")
    with pytest.raises(UsageError, match="shallow clone, so fetch it first, as with git fetch --unshallow"):
        checked_out("HEAD^1").__enter__()
    with checked_out("HEAD", ["net.py"]) as found:
        assert (found.folder / "net.py").read_text() == "after"


def test_a_detached_head_is_compared_with_a_branch(repository: Path) -> None:
    git("checkout", "--detach", "--quiet")
    git("commit", "--all", "--message", "second")
    with checked_out("main", ["net.py"]) as found:
        assert (found.folder / "net.py").read_text() == "before"
    assert git("branch", "--show-current").strip() == ""


def test_a_renamed_file_is_named_by_its_former_name(repository: Path) -> None:
    (repository / "net.py").write_text("before")
    git("mv", "net.py", "model.py")
    with pytest.raises(UsageError, match=r"main has model\.py as net\.py: choose a revision after"):
        checked_out("main", ["model.py"]).__enter__()
    assert leftovers(repository) == (1, [])


def test_a_file_that_the_revision_lacks_is_refused(repository: Path) -> None:
    (repository / "new.py").write_text("new")
    with pytest.raises(UsageError, match=r"main does not have new\.py: choose a revision that has it"):
        checked_out("main", ["new.py"]).__enter__()
    assert leftovers(repository) == (1, [])


def test_a_file_outside_of_the_repository_is_refused(repository: Path, tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text("outside")
    with pytest.raises(UsageError, match=r"\.\./\.\./net\.py is outside of the repository"):
        checked_out("main", ["../../net.py"]).__enter__()
    (repository.parent / "top.py").write_text("inside")
    with pytest.raises(UsageError, match=r"main does not have \.\./top\.py"):
        checked_out("main", ["../top.py"]).__enter__()
    assert leftovers(repository) == (1, [])


def test_a_submodule_is_measured_in_its_own_folder(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "other"
    git("init", str(other))
    (other / "net.py").write_text("of the submodule")
    git("-C", str(other), "add", "net.py")
    git("-C", str(other), "commit", "--message", "first")
    git("-c", "protocol.file.allow=always", "submodule", "add", "--quiet", str(other), "sub")
    git("commit", "--message", "submodule")
    with pytest.raises(UsageError, match="sub is a submodule, whose files HEAD does not contain: run torchlap in sub"):
        checked_out("HEAD", ["sub/net.py"]).__enter__()
    monkeypatch.chdir(repository / "sub")
    with checked_out("HEAD", ["net.py"]) as found:
        assert (found.folder / "net.py").read_text() == "of the submodule"


def test_a_repository_without_commits_has_no_revisions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    git("init", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match="git does not know the revision 'HEAD'"):
        checked_out("HEAD").__enter__()
