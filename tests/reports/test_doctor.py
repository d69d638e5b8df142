import json

import pytest
from machines import MACHINES, mac_without_mps, server_without_cuda
from making import header, plan
from msgspec.structs import replace
from support import ROOT

from torchlap.judge.machine import CheckUp, diagnose
from torchlap.reports.doctor import as_json, as_markdown, as_text
from torchlap.reports.kit.machine import machine_line
from torchlap.reports.run import plain, terminal
from torchlap.schema.events import Run
from torchlap.schema.machine import Facts, ImportFailure, Unread


def check_up_of(facts: Facts) -> CheckUp:
    return CheckUp("0.1.0", facts, diagnose(facts))


def text_of(facts: Facts, width: int = 200) -> str:
    return as_text(check_up_of(facts), width, color=False)


def test_a_machine_without_problems_has_two_lines() -> None:
    assert text_of(MACHINES["H100"][0]) == (
        "Fast Processor 9 · 16 cores · 128 GiB · cuda:0 NVIDIA H100 80GB HBM3 · Linux 6.8 · Python 3.12.3 · "
        "torch 2.15.0 torchvision 0.30.0\n"
        "All is well. Tested and correct: cpu, cuda:0 NVIDIA H100 80GB HBM3.\n"
    )


def test_a_finding_is_shown_in_full_and_the_verdict_comes_last() -> None:
    facts = mac_without_mps("M1", "13.7", "2.15.0")
    (finding,) = diagnose(facts)
    assert text_of(facts, 1000).partition("\n\n")[2] == (
        f"{finding.code} error: {finding.title} (mps)\n"
        f"  Observed: {finding.evidence}.\n"
        f"  Why: {finding.why}\n"
        f"  Fix: {finding.remedy}\n"
        f"  Source: {finding.source}\n"
        "\n"
        "Not everything is usable. Tested and correct: cpu.\n"
    )


@pytest.mark.parametrize(
    ("facts", "verdict"),
    [
        (MACHINES["H100, busy"][0], "Usable, but the warnings affect results. Tested and correct: cpu"),
        (replace(MACHINES["H100, busy"][0], trials=()), "No device could be tested."),
        (replace(MACHINES["H100, old driver"][0], trials=()), "The accelerator or torch is unusable."),
        (replace(MACHINES["H100"][0], trials=()), "All is well."),
    ],
)
def test_the_verdict_is_a_sentence(facts: Facts, verdict: str) -> None:
    assert text_of(facts).splitlines()[-1].startswith(verdict)


def test_a_command_stays_in_one_line_to_be_pasted() -> None:
    facts = MACHINES["H100, CPU wheel"][0]
    text, command = text_of(facts, 40), diagnose(facts)[0].command
    assert f"      {command}\n" in text
    assert all(len(line) <= 40 for line in text.splitlines() if command not in line)


def test_facts_that_could_not_be_read_are_named() -> None:
    facts = replace(MACHINES["H100"][0], unread=(Unread("the power", "pmset is not there"),))
    assert text_of(facts).splitlines()[-1] == "Could not read: the power (pmset is not there)."


@pytest.mark.parametrize("name", MACHINES)
def test_every_machine_has_a_report_in_every_format(name: str) -> None:
    facts = MACHINES[name][0]
    assert text_of(facts, 20)
    assert json.loads(as_json(check_up_of(facts)))["exit_code"] in (0, 1, 2)
    assert "| fact | value |" in as_markdown(check_up_of(facts))


def test_no_format_shows_untrusted_text_raw() -> None:
    evil = "\x1b[31m<script>|`*_\u202e"
    facts = server_without_cuda(cpu=evil, devices=(), trials=(), import_failure=ImportFailure("crash", evil, evil))
    check_up = check_up_of(facts)
    for report in (text_of(facts), as_markdown(check_up), as_json(check_up)):
        assert not {"\x1b", "\u202e"} & set(report)
    markdown, _, output = as_markdown(check_up).partition("Output of the import:")
    assert "<script>" not in markdown.replace("\\<script\\>", "")
    assert all(line.startswith("    ") for line in output.splitlines() if line)


def test_markdown_has_the_verdict_the_findings_and_the_facts() -> None:
    facts = MACHINES["H100, busy"][0]
    lines = as_markdown(check_up_of(facts)).splitlines()
    assert lines[0] == "torchlap 0.1.0 doctor: **warnings**"
    (finding,) = [finding for finding in diagnose(facts) if finding.code == "TL128"]
    assert f"**TL128 warning: {finding.title} ({finding.where})**" in lines
    assert "| NVIDIA driver | 580.159.04, CUDA 13.0 |" in lines


def test_json_is_complete_and_documented() -> None:
    report = json.loads(as_json(check_up_of(MACHINES["H100, old driver"][0])))
    assert (report["schema"], report["verdict"], report["exit_code"]) == (2, "unusable", 2)
    assert report["findings"][0]["code"] == "TL124"
    assert report["facts"]["nvidia"]["driver"] == "535.104.05"
    documented = (ROOT / "docs" / "doctor.md").read_text()
    assert [name for name in report if f"`{name}`" not in documented] == []


def test_a_run_begins_with_the_machine_and_a_summary_of_the_findings() -> None:
    facts = MACHINES["OMP_NUM_THREADS=1"][0]
    (finding,) = diagnose(facts)
    limited = Run(header(plan(), facts))
    assert terminal.machine(limited, 200, color=False) == (
        f"{machine_line(facts)}\nCheck-up: {finding.code} {finding.title}. Details: torchlap doctor.\n"
    )
    assert json.loads(plain.as_json(limited, None))["check_up"][0]["code"] == finding.code
    well = Run(header(plan(), MACHINES["H100"][0]))
    assert terminal.machine(well, 200, color=False).endswith("\nCheck-up: no problems found.\n")
