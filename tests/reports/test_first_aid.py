"""The doctor's report where torchlap itself cannot start, and the commands of `doctor --fix`."""

import json

import pytest
from machines import MACHINES

from torchlap.judge import broken
from torchlap.judge.findings import Finding
from torchlap.judge.machine import CheckUp, diagnose
from torchlap.reports import doctor
from torchlap.reports.first_aid import SCHEMA, as_commands, as_json, as_markdown, as_text

FINDING = broken.cannot_be_imported("rich", "ImportError: no such file", installer="uv", python="env/bin/python")


@pytest.mark.parametrize("width", [60, 80, 400])
@pytest.mark.parametrize("name", ["H100, busy", "nothing installed", "a variable breaks the import"])
def test_a_finding_reads_as_in_the_full_report(name: str, width: int) -> None:
    facts = MACHINES[name][0]
    full = doctor.as_text(CheckUp("0.1.0", facts, diagnose(facts)), width, color=False)
    for finding in diagnose(facts):
        first, *blocks = as_text([finding], "a machine", width).split("\n\n")
        assert first == "a machine"
        assert blocks[0] in full


def test_every_format_has_the_finding_and_its_command() -> None:
    command = "uv pip install --python env/bin/python --upgrade --reinstall rich"
    report = json.loads(as_json([FINDING], {"python": "3.12.1"}, "0.1.0"))
    assert (report["schema"], report["verdict"], report["exit_code"]) == (SCHEMA, "unusable", 2)
    assert set(report["findings"][0]) == set(vars(FINDING))
    for text in (as_text([FINDING], "a machine", 80), as_markdown([FINDING], "a machine", "0.1.0")):
        assert command in text
        assert "TL109 error" in text


def test_the_fixes_are_commands_and_comments_for_a_shell() -> None:
    note = Finding("TL101", "note", "", "nothing", "Do nothing.", "no accelerator")
    hidden = Finding("TL108", "error", "", "dis.py hides dis", "Rename the file.", "a file hides\na module")
    assert as_commands([FINDING, hidden, note]).splitlines() == [
        "# TL109: a package that torchlap needs cannot be imported: rich: ImportError: no such file",
        FINDING.command,
        "# TL108: a file hides a module: dis.py hides dis",
        "# Rename the file.",
    ]
    assert as_commands([note]) == "# Nothing to fix.\n"
