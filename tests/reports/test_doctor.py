"""The report of `torchlap doctor`."""

import json

import pytest
from machines import MACHINES, mac_without_mps, server_without_cuda
from making import header, plan
from msgspec.structs import replace
from support import ROOT

from torchlap.judge.machine import CheckUp, diagnose
from torchlap.reports.doctor import as_json, as_markdown, as_text
from torchlap.reports.kit.text import machine_line
from torchlap.reports.run import plain, terminal
from torchlap.schema.events import Run
from torchlap.schema.machine import Facts, ImportFailure, Unread


def checked(facts: Facts) -> CheckUp:
    return CheckUp("0.1.0", facts, diagnose(facts))


def checked_machine(name: str) -> CheckUp:
    return checked(MACHINES[name][0])


def text(check_up: CheckUp, width: int = 80) -> str:
    return as_text(check_up, width, color=False)


def test_one_line_says_that_all_is_well() -> None:
    assert text(checked_machine("H100"), 200) == (
        "Fast Processor 9 · 16 cores · 128 GiB · cuda:0 NVIDIA H100 80GB HBM3 · Linux 6.8 · Python 3.12.3 · "
        "torch 2.15.0 torchvision 0.30.0\n"
        "All is well. Tested and correct: cpu, cuda:0 NVIDIA H100 80GB HBM3.\n"
    )


def test_a_finding_has_its_evidence_reason_remedy_and_source() -> None:
    facts = mac_without_mps("M1", "13.7", "2.15.0")
    assert text(checked(facts)).partition("\n\n")[2] == (
        "TL112 error: macOS is too old for this torch (mps)\n"
        "  Observed: macOS 13.7, torch 2.15.0, which requires macOS 15 or newer.\n"
        "  Why: pip installs this torch here, but on this macOS it refuses to use MPS.\n"
        "  Fix: Update macOS to 15 or newer, or install a torch older than 2.9.\n"
        "  Source: read in torch's published wheels; pytorch/pytorch#139425, #164943\n"
        "\n"
        "Not everything is usable. Tested and correct: cpu.\n"
    )


def test_a_command_stays_in_one_line() -> None:
    report = text(checked_machine("H100, CPU wheel"), 40)
    command = diagnose(MACHINES["H100, CPU wheel"][0])[0].command
    assert f"      {command}\n" in report
    assert all(len(line) <= 40 for line in report.splitlines() if command not in line)


def test_what_could_not_be_read_is_listed() -> None:
    facts = replace(MACHINES["H100"][0], unread=(Unread("the power", "pmset is missing"),))
    assert text(checked(facts), 200).splitlines()[-1] == "Could not read: the power (pmset is missing)."


@pytest.mark.parametrize("name", MACHINES)
def test_every_machine_has_a_report_in_every_format(name: str) -> None:
    check_up = checked_machine(name)
    assert text(check_up, 20)
    assert json.loads(as_json(check_up))["exit_code"] in (0, 1, 2)
    assert "| fact | value |" in as_markdown(check_up)


def test_text_that_controls_a_terminal_or_markdown_is_removed() -> None:
    evil = "\x1b[31m<script>|`*_\u202e"
    facts = server_without_cuda(cpu=evil, devices=(), trials=(), import_failure=ImportFailure("crash", evil, evil))
    check_up = checked(facts)
    for report in (text(check_up), as_markdown(check_up), as_json(check_up)):
        assert "\x1b" not in report
        assert "\u202e" not in report
    assert "<script>" not in as_markdown(check_up).partition("Output of the import")[0].replace("\\<", "")


def test_markdown_has_the_verdict_the_findings_and_the_facts() -> None:
    lines = as_markdown(checked_machine("H100, busy")).splitlines()
    assert lines[0] == "torchlap 0.1.0 doctor: **warnings**"
    assert "**TL128 warning: GPU in use by another process (GPU 0)**" in lines
    assert "| NVIDIA driver | 580.159.04, CUDA 13.0 |" in lines


def test_json_is_documented_and_complete() -> None:
    report = json.loads(as_json(checked_machine("H100, old driver")))
    assert (report["schema"], report["verdict"], report["exit_code"]) == (1, "unusable", 2)
    assert report["findings"][0]["code"] == "TL124"
    assert report["facts"]["nvidia"]["driver"] == "535.104.05"
    documented = (ROOT / "docs" / "doctor.md").read_text()
    assert [name for name in report if f"`{name}`" not in documented] == []


def test_a_run_begins_with_a_summary_of_the_check_up() -> None:
    facts = MACHINES["OMP_NUM_THREADS=1"][0]
    run = Run(header(plan(), facts))
    assert terminal.machine(run, 200, color=False) == (
        f"{machine_line(facts)}\nCheck-up: TL160 CPU limited to few threads. Details: torchlap doctor.\n"
    )
    well = Run(header(plan(), MACHINES["H100"][0]))
    assert terminal.machine(well, 200, color=False).endswith("\nCheck-up: no problems found.\n")
    assert json.loads(plain.as_json(run, None))["check_up"][0]["code"] == "TL160"
