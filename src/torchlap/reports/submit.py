"""What a prepared run would publish, in words, and the text of its pull request."""

from collections.abc import Iterator

import msgspec

from torchlap.judge.collection import Submission
from torchlap.reports.kit.text import clean, counted, escape
from torchlap.reports.kit.units import with_interval
from torchlap.reports.site.words import work_words
from torchlap.schema.events import Round, Run
from torchlap.stats import Interval

PULL_REQUEST = """# {title}

A run of torchlap for the collection.

- [ ] The file is in `{folder}/`, a folder with my GitHub name.
- [ ] I measured it myself, on a machine that I may name in public, and changed nothing in it.
- [ ] I agree that it is published under the license of the repository.

| work | chip | items/s |
|---|---|---|
{rows}
{notes}
Prepared by `torchlap submit` {version}. Check it with `torchlap collect {root} --check {file}`.
"""


def as_text(run: Run, submission: Submission, size: int) -> str:
    """Everything that the file tells about the machine, every other text in it, and how many numbers there are."""
    lines = ["This would be published, and nothing else:", ""]
    lines += [f"  {name}: {clean(value)}" for name, value in _texts("", msgspec.to_builtins(run.header.facts))]
    lines += ["", "  Other texts in the file:"]
    known = dict.fromkeys(clean(text) for text in _words(run))
    lines += [f"    {text}" for text in known if text]
    laps = [lap for event in run.events if isinstance(event, Round) for lap in event.laps]
    numbers = f"{counted(len(laps), 'lap')} with their seconds and losses, and the times and rates of the texts above"
    lines += ["", f"  Numbers: {numbers}; {size:,} bytes in all.", ""]
    lines += [f"{len(submission.entries)} results would be accepted."]
    lines += [
        f"Refused: {clean(each.where)}: {each.title} ({each.code}): {each.evidence}." for each in submission.refused
    ]
    return "\n".join(lines) + "\n"


def _texts(name: str, value: object) -> Iterator[tuple[str, str]]:
    """The fields of a structure that are not empty, by their paths."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _texts(f"{name}.{clean(str(key))}".lstrip("."), item)
    elif isinstance(value, list | tuple):
        for place, item in enumerate(value):
            yield from _texts(f"{name}[{place}]", item)
    elif value not in (None, "", False):
        yield name, str(value)


def _words(run: Run) -> Iterator[str]:
    """Every text in the file but the facts, and the names of fields."""
    header = msgspec.to_builtins(run.header)
    header.pop("facts")
    yield from (text for _, text in _texts("", header) if not _is_number(text))
    for event in run.events:
        if not isinstance(event, Round):
            yield from (text for _, text in _texts("", msgspec.to_builtins(event)) if not _is_number(text))


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return text == "True"
    return True


def pull_request(submission: Submission, *, root: str, owner: str, name: str, version: str) -> str:
    """The text of a pull request, in Markdown.

    Args:
        submission: what the collection would accept.
        root: the folder of the collection.
        owner: whose folder the file is in.
        name: of the file.
        version: of torchlap.
    """
    chips = list(dict.fromkeys(entry.chip for entry in submission.entries))
    torches = list(dict.fromkeys(entry.torch for entry in submission.entries))
    rows = [
        f"| {escape(work_words(entry.key))} | {escape(clean(entry.chip))} | "
        f"{with_interval(Interval(entry.value, entry.low, entry.high, entry.laps))} |"
        for entry in submission.entries
    ]
    notes = [
        f"\nRefused: {escape(clean(each.where))}: {each.title} ({each.code}): {escape(clean(each.evidence))}.\n"
        for each in submission.refused
    ]
    return PULL_REQUEST.format(
        title=escape(clean(f"{', '.join(chips) or 'no result'}, torch {', '.join(torches)}")),
        folder=f"{root}/{owner}",
        rows="\n".join(rows),
        notes="".join(notes),
        version=version,
        root=root,
        file=f"{owner}/{name}",
    )
