"""An installation whose `import torch` fails, crashes or hangs: what torchlap run and torchlap doctor report."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from support import PATIENCE_SECONDS, has_ended, wait_until

from torchlap.api import doctor as api_doctor
from torchlap.processes.failures import ImportFailedError
from torchlap.processes.start import SpawnLauncher

COMMAND = [sys.executable, "-m", "torchlap"]


def torchlap(*words: object, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *map(str, words)],
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_SECONDS,
        env=os.environ | environment,
    )


def fake_torch(folder: Path, body: str) -> str:
    """A folder with a package `torch` that does something else when it is imported."""
    (folder / "torch").mkdir()
    (folder / "torch" / "__init__.py").write_text(body)
    return str(folder)


def metadata(folder: Path) -> str:
    """A torch and a torchvision that were made for another torch."""
    for name, version, needs in (("torch", "2.13.0", ""), ("torchvision", "0.29.2", "Requires-Dist: torch>=2.14.0\n")):
        (folder / f"{name}-{version}.dist-info").mkdir()
        text = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{needs}"
        (folder / f"{name}-{version}.dist-info" / "METADATA").write_text(text)
    return fake_torch(folder, "import time; time.sleep(1000)")


@pytest.mark.parametrize(
    ("body", "cause"),
    [
        ("raise RuntimeError('operator torchvision::nms does not exist')", "come from different builds"),
        ("import os; os.abort()", "importing torch and torchvision crashes"),
        ("raise ModuleNotFoundError(\"No module named 'torch'\")", "not installed"),
    ],
)
def test_a_run_names_the_cause_and_the_remedy(body: str, cause: str, tmp_path: Path) -> None:
    done = torchlap("run", "--out", tmp_path / "run.jsonl", PYTHONPATH=fake_torch(tmp_path, body))
    assert done.returncode == 3
    assert cause in done.stderr.lower()
    assert "pip install" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "run.jsonl").exists()


def test_a_file_in_the_working_folder_that_hides_a_module_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "dis.py").touch()
    (tmp_path / "numpy.py").touch()
    output = f'  File "{tmp_path}/dis.py", line 1\nImportError: no'
    text = str(ImportFailedError("crash", "exited", output))
    assert f" {tmp_path / 'dis.py'} hides Python's module dis: rename it." in text
    assert "numpy.py" not in text


def test_a_run_finds_a_mismatched_torchvision_before_anything_is_imported(tmp_path: Path) -> None:
    done = torchlap("run", "--out", tmp_path / "run.jsonl", PYTHONPATH=metadata(tmp_path))
    assert done.returncode == 3
    assert "torchvision 0.29.2 needs torch>=2.14.0, but torch 2.13.0" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("body", "cause"),
    [
        pytest.param("import os; os.abort()", "SIGABRT", marks=pytest.mark.long),
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "SIGSEGV"),
        ("raise ImportError('libcudart.so.13: cannot open')", "(ImportError: libcudart.so.13: cannot open)"),
        pytest.param(
            "raise RuntimeError('one line\\nand another')",
            "(RuntimeError: one line and another)",
            marks=pytest.mark.long,
        ),
        pytest.param(
            "import os, time\nif os.fork() == 0:\n os.setsid(); time.sleep(20)\nraise ImportError('why')",
            "ImportError: why",
            marks=pytest.mark.long,
        ),
        pytest.param("raise SystemExit(7)", "status 7", marks=pytest.mark.long),
    ],
)
def test_the_doctor_diagnoses_an_import_that_fails(body: str, cause: str, tmp_path: Path) -> None:
    done = torchlap("doctor", COLUMNS="300", PYTHONPATH=fake_torch(tmp_path, body))
    assert done.returncode == 2, done.stderr
    assert "TL107 error" in done.stdout
    assert cause in done.stdout
    assert "unset PYTHONPATH" in done.stdout
    assert (done.stderr, "Traceback" in done.stdout) == ("", False)


def test_the_doctor_diagnoses_an_import_that_hangs_and_where(tmp_path: Path) -> None:
    path = fake_torch(tmp_path, "import time; time.sleep(1000)")
    done = torchlap("doctor", "--hang-limit", "2s", COLUMNS="300", PYTHONPATH=path)
    assert done.returncode == 2, done.stderr
    assert "TL104 error" in done.stdout
    assert "hangs: No answer for 2 s" in done.stdout


def test_the_doctor_finds_a_mismatch_without_importing_anything(tmp_path: Path) -> None:
    done = torchlap("doctor", COLUMNS="300", PYTHONPATH=metadata(tmp_path))
    assert (done.returncode, "TL171 error" in done.stdout) == (2, True), "the second copy is the cause"
    assert "torchvision 0.29.2 needs torch>=2.14.0, but torch 2.13.0" in done.stdout


@pytest.mark.parametrize(
    "kind",
    ["text", pytest.param("markdown", marks=pytest.mark.long), pytest.param("json", marks=pytest.mark.long)],
)
def test_no_report_names_the_user_the_host_or_the_home(kind: str, tmp_path: Path) -> None:
    """The user and the home folder have a unique name; torch is in that folder, and importing it prints the name."""
    home = tmp_path / "zaphod"
    home.mkdir()
    fake_torch(home, f"raise ImportError('{home}/libtorch.so of zaphod')")
    words = {"HOME": str(home), "LOGNAME": "zaphod", "USER": "zaphod", "PYTHONPATH": str(home), "LD_PRELOAD": ""}
    done = torchlap("doctor", "--format", kind, **words)
    assert done.returncode == 2, done.stderr
    assert "~/libtorch.so of <user>" in " ".join(done.stdout.replace("\\", "").split())
    assert "zaphod" not in done.stdout


def test_a_launcher_that_spawns_diagnoses_an_import_that_fails(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PYTHONPATH", fake_torch(tmp_path, "raise ImportError('broken')"))
    monkeypatch.setattr(api_doctor, "launcher", SpawnLauncher)
    found = api_doctor.check_up(PATIENCE_SECONDS)
    assert [finding.code for finding in found.findings][:1] == ["TL107"]
    assert found.facts.packages["torch"]


HANGS = "import os, time\nopen({path!r}, 'w').write(f'{{os.getpid()}} ')\ntime.sleep(1000)"


def importing(tmp_path: Path) -> "tuple[subprocess.Popen[str], int]":
    """A doctor whose import of torch hangs, and the process that imports it."""
    mark = tmp_path / "pid"
    path = fake_torch(tmp_path, HANGS.format(path=str(mark)))
    command = [*COMMAND, "doctor"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=os.environ | {"PYTHONPATH": path})
    wait_until(lambda: mark.exists() and mark.read_text().endswith(" "), "the import")
    return process, int(mark.read_text())


def test_an_interrupted_check_ends_and_leaves_nothing_behind(tmp_path: Path) -> None:
    process, worker = importing(tmp_path)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=PATIENCE_SECONDS)
    assert (process.returncode, errors.startswith("Interrupted"), errors.count("\n")) == (130, True, 1)
    assert has_ended(worker)


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGKILL])
def test_no_import_continues_after_the_doctor_has_exited(number: signal.Signals, tmp_path: Path) -> None:
    process, worker = importing(tmp_path)
    process.send_signal(number)
    process.communicate(timeout=PATIENCE_SECONDS)
    assert has_ended(worker)


def test_a_system_that_refuses_to_open_files_is_one_sentence() -> None:
    script = f"ulimit -n 8; exec {' '.join(COMMAND)} doctor"
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=False, timeout=PATIENCE_SECONDS)
    assert (done.returncode, "Traceback" in done.stderr) == (4, False)
