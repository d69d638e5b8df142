"""Broken installs, each with its one right sentence: a real doctor in an environment of stub packages."""

import json
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from broken_installs import FAULTY, TABLE, Broken, alpine
from installs import ANYTHING, Environment, clean_environment
from support import PATIENCE_SECONDS, ROOT

from torchlap.api import doctor
from torchlap.cli import first_aid
from torchlap.machine.import_trials import SUSPECTS
from torchlap.processes.start import Interpreter, launcher
from torchlap.reports.doctor import as_json

DOCUMENT = ROOT / "docs" / "reliability.md"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Environment]:
    """An environment that this process takes for its own, so that nothing of torchlap is imported anew."""
    made = Environment(tmp_path / "env")
    monkeypatch.setattr(sys, "executable", str(made.python))
    monkeypatch.setattr(sys, "prefix", str(made.folder))
    monkeypatch.setattr(sys, "path", [str(made.site)])
    monkeypatch.setattr(doctor, "launcher", lambda limit: launcher(limit, Interpreter(str(made.python))))
    for name in (*SUSPECTS, "POETRY_ACTIVE"):
        monkeypatch.delenv(name, raising=False)
    yield made
    files = [getattr(module, "__file__", None) or "" for module in list(sys.modules.values())]
    assert not [file for file in files if file.startswith(str(made.folder))]  # no stub reaches another test


def checked(report: dict[str, Any], case: Broken) -> None:
    """Make sure that there is one error, and that it is the right one."""
    errors = [finding for finding in report["findings"] if finding["severity"] == "error"]
    assert [finding["code"] for finding in errors] == [case.code], errors
    (finding,) = errors
    assert case.sentence in finding["evidence"]
    assert case.fix in finding["command"]
    assert bool(finding["command"]) is bool(case.fix)
    assert (report["exit_code"], report["verdict"]) == (2, "unusable")


@pytest.mark.parametrize("case", TABLE, ids=lambda case: str(case.install))
def test_a_broken_install_has_its_one_right_sentence(
    case: Broken, here: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    case.change(here)
    for name, value in case.variables.items():
        monkeypatch.setenv(name, value.format(env=here.folder))
    if case.change is alpine:
        monkeypatch.setattr(sysconfig, "get_config_var", lambda _: "x86_64-linux-musl")
    if case.starts:
        limit = 0.3 if case.words else PATIENCE_SECONDS
        checked(json.loads(as_json(doctor.check_up(limit))), case)
    else:
        reason = "ImportError: cannot import name 'doctor' from 'torchlap.reports'"
        checked(json.loads(first_aid.report(("--format=json",), reason)), case)


BRIEFLY = (
    "a library of CUDA is missing",
    "a dis.py in PYTHONPATH",
    "LD_LIBRARY_PATH breaks NumPy, too",
    "NumPy is only in PYTHONPATH, and a library of CUDA is missing",
    "NumPy crashes",
    "torchlap is half removed",
)
"""Installs with which the command itself is tried in a short test run, too."""


@pytest.mark.parametrize(
    "case",
    [pytest.param(case, marks=() if case.install in BRIEFLY else pytest.mark.long, id=case.install) for case in TABLE],
)
def test_the_command_says_the_same(case: Broken, tmp_path: Path) -> None:
    made = Environment(tmp_path / "env")
    case.change(made)
    checked(made.report(*case.words, **case.variables), case)


@pytest.mark.parametrize(
    ("words", "body", "code", "has_errors"),
    [
        ("--format yaml", ANYTHING, 2, True),
        ("--hang-limit soon", ANYTHING, 2, True),
        (">/dev/full", ANYTHING, 4, True),
        (">/dev/full", FAULTY, 4, True),
        (">&- 2>&-", ANYTHING, 2, False),
        (">&- 2>&-", FAULTY, 2, False),
    ],
)
def test_streams_and_arguments_are_handled_as_by_other_commands(
    words: str, body: str, code: int, *, has_errors: bool, tmp_path: Path
) -> None:
    made = Environment(tmp_path / "env")
    made.package("numpy", "2.3.0", body)
    command = ["bash", "-c", f"{made.python} -m torchlap doctor {words}"]
    here = clean_environment()
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=here, timeout=PATIENCE_SECONDS)
    assert (done.returncode, bool(done.stderr), "Traceback" in done.stderr) == (code, has_errors, False)


def test_the_table_is_documented() -> None:
    assert len(TABLE) >= 30
    rows = "".join(f"| {case.install} | {case.sentence} | {case.code} |\n" for case in TABLE)
    assert f"| install | what the doctor says, in part | finding |\n|---|---|---|\n{rows}" in DOCUMENT.read_text()
