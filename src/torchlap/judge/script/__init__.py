"""Is a training script's timing honest? A trace in, findings out: pure functions, each rule beside its text."""

from msgspec.structs import replace

from torchlap.judge.findings import SEVERITIES, Finding, Rule
from torchlap.judge.script import learning, settings, timing
from torchlap.schema.trace import Trace

MOST_EXAMPLES = 3

CATALOGUE: tuple[Rule, ...] = tuple(
    sorted(
        {
            value
            for module in (timing, learning, settings)
            for value in vars(module).values()
            if isinstance(value, Rule)
        },
        key=lambda rule: rule.code,
    )
)


def examine(trace: Trace) -> tuple[Finding, ...]:
    """What stands against the script's figures, worst first; a line is told once of a fault that it has often."""
    rules = (*timing.RULES, *learning.RULES, *settings.RULES)
    same: dict[tuple[str, str, str], list[Finding]] = {}
    for finding in (finding for rule in rules for finding in rule(trace)):
        same.setdefault((finding.code, finding.where, finding.severity), []).append(finding)
    told = [_joined(findings) for findings in same.values()]
    return tuple(sorted(told, key=lambda finding: (SEVERITIES.index(finding.severity), finding.code)))


def _joined(findings: list[Finding]) -> Finding:
    shown = "; ".join(finding.evidence for finding in findings[:MOST_EXAMPLES])
    more = f"; and {len(findings) - MOST_EXAMPLES} more" if len(findings) > MOST_EXAMPLES else ""
    return replace(findings[0], evidence=shown + more)
