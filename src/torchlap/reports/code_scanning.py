"""Findings about a script for code review: SARIF 2.1.0 for code scanning, and GitHub's annotations for a log."""

import json
from typing import Any

from torchlap.judge.findings import Finding, Rule, Severity
from torchlap.judge.script import CATALOGUE, examine
from torchlap.judge.script.coverage import nothing_audited
from torchlap.reports.kit.text import clean, sentence
from torchlap.schema.trace import ScriptRun

LEVELS: dict[Severity, str] = {"error": "error", "warning": "warning", "note": "note"}
COMMANDS: dict[Severity, str] = {"error": "error", "warning": "warning", "note": "notice"}
SARIF = "https://json.schemastore.org/sarif-2.1.0.json"


def as_sarif(run: ScriptRun, version: str, folder: str = "") -> str:
    """One SARIF log; `folder` is the script's, relative to the repository."""
    found = examine(run.trace)
    used = {finding.code for finding in found}
    driver = {
        "name": "torchlap",
        "version": version,
        "rules": [_rule(rule) for rule in CATALOGUE if rule.code in used],
    }
    reason = nothing_audited(run.trace)
    notice = {"level": "warning", "message": {"text": f"Nothing was audited: {clean(reason)}."}}
    invocation: dict[str, Any] = {
        "executionSuccessful": not reason,
        "exitCode": run.exit_code,
        "toolExecutionNotifications": [notice] if reason else [],
    }
    results = [_result(finding, folder) for finding in found]
    log = {
        "$schema": SARIF,
        "version": "2.1.0",
        "runs": [{"tool": {"driver": driver}, "invocations": [invocation], "results": results}],
    }
    return json.dumps(log, indent=1) + "\n"


def _rule(rule: Rule) -> dict[str, Any]:
    return {
        "id": rule.code,
        "shortDescription": {"text": rule.title},
        "fullDescription": {"text": rule.why},
        "help": {"text": rule.remedy},
        "defaultConfiguration": {"level": LEVELS[rule.severity]},
    }


def _result(finding: Finding, folder: str) -> dict[str, Any]:
    file, line = _position(finding)
    result: dict[str, Any] = {
        "ruleId": finding.code,
        "level": LEVELS[finding.severity],
        "message": {"text": _message(finding)},
    }
    if file:
        location = {"artifactLocation": {"uri": _uri(folder, file)}, "region": {"startLine": line}}
        result["locations"] = [{"physicalLocation": location}]
    return result


def as_annotations(run: ScriptRun, folder: str = "") -> str:
    """A line for each finding, in the form that GitHub Actions turns into annotations."""
    reason = nothing_audited(run.trace)
    lines = [f"::warning title=torchlap::{_escaped(f'Nothing was audited: {clean(reason)}.')}"] if reason else []
    for finding in examine(run.trace):
        file, line = _position(finding)
        where = f"file={_escaped_property(_uri(folder, file))},line={line}," if file else ""
        title = _escaped_property(f"{finding.code} {clean(finding.title)}")
        lines.append(f"::{COMMANDS[finding.severity]} {where}title={title}::{_escaped(_message(finding))}")
    return "\n".join([*lines, ""])


def _message(finding: Finding) -> str:
    texts = (finding.title, finding.evidence, finding.why, finding.remedy)
    return " ".join(_capitalized(sentence(clean(text))) for text in texts if text)


def _capitalized(text: str) -> str:
    return text[:1].upper() + text[1:]


def _position(finding: Finding) -> tuple[str, int]:
    file, _, number = clean(finding.where).rpartition(":")
    return (file, max(1, int(number))) if number.isdigit() else ("", 1)


def _uri(folder: str, file: str) -> str:
    return f"{folder.rstrip('/')}/{file}" if folder else file


def _escaped(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _escaped_property(text: str) -> str:
    return _escaped(text).replace(":", "%3A").replace(",", "%2C")
