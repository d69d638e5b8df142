"""What an audited script did, in lines: for the report of a script and for that of the 2022 experiment."""

from collections.abc import Iterator, Sequence
from statistics import median

import msgspec
from msgspec import Struct
from rich.console import RenderableType
from rich.text import Text

from torchlap.errors import EXIT_FINE, EXIT_NOTHING_AUDITED, EXIT_SOME_CELLS_FAILED
from torchlap.judge.findings import Finding
from torchlap.judge.script import examine
from torchlap.judge.script.coverage import limits, nothing_audited
from torchlap.judge.script.fixes import edits
from torchlap.judge.script.timing import duration, millions
from torchlap.reports.kit.findings import brief_in_markdown, entry, in_markdown
from torchlap.reports.kit.terminal import in_terminal, indented, note_in_terminal
from torchlap.reports.kit.text import clean, counted, escape
from torchlap.schema.trace import ScriptRun, Spans

SCHEMA = 3
MOST_FINDINGS = 5
"""In full; of the others, a line each."""

DIFF_STYLES = {"+": "green", "-": "red"}
MOST_SPANS = 6
WORTH_MENTIONING = 0.01
"""A share of the time; less is left out."""


class Report(Struct, frozen=True, kw_only=True):
    """The JSON format: one object. `schema` rises when a field changes its meaning."""

    schema: int
    torchlap: str
    exit_code: int
    not_audited: str
    findings: tuple[Finding, ...]
    diffs: dict[str, tuple[str, ...]]
    run: ScriptRun


def exit_code(run: ScriptRun) -> int:
    """1 if a finding is an error, 5 if nothing was audited, 0 if it was stopped; otherwise the script's own."""
    if any(finding.severity == "error" for finding in examine(run.trace)):
        return EXIT_SOME_CELLS_FAILED
    if nothing_audited(run.trace):
        return EXIT_NOTHING_AUDITED
    return EXIT_FINE if run.stopped else run.exit_code


def as_object(run: ScriptRun, version: str) -> dict[str, object]:
    """The JSON format in plain types."""
    found = examine(run.trace)
    report = Report(
        schema=SCHEMA,
        torchlap=version,
        exit_code=exit_code(run),
        not_audited=nothing_audited(run.trace),
        findings=found,
        diffs={finding.where: diff for finding in found if (diff := _diff(finding, run))},
        run=run,
    )
    fields: dict[str, object] = msgspec.to_builtins(report)
    return fields


def _diff(finding: Finding, run: ScriptRun) -> tuple[str, ...]:
    return tuple(clean(line) for edit in edits(finding, run.trace) for line in edit.diff)


def in_full(run: ScriptRun) -> Iterator[RenderableType]:
    """For a terminal: the verdict, what was timed, the worst findings, and the others in a line each."""
    findings = examine(run.trace)
    yield Text(headline(run, findings), style="bold")
    yield from map(indented, remarks(run))
    for finding in findings[:MOST_FINDINGS]:
        yield Text("")
        lines = [Text(f"      {line}", DIFF_STYLES.get(line[0], ""), no_wrap=True) for line in _diff(finding, run)]
        yield from in_terminal(entry([finding]), lines)
    if len(findings) > MOST_FINDINGS:
        yield Text("")
        yield Text(f"{len(findings) - MOST_FINDINGS} more findings (in full with --format json):")
        yield from (note_in_terminal(entry([finding])) for finding in findings[MOST_FINDINGS:])


def as_lines(run: ScriptRun) -> list[str]:
    """The same as lines of Markdown."""
    findings = examine(run.trace)
    lines = [f"**{escape(headline(run, findings))}**", "", *(f"- {escape(line)}" for line in remarks(run))]
    for finding in findings[:MOST_FINDINGS]:
        lines += ["", *in_markdown(entry([finding]))]
        diff = _diff(finding, run)
        if diff:
            lines += ["", "```diff", *(line.replace("`", "'") for line in diff), "```"]
    if len(findings) > MOST_FINDINGS:
        rest = [brief_in_markdown(entry([finding])) for finding in findings[MOST_FINDINGS:]]
        lines += ["", f"<details><summary>{len(rest)} more</summary>", "", *rest, "", "</details>"]
    return lines


