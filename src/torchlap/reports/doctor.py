"""The doctor's report: for a terminal, for a bug report (Markdown), for a script (JSON).

None of it says who or where: the facts do not.
"""

from collections.abc import Iterable, Iterator
from typing import Literal

import msgspec
from msgspec import Struct
from rich.console import RenderableType
from rich.padding import Padding
from rich.text import Text

from torchlap.errors import EXIT_FINE, EXIT_UNUSABLE, EXIT_WARNINGS
from torchlap.judge.findings import Finding
from torchlap.judge.machine import CheckUp, exit_code
from torchlap.reports.kit.text import machine_line
from torchlap.reports.run.plain import as_ascii, escape
from torchlap.reports.run.rows import clean, sentence
from torchlap.reports.run.terminal import SEVERITY_STYLES, rendered
from torchlap.schema.machine import Facts, Trial

SCHEMA = 1
Verdict = Literal["fine", "warnings", "unusable"]
VERDICTS: dict[int, Verdict] = {EXIT_FINE: "fine", EXIT_WARNINGS: "warnings", EXIT_UNUSABLE: "unusable"}
LONGEST_SAID = 4000
INDENT = (0, 0, 0, 2)


class Report(Struct, frozen=True, kw_only=True):
    """The JSON format: one object. `schema` rises when a field changes its meaning; `verdict` says the exit code."""

    schema: int
    torchlap: str
    verdict: Verdict
    exit_code: int
    findings: tuple[Finding, ...]
    facts: Facts


def as_text(seen: CheckUp, width: int, color: bool) -> str:  # noqa: FBT001  a terminal's two properties
    """For a terminal: one line on the machine, then one when all is well, or else the findings, worst first."""
    return rendered(_parts(seen.facts, seen.findings), width, color)


def _parts(facts: Facts, findings: tuple[Finding, ...]) -> Iterator[RenderableType]:
    yield Text(clean(machine_line(facts)))
    for finding in findings:
        yield Text("")
        yield from entry(finding)
    if findings:
        yield Text("")
    for line in _closing(facts, findings):
        yield Text(line)


def entry(finding: Finding) -> Iterator[RenderableType]:
    """A finding with all that it has to tell."""
    head = Text(f"{finding.code} {finding.severity}: ", style=SEVERITY_STYLES[finding.severity])
    yield head.append(_titled(finding), style="bold default")
    yield _indented("Seen", finding.evidence)
    yield _indented("Why", finding.why)
    yield _indented("Do", finding.remedy)
    if finding.command:
        yield Text(f"      {clean(finding.command)}", no_wrap=True)
    if finding.source:
        yield _indented("Source", finding.source)


def _titled(finding: Finding) -> str:
    return f"{finding.title} ({clean(finding.where)})" if finding.where else finding.title


def _indented(label: str, text: str) -> Padding:
    words = clean(text) if label == "Source" else sentence(clean(text))
    return Padding(Text(f"{label}: ", style="dim").append(words, style="not dim"), INDENT)


def _closing(facts: Facts, findings: Iterable[Finding]) -> Iterator[str]:
    """The verdict in a sentence, and what could not be read."""
    code = exit_code(findings)
    works = _works(facts)
    if code == EXIT_UNUSABLE:
        yield "The accelerator cannot be used, or torch cannot." if not works else f"Not all is usable. {works}"
    elif code == EXIT_WARNINGS:
        yield f"It works, but the warnings change results. {works}" if works else "No device could be tried."
    else:
        yield f"All is well. {works}"
    unread = "; ".join(f"{each.what} ({each.why})" for each in facts.unread)
    if unread:
        yield f"Could not be read: {clean(unread)}."


def _works(facts: Facts) -> str:
    """Which devices got through the live probe, in a sentence."""
    passed = [trial.device for trial in facts.trials if not trial.failed_at and not trial.wrong]
    names = [clean(f"{each.name} {each.model}".strip()) for each in facts.devices if each.name in passed]
    return f"Tried, with right numbers: {', '.join(names)}." if names else ""


def as_markdown(seen: CheckUp) -> str:
    """To paste into a bug report: the verdict, the findings, the facts."""
    facts, findings = seen.facts, seen.findings
    lines = [f"torchlap {seen.torchlap} doctor: **{VERDICTS[exit_code(findings)]}**", ""]
    lines += [f"- {_escaped(line)}" for line in [machine_line(facts), *_closing(facts, findings)]]
    for finding in findings:
        lines += ["", f"**{finding.code} {finding.severity}: {_escaped(_titled(finding))}**", ""]
        lines += [f"- Seen: {_escaped(sentence(finding.evidence))}", f"- Do: {_escaped(sentence(finding.remedy))}"]
        lines += [f"- `{clean(finding.command).replace('`', '')}`"] * bool(finding.command)
        lines += [f"- Source: {_escaped(finding.source)}"] * bool(finding.source)
    lines += ["", "| fact | value |", "|---|---|"]
    lines += [f"| {name} | {_escaped(value)} |" for name, value in _facts(facts)]
    if facts.import_failure and facts.import_failure.output.strip():
        said = facts.import_failure.output[-LONGEST_SAID:].strip().splitlines()
        lines += ["", "What the import printed:", "", *(f"    {clean(line)}" for line in said)]
    return "\n".join(lines) + "\n"


def _escaped(text: str) -> str:
    return escape(clean(text))


def _facts(facts: Facts) -> Iterator[tuple[str, str]]:
    """The facts as rows of words; those that there are."""
    yield "system", " ".join(word for word in (facts.system, facts.os_version, facts.os_build) if word)
    yield "Python", f"{facts.python} ({facts.architecture}{', translated' if facts.translated else ''})"
    yield "packages", ", ".join(f"{name} {version}" for name, version in facts.packages.items())
    if facts.torch_build:
        built = {name: getattr(facts.torch_build, name) for name in ("cuda", "hip", "xpu", "wheel")}
        yield "torch is built for", ", ".join(f"{name} {value}" for name, value in built.items() if value) or "the CPU"
    for device in facts.devices:
        yield f"device {escape(clean(device.name))}", f"{device.model} {device.capability}".strip() or device.kind
    for trial in facts.trials:
        yield f"live probe of {escape(clean(trial.device))}", _outcome(trial)
    if facts.nvidia:
        yield "NVIDIA's driver", f"{facts.nvidia.driver}, CUDA {facts.nvidia.cuda}"
    yield "environment", ", ".join(f"{name}={value}" for name, value in facts.environment.items()) or "none of note"


def _outcome(trial: Trial) -> str:
    if trial.failed_at:
        return f"failed at {trial.failed_at} ({trial.kind}): {trial.reason}"
    return trial.wrong or f"passed in {trial.seconds:.1f} s"


def as_json(seen: CheckUp) -> str:
    """One JSON object, in ASCII; docs/doctor.md has its schema."""
    code = exit_code(seen.findings)
    report = Report(
        schema=SCHEMA,
        torchlap=seen.torchlap,
        verdict=VERDICTS[code],
        exit_code=code,
        findings=seen.findings,
        facts=seen.facts,
    )
    return as_ascii(msgspec.to_builtins(report))
