"""torchlap doctor as a user types it: on this machine, and where torch is broken."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from support import SIMULATED, Command

from torchlap.api import doctor as examination
from torchlap.processes.start import SpawnLauncher

COMMAND = [sys.executable, "-m", "torchlap", "doctor"]


def doctor(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *words], capture_output=True, text=True, check=False, timeout=120, env=os.environ | environment
    )


def test_this_machine_has_a_check_up() -> None:
    done = doctor("--format", "json")
    told = json.loads(done.stdout)
    assert done.returncode == told["exit_code"]
    assert done.returncode in (0, 1), done.stdout
    assert told["facts"]["trials"][0] == {
        "device": "cpu",
        "seconds": told["facts"]["trials"][0]["seconds"],
        "failed_at": "",
        "kind": None,
        "reason": "",
        "wrong": "",
        "missing": [],
        "fallbacks": [],
    }
    assert done.stderr == ""


def test_nothing_of_this_machines_user_host_or_home_is_in_any_format(tmp_path: Path) -> None:
    """A home, a user and a host with names that stand nowhere else; torch is there, and its import prints them."""
    home = tmp_path / "zaphod"
    (home / "torch").mkdir(parents=True)
    (home / "torch" / "__init__.py").write_text(f"raise ImportError('{home}/libtorch.so of zaphod')")
    words = {"HOME": str(home), "LOGNAME": "zaphod", "USER": "zaphod", "PYTHONPATH": str(home), "LD_PRELOAD": ""}
    for kind in ("text", "markdown", "json"):
        done = doctor("--format", kind, **words)
        assert done.returncode == 2, done.stderr
        assert "~/libtorch.so of <user>" in done.stdout.replace("\\", "").replace("\n", " ").replace("   ", " ")
        assert "zaphod" not in done.stdout


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("import os; os.abort()", "crashes: The worker was killed by SIGABRT"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "crashes: The worker was killed by SIGSEGV"),
        ("import time; time.sleep(1000)", "hangs: No answer for 3 s. It was at File"),
        ("raise ImportError('libcudart.so.13: cannot open')", "failed (ImportError: libcudart.so.13: cannot open)"),
        ("raise RuntimeError('one line\\nand another')", "failed (RuntimeError: one line and another)"),
        (
            "import os, time\nif os.fork() == 0:\n os.setsid(); time.sleep(20)\nraise ImportError('why')",
            "ImportError: why",
        ),
        ("raise SystemExit(7)", "failed (The worker exited with status 7"),
    ],
)
def test_an_import_that_crashes_aborts_hangs_or_fails_is_diagnosed(body: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "torch").mkdir()
    (tmp_path / "torch" / "__init__.py").write_text(body)
    done = doctor("--hang-limit", "3s", COLUMNS="300", PYTHONPATH=str(tmp_path))
    assert done.returncode == 2, done.stderr
    assert "TL104 error: torch cannot be imported" in done.stdout
    assert said in done.stdout
    assert "pip install --upgrade --force-reinstall torch torchvision" in done.stdout
    assert (done.stderr, "Traceback" in done.stdout) == ("", False)


def test_a_mismatch_is_told_without_importing_anything(tmp_path: Path) -> None:
    for name, version, needs in (("torch", "2.13.0", ""), ("torchvision", "0.29.2", "Requires-Dist: torch>=2.14.0\n")):
        folder = tmp_path / f"{name}-{version}.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{needs}")
    (tmp_path / "torch").mkdir()
    (tmp_path / "torch" / "__init__.py").write_text("import time; time.sleep(1000)")
    done = doctor(COLUMNS="300", PYTHONPATH=str(tmp_path))
    assert done.returncode == 2
    assert "TL103 error: torch and torchvision do not fit each other" in done.stdout
    assert "torchvision 0.29.2 needs torch>=2.14.0, but torch 2.13.0 is here" in done.stdout


def test_a_broken_accelerator_is_exit_code_2_and_its_findings_are_on_the_screen() -> None:
    words = {"PYTHONPATH": str(SIMULATED), "SIMULATED_FAULT": "crash:aten.mm.default", "COLUMNS": "300"}
    done = doctor(**words)
    assert done.returncode == 2, done.stderr
    assert "TL140 error: the device fails (sim:0)" in done.stdout
    assert "at multiplying: The worker was killed by SIGABRT" in done.stdout


def test_bad_words_are_told_in_a_sentence(torchlap: Command) -> None:
    result = torchlap("doctor", "--hang-limit", "soon")
    assert result.exit_code == 2
    assert "'soon' is no time limit" in result.stderr
    assert torchlap("doctor", "--format", "yaml").exit_code == 2


def test_an_interrupted_check_up_ends_at_once_and_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "torch").mkdir()
    (tmp_path / "torch" / "__init__.py").write_text(
        f"open({str(tmp_path / 'begun')!r}, 'w').close()\nimport time; time.sleep(1000)"
    )
    process = subprocess.Popen(
        COMMAND, stderr=subprocess.PIPE, text=True, env=os.environ | {"PYTHONPATH": str(tmp_path)}
    )
    while not (tmp_path / "begun").exists():
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=10)
    assert (process.returncode, said) == (130, "Interrupted: nothing was measured.\n")


def test_a_launcher_that_spawns_diagnoses_an_import_that_fails(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "torch").mkdir()
    (tmp_path / "torch" / "__init__.py").write_text("raise ImportError('broken')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(examination, "launcher", SpawnLauncher)
    found = examination.check_up(30.0)
    assert [finding.code for finding in found.findings][:1] == ["TL104"]
    assert found.facts.packages["torch"]


def test_a_system_that_refuses_a_file_is_told_in_a_sentence() -> None:
    script = f"ulimit -n 8; exec {' '.join(COMMAND)}"
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 4, done.stderr
    assert "Traceback" not in done.stderr


def test_a_report_that_cannot_be_written_is_told() -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(COMMAND, stdout=full, stderr=subprocess.PIPE, text=True, check=False, timeout=60)
    assert done.returncode == 4
    assert done.stderr == "The standard output cannot be written (No space left on device): the report is lost.\n"


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGKILL])
def test_nothing_goes_on_importing_when_the_doctor_is_gone(number: signal.Signals, tmp_path: Path) -> None:
    (tmp_path / "torch").mkdir()
    (tmp_path / "torch" / "__init__.py").write_text(
        f"import os, time\nopen({str(tmp_path / 'pid')!r}, 'w').write(str(os.getpid()))\ntime.sleep(1000)"
    )
    process = subprocess.Popen(COMMAND, stderr=subprocess.DEVNULL, env=os.environ | {"PYTHONPATH": str(tmp_path)})
    while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text():
        time.sleep(0.05)
    process.send_signal(number)
    process.wait(10)
    worker = int((tmp_path / "pid").read_text())
    end = time.monotonic() + 10
    while psutil.pid_exists(worker) and psutil.Process(worker).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < end
        time.sleep(0.05)