def headline(run: ScriptRun, findings: Sequence[Finding]) -> str:
    """The number of findings of each severity, worst first; whether anything was watched at all."""
    severities = [finding.severity for finding in findings]
    counts = [counted(severities.count(severity), severity) for severity in dict.fromkeys(severities)]
    reason = nothing_audited(run.trace)
    if reason:
        return clean(f"{run.trace.script}: nothing was audited: {reason}.")
    clear = "no timing problems found" if run.trace.spans else "no problems found, but the timing was not checked"
    return clean(f"{run.trace.script}: {', '.join(counts) or clear}.")


def remarks(run: ScriptRun) -> list[str]:
    """What the script did, what the audit cost, how the script ended, and what it timed."""
    return [clean(line) for line in _remarks(run)]


def _remarks(run: ScriptRun) -> Iterator[str]:
    trace = run.trace
    yield _training(run)
    yield from _ending(run)
    if trace.truncated:
        yield "The script did more than the audit records: the results cover the first part."
    yield from map(_timed, trace.spans[:MOST_SPANS])
    if len(trace.spans) > MOST_SPANS:
        yield f"{len(trace.spans) - MOST_SPANS} more kinds of timed spans are not listed."
    yield from (f"{line}." for line in limits(trace))


def _training(run: ScriptRun) -> str:
    """The training steps, and the share of the time that the audit took."""
    trace = run.trace
    where = f" on {', '.join(trace.devices)}" if trace.devices else ""
    costs = [f"tracing took {_share(trace.tracer_seconds, trace.seconds):.1%} of it"]
    waiting = _share(trace.looked_seconds, trace.seconds)
    if waiting >= WORTH_MENTIONING:
        costs.append(f"waiting for the device at clock reads took {waiting:.1%} ({duration(trace.looked_seconds)})")
    return f"{counted(trace.steps, 'training step')}{where} in {duration(trace.seconds)}; {', '.join(costs)}."


def _share(seconds: float, total: float) -> float:
    return seconds / total if total else 0.0


def _ending(run: ScriptRun) -> Iterator[str]:
    """How the script ended, unless it ended as it should."""
    partial = "the results cover everything up to that point"
    if run.stopped:
        yield f"The script was stopped as requested: {partial}."
    elif run.interrupted:
        yield f"The script was interrupted: {partial}."
    elif run.signal:
        yield f"The script was ended by {run.signal}: the results may be missing its last seconds."
    elif run.exit_code:
        error = f" ({run.trace.error})" if run.trace.error else ""
        yield f"The script ended with exit code {run.exit_code}{error}: {partial}."


def _timed(spans: Spans) -> str:
    """One kind of timed span: where, on what, how long a step took."""
    what = [f"{millions(spans.parameters)} parameters"] if spans.parameters else []
    what += [f"batch {spans.batch}"] if spans.batch else []
    model = f" ({', '.join(what)})" if what else ""
    where = f"Timed at {spans.place} on {', '.join(spans.devices)}{model}: "
    if not spans.steps:
        return f"{where}{counted(spans.count, 'part')} of steps, {duration(median(spans.seconds))} each."
    step = median(spans.seconds) * spans.count / spans.steps
    pending = (
        spans.unfinished_seconds / spans.looked_at / (spans.steps / spans.count)
        if spans.looked_at and spans.steps
        else 0.0
    )
    more = f", {duration(step + pending)} including pending work" if pending > WORTH_MENTIONING * step else ""
    steps = (
        f"{counted(spans.count, 'span')} of {_number_of_steps(spans)}"
        if spans.steps != spans.count
        else (counted(spans.count, "step"))
    )
    return f"{where}{steps}, {duration(step)} per step{more}."


def _number_of_steps(spans: Spans) -> str:
    each = spans.steps / spans.count
    return counted(round(each), "step") if each == round(each) else f"about {each:.3g} steps"
