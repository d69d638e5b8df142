"""How a finding becomes lines: the same words in the same order in a terminal, in Markdown and on a page.

In full: a head, what was observed, why it matters, how to fix it, the source. In brief, below a table: one paragraph.
Needs only the standard library, because the doctor reports findings even where no other package can be imported.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from torchlap.judge.findings import SEVERITIES, Finding, Severity
from torchlap.reports.kit.text import clean, escape, sentence

MOST_EXAMPLES, MOST_OBSERVED = 3, 100


@dataclass(frozen=True, kw_only=True)
class Entry:
    """Findings of one code as one entry; every text is clean.

    Attributes:
        where: the cell or device if there is only one.
        observed: a sentence for each of the first findings, with its place if there are several.
        more: how many findings there are beside those.
        fixes: without repetitions, as are `commands` and `sources`.
    """

    code: str
    severity: Severity
    title: str
    where: str
    observed: tuple[str, ...]
    more: int
    why: str
    fixes: tuple[str, ...]
    commands: tuple[str, ...]
    sources: tuple[str, ...]

    @property
    def head(self) -> str:
        """The entry's first line."""
        where = f" ({self.where})" if self.where else ""
        return f"{self.code} {self.severity}: {self.title}{where}"

    @property
    def lines(self) -> tuple[tuple[str, tuple[str, ...]], ...]:
        """What stands below the head: labels, each with its texts."""
        why = (self.why,) if self.why else ()
        labels = {
            "Observed": (*self.observed, *([f"And {self.more} more."] if self.more else [])),
            "Why": why,
            "Fix": self.fixes,
            "Command": self.commands,
            "Source": self.sources,
        }
        return tuple((label, texts) for label, texts in labels.items() if texts)

    @property
    def brief(self) -> str:
        """The title, the first places and the fixes as one paragraph; the code comes before it."""
        places = [f"{self.where}: {text}" if self.where else text for text in self.observed]
        shown = "; ".join(place.rstrip(".") for place in places[:MOST_EXAMPLES])
        left_out = len(places) - MOST_EXAMPLES + self.more
        more = f"; and {left_out} more" if left_out > 0 else ""
        return f"{self.title}: {' '.join([sentence(shown + more), *self.fixes])}"


def entry(findings: Sequence[Finding]) -> Entry:
    """One entry for findings of the same code."""
    first = findings[0]
    alone = len(findings) == 1
    return Entry(
        code=first.code,
        severity=first.severity,
        title=clean(first.title),
        where=clean(first.where) if alone else "",
        observed=tuple(_observed(finding, with_place=not alone) for finding in findings[:MOST_OBSERVED]),
        more=max(0, len(findings) - MOST_OBSERVED),
        why=sentence(clean(first.why)),
        fixes=_distinct(sentence(clean(finding.remedy)) for finding in findings),
        commands=_distinct(clean(finding.command) for finding in findings),
        sources=_distinct(clean(finding.source) for finding in findings),
    )


def _observed(finding: Finding, *, with_place: bool) -> str:
    text = sentence(clean(finding.evidence))
    return f"{clean(finding.where)}: {text}" if with_place and finding.where else text


def _distinct(texts: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(text for text in texts if text))


def entries(findings: Sequence[Finding]) -> list[Entry]:
    """One entry for each code, in the order of the findings."""
    codes = dict.fromkeys(finding.code for finding in findings)
    return [entry([finding for finding in findings if finding.code == code]) for code in codes]


def in_markdown(shown: Entry) -> list[str]:
    """The entry in full, as lines of Markdown."""
    lines = [
        f"- `{text.replace('`', '')}`" if label == "Command" else f"- {label}: {escape(text)}"
        for label, text in flat(shown)
    ]
    return [f"**{escape(shown.head)}**", "", *lines]


def flat(shown: Entry) -> Iterator[tuple[str, str]]:
    """What stands below the head: each text with its label."""
    return ((label, text) for label, texts in shown.lines for text in texts)


def by_severity(shown: Sequence[Entry]) -> list[Entry]:
    """The most severe first."""
    return sorted(shown, key=lambda entry: SEVERITIES.index(entry.severity))


def brief_in_markdown(shown: Entry) -> str:
    """The entry as one item of a Markdown list."""
    return f"- **{shown.code}** {escape(shown.brief)}"
