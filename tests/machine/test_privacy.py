import os
import pwd
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from torchlap.machine import privacy
from torchlap.machine.privacy import private, shell_path


@pytest.fixture
def alice(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """A user whose home is reached by a link, on a host of a domain."""
    (tmp_path / "disk").mkdir()
    (tmp_path / "alice").symlink_to(tmp_path / "disk")
    monkeypatch.setenv("HOME", str(tmp_path / "alice"))
    monkeypatch.setenv("LOGNAME", "alice")
    monkeypatch.setenv("USER", "carroll")
    monkeypatch.setattr(socket, "gethostname", lambda: "wonderland.example.org")
    for function in (privacy._homes, privacy._names):
        function.cache_clear()
    yield
    for function in (privacy._homes, privacy._names):
        function.cache_clear()


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("{home}/env/lib/libfoo.so", "~/env/lib/libfoo.so"),
        ("{real}/env", "~/env"),
        ("{home}", "~"),
        ("/x{home}/y", "/x{home}/y"),  # not at a path's beginning
        ("/Users/cat/x:/home/bob/y", "/Users/<other>/x:/home/<other>/y"),
        ('File "/home/hatter/torch.py", line 3', 'File "/home/<other>/torch.py", line 3'),
        ("/srv/home/venv", "/srv/home/venv"),
        ("/data/ALICE_work of Carroll", "/data/<user>_work of <user>"),
        ("alice@wonderland:~$", "<user>@<host>:~$"),
        ("host wonderland.example.org is down", "host <host> is down"),
        ("malice and alice2 are words", "malice and alice2 are words"),
        ("CUDA_VISIBLE_DEVICES=GPU-8932f937,MIG-8932", "CUDA_VISIBLE_DEVICES=GPU-<id>,MIG-<id>"),
        ("GPU-d3485a4e-2ab2-2de8-4199-15734f976753", "GPU-<id>"),
        ("\ud800", "?"),
    ],
)
def test_names_of_users_hosts_and_folders_are_masked(alice: None, text: str, masked: str) -> None:
    homes = {"home": os.environ["HOME"], "real": str(Path(os.environ["HOME"]).resolve())}
    expected = private(masked.format(**homes)) if "{home}" in masked else masked
    assert private(text.format(**homes) if "{" in text else text) == expected
    assert "alice" not in private(text).replace("malice", "").replace("alice2", "")


def test_a_path_for_a_shell_keeps_its_tilde_outside_the_quotes(alice: None) -> None:
    home = os.environ["HOME"]
    assert shell_path(f"{home}/env/bin/python") == "~/env/bin/python"
    assert shell_path(f"{home}/my env/bin/python") == "~/'my env/bin/python'"
    assert shell_path("/opt/my env/python") == "'/opt/my env/python'"
    assert shell_path("/home/hatter/env/bin/python3") == "python3"  # somebody else's path helps nobody


def test_a_machine_without_a_user_or_host_name_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(_: int) -> pwd.struct_passwd:
        raise KeyError("getpwuid(): uid not found: 1000")

    monkeypatch.setattr(pwd, "getpwuid", unknown)
    monkeypatch.setattr(socket, "gethostname", lambda: "")
    for name in ("HOME", "USER", "LOGNAME", "SUDO_USER"):
        monkeypatch.delenv(name, raising=False)
    caches = privacy._names, privacy._homes
    for function in caches:
        function.cache_clear()
    assert private("all as it was") == "all as it was"
    for function in caches:
        function.cache_clear()


@given(st.text())
def test_any_text_becomes_text_that_can_be_written(text: str) -> None:
    assert isinstance(private(text).encode(), bytes)
