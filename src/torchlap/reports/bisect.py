"""The report of `torchlap upgrade --bisect`: the releases that were measured, and the one that changed the speed."""

from collections.abc import Iterator

from torchlap.judge.bisect import Bisected
from torchlap.reports.kit.text import clean
from torchlap.reports.kit.units import with_interval


def as_text(found: Bisected) -> str:
    """For a terminal and for Markdown."""
    return "\n" + "\n".join(map(clean, _lines(found))) + "\n"


def _lines(found: Bisected) -> Iterator[str]:
    change = found.change
    if change is None:
        yield f"Nothing certainly changed between {found.first} and {found.unchanged}, so there is nothing to search."
        return
    cell = f"{change.model}, batch {change.batch}, {change.device}"
    yield f"Bisect: {cell}, over {found.first}"
    for step in found.steps:
        ratio = with_interval(step.interval, "x") if step.interval else "no result"
        yield f"- {step.release}: {ratio}, {step.side}"
    if found.skipped:
        yield f"Could not be installed: {', '.join(found.skipped)}."
    ratio = f": {with_interval(change.interval, 'x')} as fast" if change.interval else ""
    if found.is_narrow:
        skipped = " (releases that could not be installed may be between the two)" if found.skipped else ""
        yield (
            f"{found.changed} changed it: {cell} is {change.verdict} than with {found.unchanged}{skipped}{ratio}, "
            f"{change.column} over {found.first}."
        )
        return
    yield (
        f"Inconclusive: {cell} became {change.verdict} after {found.unchanged} and not after {found.changed}{ratio}. "
        "Measure again on a quiet machine, with a larger --budget."
    )
