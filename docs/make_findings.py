"""Write docs/findings/ from the catalogue: `python docs/make_findings.py`. A test holds the pages to it."""

from pathlib import Path

from torchlap.judge.findings import Rule
from torchlap.judge.machine import CATALOGUE as OF_MACHINES
from torchlap.judge.measurement import CATALOGUE as OF_MEASUREMENTS
from torchlap.judge.numerics import CATALOGUE as OF_NUMBERS
from torchlap.judge.script import CATALOGUE as OF_SCRIPTS

CATALOGUE = (*OF_MACHINES, *OF_MEASUREMENTS, *OF_NUMBERS, *OF_SCRIPTS)
FOLDER = Path(__file__).parent / "findings"
HEAD = """# Findings

A finding is a coded remark: what was seen, and what to do. TL1xx is about a machine (`torchlap doctor`): a **note** is
good to know, a **warning** changes results, an **error** says that the accelerator, or torch, cannot be used. TL2xx is
about a measurement (`torchlap run`): a **note** is good to know, a **warning** may change the figure, an **error**
makes it void (exit code 1). TL3xx is about numbers (`torchlap verify`, and `run`): an **error** makes the speed void.
TL4xx is about a training script (`torchlap audit`): an **error** says that its figure, or its training, is wrong.
Written by `python docs/make_findings.py`.

| code | severity | finding |
|---|---|---|
"""


def pages() -> dict[str, str]:
    """The text of each page, by its name."""
    index = "".join(f"| [{rule.code}]({rule.code}.md) | {rule.severity} | {rule.title} |\n" for rule in CATALOGUE)
    return {"README.md": HEAD + index, **{f"{rule.code}.md": page(rule) for rule in CATALOGUE}}


def page(rule: Rule) -> str:
    """One finding's page."""
    return (
        f"# {rule.code}: {rule.title}\n\nSeverity: {rule.severity}.\n\n"
        f"**Why it matters.** {rule.why}\n\n**What to do.** {rule.remedy}\n\n"
        + (f"**Source.** {rule.source}\n\n" if rule.source else "")
        + "[All findings](README.md)\n"
    )


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for name, text in pages().items():
        (FOLDER / name).write_text(text)
