"""The doctor's report, and `torchlap doctor` as a user types it: on this machine, and where torch is broken."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from machines import MACHINES, mac_without_mps, server_without_cuda
from making import header, plan
from msgspec.structs import replace
from support import ROOT, SIMULATED, Command

from torchlap.api import doctor as examination
from torchlap.judge.machine import CheckUp, diagnose
from torchlap.processes.start import SpawnLauncher
from torchlap.reports.doctor import as_json, as_markdown, as_text
from torchlap.reports.kit.text import machine_line
from torchlap.reports.run import plain, terminal
from torchlap.schema.events import Run
from torchlap.schema.machine import Facts, ImportFailure, Unread

COMMAND = [sys.executable, "-m", "torchlap", "doctor"]


def seen(facts: Facts) -> CheckUp:
    return CheckUp("0.1.0", facts, diagnose(facts))


def of(name: str) -> CheckUp:
    return seen(MACHINES[name][0])


def text(check_up: CheckUp, width: int = 80) -> str:
    return as_text(check_up, width, color=False)


def test_one_line_says_that_all_is_well() -> None:
    assert text(of("H100"), 200) == (
        "Fast Processor 9 · 16 cores · 128 GiB · cuda:0 NVIDIA H100 80GB HBM3 · Linux 6.8 · Python 3.12.3 · "
        "torch 2.15.0 torchvision 0.30.0\n"
        "All is well. Tried, with right numbers: cpu, cuda:0 NVIDIA H100 80GB HBM3.\n"
    )


def test_a_finding_says_what_was_seen_why_it_matters_what_to_do_and_who_says_so() -> None:
    facts = mac_without_mps("M1", "13.7", "2.15.0")
    assert text(seen(facts)).partition("\n\n")[2] == (
        "TL112 error: macOS is too old for this torch (mps)\n"
        "  Seen: macOS 13.7, torch 2.15.0, which needs macOS 15 or newer.\n"
        "  Why: pip installs this torch here, but it refuses to use MPS on this macOS.\n"
        "  Do: Update macOS to 15 or newer. The last torch for this macOS came before\n"
        "  2.9.\n"
        "  Source: read in torch's published wheels; pytorch/pytorch#139425, #164943\n"
        "\n"
        "Not all is usable. Tried, with right numbers: cpu.\n"
    )


def test_a_command_stays_in_one_line_to_be_pasted() -> None:
    report = text(of("H100, CPU wheel"), 40)
    command = diagnose(MACHINES["H100, CPU wheel"][0])[0].command
    assert f"      {command}\n" in report
    assert all(len(line) <= 40 for line in report.splitlines() if command not in line)


def test_what_could_not_be_read_is_said() -> None:
    facts = replace(MACHINES["H100"][0], unread=(Unread("the power", "pmset is not there"),))
    assert text(seen(facts), 200).splitlines()[-1] == "Could not be read: the power (pmset is not there)."


@pytest.mark.parametrize("name", MACHINES)
def test_every_machine_has_a_report_in_every_format(name: str) -> None:
    check_up = of(name)
    assert text(check_up, 20)
    assert json.loads(as_json(check_up))["exit_code"] in (0, 1, 2)
    assert "| fact | value |" in as_markdown(check_up)


def test_what_steers_a_terminal_or_markdown_is_taken_out() -> None:
    evil = "\x1b[31m<script>|`*_\u202e"
    facts = server_without_cuda(cpu=evil, devices=(), trials=(), import_failure=ImportFailure("crash", evil, evil))
    for report in (text(seen(facts)), as_markdown(seen(facts)), as_json(seen(facts))):
        assert "\x1b" not in report
        assert "\u202e" not in report
    assert "<script>" not in as_markdown(seen(facts)).partition("What the import printed")[0].replace("\\<", "")


def test_markdown_has_the_verdict_the_findings_and_the_facts() -> None:
    lines = as_markdown(of("H100, busy")).splitlines()
    assert lines[0] == "torchlap 0.1.0 doctor: **warnings**"
    assert "**TL128 warning: somebody else uses the GPU (GPU 0)**" in lines
    assert "| NVIDIA's driver | 580.159.04, CUDA 13.0 |" in lines


def test_json_is_documented_and_whole() -> None:
    told = json.loads(as_json(of("H100, old driver")))
    assert (told["schema"], told["verdict"], told["exit_code"]) == (1, "unusable", 2)
    assert told["findings"][0]["code"] == "TL124"
    assert told["facts"]["nvidia"]["driver"] == "535.104.05"
    documented = (ROOT / "docs" / "doctor.md").read_text()
    assert [name for name in told if f"`{name}`" not in documented] == []


def test_a_run_begins_with_the_summary() -> None:
    facts = MACHINES["OMP_NUM_THREADS=1"][0]
    run = Run(header(plan(), facts))
    assert terminal.machine(run, 200, color=False) == (
        f"{machine_line(facts)}\nCheck-up: TL160 the CPU is limited to few threads. What to do: torchlap doctor.\n"
    )
    well = Run(header(plan(), MACHINES["H100"][0]))
    assert terminal.machine(well, 200, color=False).endswith("\nCheck-up: fine.\n")
    assert json.loads(plain.as_json(run, None))["check_up"][0]["code"] == "TL160"


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
