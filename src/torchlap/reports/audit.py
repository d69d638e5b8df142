"""The report of `torchlap audit`: for a terminal, for a pull request (Markdown), for a script (JSON)."""

from pathlib import Path
from statistics import median

from torchlap.judge.script.timing import duration
from torchlap.reports.kit.json_format import as_ascii
from torchlap.reports.kit.script import as_lines, as_object, exit_code, in_full
from torchlap.reports.kit.terminal import rendered
from torchlap.reports.kit.text import clean
from torchlap.schema.trace import ScriptRun

__all__ = ["as_comparison", "as_json", "as_markdown", "as_text", "exit_code"]


def as_text(run: ScriptRun, width: int, *, color: bool) -> str:
    """For a terminal, after what the script printed."""
    return rendered(in_full(run), width, color=color)


def as_markdown(run: ScriptRun) -> str:
    """To paste into a pull request."""
    return "\n".join(as_lines(run)) + "\n"


def as_json(run: ScriptRun, version: str) -> str:
    """One JSON object, in ASCII; docs/audit.md has its schema."""
    return as_ascii(as_object(run, version))


def as_comparison(before: ScriptRun, after: ScriptRun, copy: Path, codes: tuple[str, ...]) -> str:
    """What the figures of a script become in its repaired copy."""
    lines = [clean(f"Wrote {copy.name} with repairs of {', '.join(codes)}, and ran it.")]
    lines += [f"  Time per step, as the script measures it: {_step(before)} before, {_step(after)} after the repairs."]
    if after.exit_code:
        lines.append(f"  The repaired copy ended with exit code {after.exit_code}: check it before you use it.")
    return "\n".join(lines) + "\n"


def _step(run: ScriptRun) -> str:
    timed = [spans for spans in run.trace.spans if spans.steps]
    if not timed:
        return "none"
    return ", ".join(duration(median(spans.seconds) * spans.count / spans.steps) for spans in timed[:MOST_FIGURES])


MOST_FIGURES = 3
