"""torchlap doctor: on this machine, and with a simulated accelerator that is broken."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from support import PATIENCE_SECONDS, Command, environment

DOCTOR = [sys.executable, "-m", "torchlap", "doctor"]


def test_this_machine_is_checked(torchlap: Command) -> None:
    result = torchlap("doctor", "--format", "json")
    report = json.loads(result.stdout)
    assert result.exit_code == report["exit_code"]
    assert result.exit_code in (0, 1), result.output
    assert report["facts"]["trials"][0] == {
        "device": "cpu",
        "seconds": report["facts"]["trials"][0]["seconds"],
        "failed_at": "",
        "kind": None,
        "reason": "",
        "wrong": "",
        "missing": [],
        "fallbacks": [],
        "without_effect": [],
    }
    assert [trial["device"] for trial in report["facts"]["trials"]] == ["cpu", "sim:0", "sim:1"]
    assert result.stderr == ""


def test_a_broken_accelerator_gives_exit_code_2_and_its_findings(
    torchlap: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "300")
    monkeypatch.setattr("virtual.FAULT", "hang:aten.mm.default")
    result = torchlap("doctor", "--hang-limit", "5s")
    assert result.exit_code == 2, result.output
    assert "TL140 error" in result.stdout
    assert "No answer for 5 s" in result.stdout


def test_the_fixes_are_printed_and_not_run(torchlap: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("virtual.FAULT", "hang:aten.mm.default")
    result = torchlap("doctor", "--hang-limit", "5s", "--fix")
    assert result.exit_code == 2, result.output
    assert "# TL140: device does not work: while " in result.stdout
    assert "\n# Restart the machine" in result.stdout
    assert all(line.startswith(("#", "unset ")) for line in result.stdout.splitlines())


def test_the_fixes_have_no_other_format(torchlap: Command) -> None:
    result = torchlap("doctor", "--fix", "--format", "json")
    assert (result.exit_code, result.stderr) == (2, "torchlap: --fix prints commands for a shell: omit --format.\n")


def test_bad_input_is_one_sentence(torchlap: Command) -> None:
    result = torchlap("doctor", "--hang-limit", "soon")
    assert result.exit_code == 2
    assert "'soon'" in result.stderr
    assert torchlap("doctor", "--format", "yaml").exit_code == 2


def test_a_device_that_crashes_its_process_is_reported() -> None:
    fault = environment(SIMULATED_FAULT="crash:aten.mm.default", SIMULATED_COST="0", COLUMNS="300")
    done = subprocess.run(DOCTOR, capture_output=True, text=True, check=False, timeout=PATIENCE_SECONDS, env=fault)
    assert done.returncode == 2, done.stderr
    assert "TL140 error" in done.stdout
    assert "SIGABRT" in done.stdout


def test_a_report_that_cannot_be_written_is_an_error() -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            DOCTOR, stdout=full, stderr=subprocess.PIPE, text=True, check=False, timeout=PATIENCE_SECONDS
        )
    assert done.returncode == 4
    assert (done.stderr.count("\n"), "No space left on device" in done.stderr) == (1, True)
