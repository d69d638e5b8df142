"""Is a training script's timing sound? A trace in, findings out: pure functions, each rule above its function."""

from dataclasses import replace

from torchlap.judge.findings import SEVERITIES, Finding, catalogue
from torchlap.judge.script import learning, operators, settings, timing, trust
from torchlap.schema.trace import Trace

MOST_EXAMPLES = 3

CATALOGUE = catalogue(timing, learning, settings, trust, operators)


def examine(trace: Trace) -> tuple[Finding, ...]:
    """What is wrong with the script's timing or training, worst first; one finding for each fault and line."""
    rules = (*timing.RULES, *learning.RULES, *settings.RULES, *trust.RULES, *operators.RULES)
    groups: dict[tuple[str, str], list[Finding]] = {}
    for rule in rules:
        for finding in rule(trace):
            groups.setdefault((finding.code, finding.where), []).append(finding)
    joined = map(_joined, groups.values())
    return tuple(sorted(joined, key=lambda finding: (SEVERITIES.index(finding.severity), finding.code)))


def _joined(findings: list[Finding]) -> Finding:
    """One finding of the worst severity; milder ones of the same code and line add nothing."""
    worst = min(SEVERITIES.index(finding.severity) for finding in findings)
    findings = [finding for finding in findings if finding.severity == SEVERITIES[worst]]
    examples = "; ".join(finding.evidence for finding in findings[:MOST_EXAMPLES])
    more = f"; and {len(findings) - MOST_EXAMPLES} more" if len(findings) > MOST_EXAMPLES else ""
    return replace(findings[0], evidence=examples + more)
