"""Write docs/findings/ from the catalogue: `python docs/make_findings.py`. A test holds the pages to it."""

from pathlib import Path

from torchlap.findings import CATALOGUE, Rule

FOLDER = Path(__file__).parent / "findings"
HEAD = """# Findings

A finding is a coded remark about a run: what was seen, and what to do. A **note** is good to know, a **warning** may
change the figure, an **error** makes it void (exit code 1). Written by `python docs/make_findings.py`.

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
        f"**Why it matters.** {rule.why}\n\n**What to do.** {rule.remedy}\n\n[All findings](README.md)\n"
    )


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for name, text in pages().items():
        (FOLDER / name).write_text(text)
