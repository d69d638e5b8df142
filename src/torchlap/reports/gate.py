"""The report of `torchlap gate`: one sentence for a terminal, and the comment for a pull request."""

from collections.abc import Iterator, Sequence

from torchlap.judge.compare import Compared, Gate
from torchlap.reports.kit.text import clean, counted, escape
from torchlap.reports.run.plain import as_markdown
from torchlap.schema.events import Run

MARK = "<!-- torchlap gate -->"
"""The first line of a comment, by which a later one finds it."""

TITLES: dict[Gate, str] = {"pass": "no slow-down", "slower": "slower", "inconclusive": "inconclusive"}
FAILED = "no valid result"


def sentence(outcome: Gate, limit: float, runs: int, *, failed: bool) -> str:
    """What the gate decided, and on what ground."""
    if failed:
        return "Failed: at least one cell has no valid result."
    bound = f"{1 - limit:.3g}x as fast as before"
    repeated = f" in {counted(runs, 'run')}" if runs > 1 else ""
    match outcome:
        case "pass":
            return f"Pass: every cell is certainly at least {bound}."
        case "slower":
            return f"Slower: a cell is certainly less than {bound}{repeated}."
        case "inconclusive":
            return f"Inconclusive: it is not certain{repeated} whether every cell is at least {bound}."


def comment(outcome: Gate, limit: float, found: Sequence[tuple[Run, Compared]], *, failed: bool) -> str:
    """Markdown for a pull request: the outcome, then each run's report, the last one first."""
    title = FAILED if failed else TITLES[outcome]
    lines = [MARK, f"### torchlap: {title}", "", escape(sentence(outcome, limit, len(found), failed=failed)), ""]
    lines += [*(f"- {escape(reason)}" for reason in reasons(found[-1][1])), ""]
    last, *earlier = [run for run, _ in reversed(found)]
    lines.append(as_markdown(last))
    for run in earlier:
        lines += ["<details><summary>The run before, which was repeated</summary>", "", as_markdown(run), "</details>"]
    return "\n".join(lines) + "\n"


def reasons(compared: Compared) -> Iterator[str]:
    """Why cells have no verdict."""
    for change in compared.changes:
        if change.ground is None:
            yield clean(f"{change.model}, batch {change.batch}, {change.device}, {change.column}: {change.reason}.")
