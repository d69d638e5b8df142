"""The shell of the workflows and of the Action; `make check` validates their structure."""

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support import ROOT

YAML = pytest.importorskip("ruamel.yaml").YAML  # comes with check-jsonschema
FILES = [*sorted((ROOT / ".github" / "workflows").glob("*.yml")), ROOT / "action.yml"]
EXPRESSION = re.compile(r"\$\{\{.*?\}\}")
OF_THE_ENVIRONMENT = "SC2153"
"""Variables that a step gets from `env:`."""


def steps(file: Path) -> Iterator[dict[str, Any]]:
    """All steps of a workflow, or of an Action."""
    content = YAML(typ="safe").load(file)
    for job in content.get("jobs", {}).values():
        yield from job.get("steps", ())
    yield from content.get("runs", {}).get("steps", ())


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_the_shell_of_every_step_has_no_finding(file: Path) -> None:
    shellcheck = shutil.which("shellcheck")
    if shellcheck is None:
        pytest.skip("shellcheck is not installed")
    command = [shellcheck, "--shell=bash", f"--exclude={OF_THE_ENVIRONMENT}", "-"]
    scripts = [EXPRESSION.sub("expression", step["run"]) for step in steps(file) if "run" in step]
    found = [subprocess.run(command, input=text, text=True, capture_output=True, check=False) for text in scripts]
    assert [each.stdout for each in found if each.returncode] == []


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_no_step_puts_what_others_write_into_a_script(file: Path) -> None:
    scripts = [step["run"] for step in steps(file) if "run" in step]
    assert [text for text in scripts if "github.event" in text or "github.head_ref" in text] == []
