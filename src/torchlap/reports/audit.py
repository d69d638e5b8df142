"""The report of `torchlap audit`: for a terminal, for a pull request (Markdown), for a script (JSON)."""

from collections.abc import Iterable, Iterator
from statistics import median

import msgspec
from msgspec import Struct
from rich.console import RenderableType
from rich.padding import Padding
from rich.text import Text

from torchlap.errors import EXIT_FINE, EXIT_SOME_CELLS_FAILED
from torchlap.judge.findings import Finding
from torchlap.judge.script import examine
from torchlap.judge.script.timing import millions, milliseconds
from torchlap.reports.doctor import entry
from torchlap.reports.run.plain import as_ascii, escape
from torchlap.reports.run.rows import clean, sentence
from torchlap.reports.run.terminal import rendered
from torchlap.schema.trace import ScriptRun, Spans

SCHEMA = 1
MOST_SPANS = 6


class Report(Struct, frozen=True, kw_only=True):
    """The JSON format: one object. `schema` rises when a field changes its meaning."""

    schema: int
    torchlap: str
    exit_code: int
    findings: tuple[Finding, ...]
    run: ScriptRun


def exit_code(seen: ScriptRun) -> int:
    """1 where a finding is an error; otherwise the script's own, but where it was stopped on purpose."""
    if any(finding.severity == "error" for finding in examine(seen.trace)):
        return EXIT_SOME_CELLS_FAILED
    return EXIT_FINE if seen.stopped else seen.exit_code


def as_text(seen: ScriptRun, width: int, color: bool) -> str:  # noqa: FBT001  a terminal's two properties
    """For a terminal, after what the script printed: what was timed, then the findings, worst first."""
    return rendered(_parts(seen), width, color)


def _parts(seen: ScriptRun) -> Iterator[RenderableType]:
    findings = examine(seen.trace)
    yield Text(clean(_headline(seen, findings)), style="bold")
    for line in _remarks(seen):
        yield Padding(Text(clean(line)), (0, 0, 0, 2))
    for finding in findings:
        yield Text("")
        yield from entry(finding)


def _headline(seen: ScriptRun, findings: Iterable[Finding]) -> str:
    severities = [finding.severity for finding in findings]
    counts = [
        f"{severities.count(severity)} {severity}{'s' * (severities.count(severity) != 1)}"
        for severity in dict.fromkeys(severities)
    ]
    verdict = ", ".join(counts) if counts else "nothing stands against what it times"
    return f"{seen.trace.script}: {verdict}."


def _remarks(seen: ScriptRun) -> Iterator[str]:
    """How it ended, what it timed, and what the looking cost."""
    trace = seen.trace
    where = f" on {', '.join(trace.devices)}" if trace.devices else ""
    share = trace.tracer_seconds / trace.seconds if trace.seconds else 0.0
    looked = f" and {milliseconds(trace.looked_seconds)} of waits at clock reads" * (trace.looked_seconds > share)
    yield (
        f"{trace.steps} training steps{where} in {milliseconds(trace.seconds)}; tracing took {share:.1%} of it{looked}."
    )
    if seen.stopped:
        yield "It was stopped as asked: what it did until then is told."
    elif seen.interrupted:
        yield "It was interrupted: what it did until then is told."
    elif seen.signal:
        yield f"It was ended by {seen.signal}: what was seen up to some seconds before is told."
    elif seen.exit_code:
        error = f" ({trace.error})" if trace.error else ""
        yield f"It ended with exit code {seen.exit_code}{error}: what it did until then is told."
    if trace.truncated:
        yield "More happened than was kept: the first of it is told."
    yield from map(_timed, trace.spans[:MOST_SPANS])
    if len(trace.spans) > MOST_SPANS:
        yield f"And {len(trace.spans) - MOST_SPANS} more kinds of spans."
    if not trace.spans:
        yield (
            "No pair of clock reads around training steps was seen (time.time, perf_counter, monotonic, timeit, CUDA "
            "events), so nothing is said of its timing."
        )


def _timed(spans: Spans) -> str:
    each = median(spans.seconds) * spans.count / max(1, spans.steps)
    untimed = spans.unfinished_seconds / spans.looked_at / (spans.steps / spans.count) if spans.looked_at else 0.0
    more = f", {milliseconds(each + untimed)} with what was still to be done" if untimed > 0.01 * each else ""
    count = f"{spans.count} spans" if spans.count > 1 else "1 span"
    return (
        f"Timed at {spans.place} on {', '.join(spans.devices)} ({millions(spans.parameters)} parameters, batch "
        f"{spans.batch}): {count} of {spans.steps / spans.count:.3g} steps, {milliseconds(each)} a step{more}."
    )


def as_markdown(seen: ScriptRun) -> str:
    """To paste into a pull request."""
    findings = examine(seen.trace)
    lines = [f"**{_escaped(_headline(seen, findings))}**", ""]
    lines += [f"- {_escaped(line)}" for line in _remarks(seen)]
    for finding in findings:
        title = f"{finding.code} {finding.severity}: {finding.title}"
        where = f" ({finding.where})" * bool(finding.where)
        lines += ["", f"**{_escaped(title + where)}**", ""]
        lines += [f"- Seen: {_escaped(sentence(finding.evidence))}", f"- Do: {_escaped(sentence(finding.remedy))}"]
    return "\n".join(lines) + "\n"


def _escaped(text: str) -> str:
    return escape(clean(text))


def as_json(seen: ScriptRun, version: str) -> str:
    """One JSON object, in ASCII; docs/audit.md has its schema."""
    return as_ascii(as_object(seen, version))


def as_object(seen: ScriptRun, version: str) -> dict[str, object]:
    """What the JSON format has, in plain types."""
    report = Report(schema=SCHEMA, torchlap=version, exit_code=exit_code(seen), findings=examine(seen.trace), run=seen)
    told: dict[str, object] = msgspec.to_builtins(report)
    return told
