"""Findings about times to accuracy (TL7xx)."""

from collections.abc import Iterable, Sequence
from math import inf

from torchlap.judge.findings import Finding, Rule
from torchlap.runs.censored import Median
from torchlap.runs.training import CellTraining, training_plan, trainings
from torchlap.schema.events import Run
from torchlap.stats import Interval, plain

FEW_EVALUATIONS = 5
"""The time to accuracy is a whole number of stretches between evaluations; of fewer than these, one is over a fifth."""

NOT_SOONER = Rule(
    "TL701",
    "warning",
    "faster steps, but not sooner at the accuracy",
    "A recipe is worth its throughput only if it needs about as many steps. Lower precision can make each step faster "
    "and each training longer.",
    "Compare recipes by their time to accuracy. If the ratio of times is uncertain, train from more seeds (--seeds). "
    "Try another learning rate (--lr), for the baseline, too.",
    "Coleman et al., Analysis of DAWNBench, a Time-to-Accuracy Machine Learning Performance Benchmark, 2019 "
    "(arXiv:1806.01427)",
)
NOT_REACHED = Rule(
    "TL702",
    "warning",
    "accuracy not always reached",
    "A median over only the trainings that got there would flatter a recipe that often fails. Trainings that stopped "
    "early therefore count as longer than the time that they had.",
    "Raise --epochs or --budget if accuracy was still rising; otherwise lower --until, or change the model, --lr or "
    "the recipe.",
)
FEW_SEEDS = Rule(
    "TL703",
    "note",
    "too few seeds for an interval",
    "The time to accuracy varies from seed to seed. Below six seeds, no interval of the median holds with 95% "
    "certainty.",
    "Use at least --seeds 6, and a --budget in which they fit.",
    "Conover, Practical Nonparametric Statistics, 3rd edition, 1999, section 3.2",
)
COARSE = Rule(
    "TL704",
    "note",
    "few evaluations before the accuracy was reached",
    "The accuracy is known only at evaluations, so the time is rounded up to the next one. Two recipes that differ by "
    "less than one stretch of training look equal.",
    "Evaluate more often, with --evaluate-every STEPS. Evaluations do not count in the time.",
)
CATALOGUE = (NOT_SOONER, NOT_REACHED, FEW_SEEDS, COARSE)


def findings(run: Run) -> tuple[Finding, ...]:
    """What to know before relying on the times, sorted by code."""
    cells, plan = trainings(run), training_plan(run)
    found: list[Finding] = []
    for cell in cells:
        found += _not_sooner(cell)
        found += _not_reached(cell, len(plan.seeds))
        found += _few_seeds(cell)
        found += _coarse(cell)
    return tuple(sorted(found, key=lambda finding: finding.code))


def is_reached(cells: Sequence[CellTraining], seeds: int) -> bool:
    """Whether every cell reached the accuracy from every seed."""
    return all(cell.reached == seeds for cell in cells)


def has_failed(cells: Sequence[CellTraining]) -> bool:
    """Whether any training failed, rather than ended without the accuracy."""
    return any(attempt.outcome == "failed" for cell in cells for attempt in cell.attempts)


def _not_sooner(cell: CellTraining) -> Iterable[Finding]:
    faster, sooner = cell.speed_up, cell.sooner
    if faster is None or faster.low <= 1 or sooner is None or sooner.low is None or sooner.low > 1:
        return
    certain = sooner.high is not None and sooner.high < 1
    verdict = "certainly later at the accuracy" if certain else "not certainly sooner at the accuracy"
    yield NOT_SOONER.finding(
        str(cell.cell),
        f"throughput {_interval(faster)} of the baseline's, but {verdict}: {_median(sooner)} as soon",
    )


def _interval(ratio: Interval) -> str:
    return f"{plain(ratio.value)}x ({plain(ratio.low)} to {plain(ratio.high)})"


def _median(ratio: Median) -> str:
    value = "unknown times" if ratio.value is None or not 0 < ratio.value < inf else f"{plain(ratio.value)}x"
    high = "unlimited" if ratio.high in (None, inf) else plain(ratio.high)
    return f"{value} ({plain(ratio.low or 0.0)} to {high})"


def _not_reached(cell: CellTraining, seeds: int) -> Iterable[Finding]:
    if cell.reached == seeds:
        return
    outcomes = [attempt.outcome for attempt in cell.attempts if attempt.outcome not in ("reached", None)]
    words = {
        "epochs": "ran out of epochs",
        "budget": "ran out of time",
        "not_finite": "got a loss that is not finite",
        "failed": "failed",
    }
    reasons = [f"{outcomes.count(outcome)} {words[outcome]}" for outcome in dict.fromkeys(outcomes) if outcome]
    missing = seeds - cell.reached - len(outcomes)
    reasons += [f"{missing} did not start or were interrupted"] if missing else []
    yield NOT_REACHED.finding(str(cell.cell), f"{cell.reached} of {seeds} trainings reached it; {'; '.join(reasons)}")


def _few_seeds(cell: CellTraining) -> Iterable[Finding]:
    if cell.time is not None and cell.time.low is None:
        yield FEW_SEEDS.finding(str(cell.cell), f"{cell.time.count} trainings")


def _coarse(cell: CellTraining) -> Iterable[Finding]:
    counts = [len(attempt.evaluations) for attempt in cell.attempts if attempt.outcome == "reached"]
    if counts and min(counts) < FEW_EVALUATIONS:
        yield COARSE.finding(str(cell.cell), f"reached at evaluation {min(counts)} in one training")
