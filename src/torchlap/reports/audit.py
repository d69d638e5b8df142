"""The report of `torchlap audit`: for a terminal, for a pull request (Markdown), for a script (JSON)."""

from torchlap.reports.kit.json_format import as_ascii
from torchlap.reports.kit.script import as_lines, as_object, exit_code, in_full
from torchlap.reports.kit.terminal import rendered
from torchlap.schema.trace import ScriptRun

__all__ = ["as_json", "as_markdown", "as_text", "exit_code"]


def as_text(run: ScriptRun, width: int, *, color: bool) -> str:
    """For a terminal, after what the script printed."""
    return rendered(in_full(run), width, color=color)


def as_markdown(run: ScriptRun) -> str:
    """To paste into a pull request."""
    return "\n".join(as_lines(run)) + "\n"


def as_json(run: ScriptRun, version: str) -> str:
    """One JSON object, in ASCII; docs/audit.md has its schema."""
    return as_ascii(as_object(run, version))
