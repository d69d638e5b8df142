"""The page of a finding: what it means, why it matters, how to fix it. The pages of docs/findings are these."""

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


def as_markdown(rule: Rule) -> str:
    """The page of one finding."""
    paragraphs = [
        f"# {rule.code}: {rule.title}",
        f"Severity: {rule.severity}.",
        f"**Why it matters.** {rule.why}",
        f"**How to fix it.** {rule.remedy}",
    ]
    if rule.source:
        paragraphs.append(f"**Source.** {rule.source}")
    return "\n\n".join(paragraphs) + "\n"
