"""The page of a finding: what it looks like, why it matters, how to fix it. The pages of docs/findings are these."""

import tomllib
from functools import cache
from importlib.resources import files
from textwrap import indent

import msgspec
from msgspec import Struct

from torchlap.judge import collection, machine, measurement, numerics, scaling, script, training, tuning
from torchlap.judge.findings import Rule

CATALOGUE = (
    *machine.CATALOGUE,
    *measurement.CATALOGUE,
    *numerics.CATALOGUE,
    *script.CATALOGUE,
    *tuning.CATALOGUE,
    *scaling.CATALOGUE,
    *training.CATALOGUE,
    *collection.CATALOGUE,
)


def rule_of(code: str) -> Rule | None:
    """The rule with this code, in any case; None if there is none."""
    return next((rule for rule in CATALOGUE if rule.code == code.strip().upper()), None)


class Shown(Struct, frozen=True):
    """What the page of a finding shows beside its rule: an example, what to do instead, and a source."""

    example: str
    instead: str
    source: str = ""


def shown(rule: Rule) -> Shown:
    """The example of a rule; data/findings has them, in a file for each family."""
    return _examples()[rule.code]


@cache
def _examples() -> dict[str, Shown]:
    folder = files("torchlap").joinpath("data", "findings")
    texts = [file.read_text(encoding="utf-8") for file in folder.iterdir() if file.name.endswith(".toml")]
    tables = [tomllib.loads(text) for text in texts]
    return {code: msgspec.convert(entry, Shown) for table in tables for code, entry in table.items()}


def as_markdown(rule: Rule) -> str:
    """The page of one finding."""
    beside = shown(rule)
    paragraphs = [
        f"# {rule.code}: {rule.title}",
        f"Severity: {rule.severity}.",
        "**What it looks like:**",
        _block(beside.example),
        f"**Why it matters.** {rule.why}",
        f"**How to fix it.** {rule.remedy}",
        "**Instead:**",
        _block(beside.instead),
        f"**Source.** {rule.source or beside.source}",
    ]
    return "\n\n".join(paragraphs) + "\n"


def _block(text: str) -> str:
    return indent(text.strip("\n"), "    ")
