"""The doctor's report: for a terminal, for a bug report (Markdown), for a script (JSON).

It identifies neither the user nor the machine, because the facts do not.
"""

from collections.abc import Iterator, Sequence
from operator import itemgetter

import msgspec
from msgspec import Struct
from rich.console import RenderableType
from rich.text import Text

from torchlap.errors import EXIT_UNUSABLE, EXIT_WARNINGS
from torchlap.judge.findings import Finding
from torchlap.judge.machine import CheckUp, exit_code
from torchlap.reports.first_aid import SCHEMA, VERDICTS, Verdict
from torchlap.reports.kit.findings import entry, in_markdown
from torchlap.reports.kit.json_format import as_ascii
from torchlap.reports.kit.machine import machine_line
from torchlap.reports.kit.table import Column, build
from torchlap.reports.kit.table import as_markdown as markdown_table
from torchlap.reports.kit.terminal import in_terminal, rendered
from torchlap.reports.kit.text import clean, escape
from torchlap.schema.machine import Facts, Trial

LONGEST_OUTPUT = 4000


class Report(Struct, frozen=True, kw_only=True):
    """The JSON format: one object. `schema` rises when a field changes its meaning; `verdict` names the exit code."""

    schema: int
    torchlap: str
    verdict: Verdict
    exit_code: int
    findings: tuple[Finding, ...]
    facts: Facts


def as_text(check_up: CheckUp, width: int, *, color: bool) -> str:
    """For a terminal: the machine in one line, the findings, worst first, and the verdict."""
    return rendered(_parts(check_up.facts, check_up.findings), width, color=color)


def _parts(facts: Facts, findings: Sequence[Finding]) -> Iterator[RenderableType]:
    yield Text(clean(machine_line(facts)))
    for finding in findings:
        yield Text("")
        yield from in_terminal(entry([finding]))
    if findings:
        yield Text("")
    yield from map(Text, _verdict(facts, findings))


def _verdict(facts: Facts, findings: Sequence[Finding]) -> Iterator[str]:
    """The verdict in a sentence, and which facts could not be read."""
    code, working = exit_code(findings), _working(facts)
    if code == EXIT_UNUSABLE:
        yield f"Not everything is usable. {working}" if working else "The accelerator or torch is unusable."
    elif code == EXIT_WARNINGS:
        yield f"Usable, but the warnings affect results. {working}" if working else "No device could be tested."
    else:
        yield f"All is well. {working}".rstrip()
    if facts.unread:
        yield clean(f"Could not read: {'; '.join(f'{unread.what} ({unread.why})' for unread in facts.unread)}.")


def _working(facts: Facts) -> str:
    """The devices that passed the live probe, in a sentence."""
    passed = [trial.device for trial in facts.trials if not trial.failed_at and not trial.wrong]
    names = [f"{device.name} {device.model}".strip() for device in facts.devices if device.name in passed]
    return clean(f"Tested and correct: {', '.join(names)}.") if names else ""


def as_markdown(check_up: CheckUp) -> str:
    """To paste into a bug report: the verdict, the findings, the facts."""
    facts, findings = check_up.facts, check_up.findings
    lines = [f"torchlap {check_up.torchlap} doctor: **{VERDICTS[exit_code(findings)]}**", ""]
    lines += [f"- {escape(line)}" for line in (clean(machine_line(facts)), *_verdict(facts, findings))]
    for finding in findings:
        lines += ["", *in_markdown(entry([finding]))]
    columns = [(Column("fact"), itemgetter(0)), (Column("value"), itemgetter(1))]
    lines += ["", *markdown_table(build(_facts(facts), columns))]
    output = facts.import_failure.output.strip() if facts.import_failure else ""
    if output:
        printed = output[-LONGEST_OUTPUT:].strip().splitlines()
        lines += ["", "Output of the import:", "", *(f"    {clean(line)}" for line in printed)]
    return "\n".join(lines) + "\n"


def _facts(facts: Facts) -> Iterator[tuple[str, str]]:
    """The facts that are known: labels, each with its text."""
    yield "system", " ".join(word for word in (facts.system, facts.os_version, facts.os_build) if word)
    translated = ", translated by Rosetta" if facts.translated else ""
    yield "Python", f"{facts.python} ({facts.architecture}{translated})"
    yield "packages", ", ".join(f"{name} {version}" for name, version in facts.packages.items())
    if facts.torch_build:
        built = {name: getattr(facts.torch_build, name) for name in ("cuda", "hip", "xpu", "wheel")}
        yield "torch built for", ", ".join(f"{name} {value}" for name, value in built.items() if value) or "the CPU"
    for device in facts.devices:
        yield f"device {device.name}", f"{device.model} {device.capability}".strip() or device.kind
    for trial in facts.trials:
        yield f"live probe of {trial.device}", _outcome(trial)
    if facts.nvidia:
        yield "NVIDIA driver", f"{facts.nvidia.driver}, CUDA {facts.nvidia.cuda}"
    yield (
        "environment",
        ", ".join(f"{name}={value}" for name, value in facts.environment.items()) or "no variables that affect results",
    )


def _outcome(trial: Trial) -> str:
    if trial.failed_at:
        return f"failed at {trial.failed_at} ({trial.kind}): {trial.reason}"
    return trial.wrong or f"passed in {trial.seconds:.1f} s"


def as_json(check_up: CheckUp) -> str:
    """One JSON object, in ASCII; docs/doctor.md has its schema."""
    code = exit_code(check_up.findings)
    report = Report(
        schema=SCHEMA,
        torchlap=check_up.torchlap,
        verdict=VERDICTS[code],
        exit_code=code,
        findings=check_up.findings,
        facts=check_up.facts,
    )
    return as_ascii(msgspec.to_builtins(report))
