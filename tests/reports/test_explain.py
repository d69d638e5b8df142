"""The pages of findings."""

import re
import shlex

import pytest
import typer

from torchlap.cli.app import app
from torchlap.judge.findings import Rule
from torchlap.reports.explain import CATALOGUE, as_markdown, shown


@pytest.mark.parametrize("rule", CATALOGUE, ids=lambda rule: rule.code)
def test_a_finding_has_an_example_what_to_do_instead_and_a_source(rule: Rule) -> None:
    beside = shown(rule)
    assert beside.example.strip()
    assert beside.instead.strip()
    assert beside.example != beside.instead
    assert bool(rule.source) != bool(beside.source), "in one place"
    text = as_markdown(rule)
    heads = re.findall(r"^\*\*(.+?)\*\*", text, re.MULTILINE)
    assert heads == ["What it looks like:", "Why it matters.", "How to fix it.", "Instead:", "Source."]


COMMANDS = [
    (rule.code, command)
    for rule in CATALOGUE
    for line in shown(rule).instead.splitlines()
    for command in re.split(r" && ", line.partition("  #")[0])
    if re.search(r"(^| )torchlap( |$)", command)
]


@pytest.mark.parametrize(("code", "command"), COMMANDS, ids=lambda text: text.split()[0])
def test_commands_of_the_pages_exist(code: str, command: str) -> None:
    words = shlex.split(command.rpartition("torchlap")[2])
    name, *arguments = words or ["run"]
    group = typer.main.get_command(app)
    context = group.make_context("torchlap", [name], resilient_parsing=True)
    found = group.get_command(context, name)  # type: ignore[attr-defined]  # it is a group
    assert found is not None, code
    found.make_context(name, list(arguments), parent=context)
