import getpass
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from torchlap import privacy
from torchlap.privacy import private, shell_path


@pytest.fixture
def alice(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """A user whose home is reached by a link, on a host of a domain."""
    (tmp_path / "disk").mkdir()
    (tmp_path / "alice").symlink_to(tmp_path / "disk")
    monkeypatch.setenv("HOME", str(tmp_path / "alice"))
    monkeypatch.setattr(getpass, "getuser", lambda: "alice")
    monkeypatch.setattr(socket, "gethostname", lambda: "wonderland.example.org")
    for function in (privacy._homes, privacy._names):
        function.cache_clear()
    yield
    for function in (privacy._homes, privacy._names):
        function.cache_clear()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{home}/env/lib/libfoo.so", "~/env/lib/libfoo.so"),
        ("{real}/env", "~/env"),
        ("{home}", "~"),
        ("{home}2/x", "{home}2/x"),  # another folder; its own rule follows
        ("/Users/alice/x:/home/bob/y", "~/x:~/y"),
        ('File "/home/carol/torch.py", line 3', 'File "~/torch.py", line 3'),
        ("alice@wonderland:~$", "<user>@<host>:~$"),
        ("host wonderland.example.org is down", "host <host> is down"),
        ("malice and alice_2 are words", "malice and alice_2 are words"),
        ("GPU-d3485a4e-2ab2-2de8-4199-15734f976753", "GPU-<id>"),
        ("\ud800", "?"),
    ],
)
def test_who_and_where_is_taken_out(alice: None, text: str, said: str) -> None:
    homes = {"home": os.environ["HOME"], "real": str(Path(os.environ["HOME"]).resolve())}
    expected = said.format(**homes) if "{home}2" in said else said
    if "{home}2" in text:
        expected = expected.replace("/alice2", "/alice2")
    assert private(text.format(**homes) if "{" in text else text) == expected


def test_a_path_for_a_shell_keeps_its_tilde_outside_the_quotes(alice: None) -> None:
    home = os.environ["HOME"]
    assert shell_path(f"{home}/env/bin/python") == "~/env/bin/python"
    assert shell_path(f"{home}/my env/bin/python") == "~/'my env/bin/python'"
    assert shell_path("/opt/my env/python") == "'/opt/my env/python'"


def test_a_machine_that_knows_neither_user_nor_host_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown() -> str:
        raise KeyError("getpwuid(): uid not found: 1000")

    monkeypatch.setattr(getpass, "getuser", unknown)
    monkeypatch.setattr(socket, "gethostname", lambda: "")
    privacy._names.cache_clear()
    assert private("all as it was") == "all as it was"
    privacy._names.cache_clear()


@given(st.text())
def test_any_text_comes_back_as_text_that_can_be_written(text: str) -> None:
    assert isinstance(private(text).encode(), bytes)
