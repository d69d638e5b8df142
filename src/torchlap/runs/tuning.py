"""From the events of `torchlap tune` to its ladder: which candidates are faster, which tie, which are out and why.

The search decides by the same functions as the reports, so that a run file says what the search did.
"""

from collections.abc import Sequence
from math import inf
from typing import Literal

from msgspec import Struct

from torchlap.runs.figures import CellResult, Tally, tally
from torchlap.schema.events import Run
from torchlap.schema.numerics import Numerics
from torchlap.schema.tuning import CandidateAdded, LeftOut, Tier, Trajectory
from torchlap.stats import Ratio, certain_ratio, lap_interval

COMPARISONS, LOOKS = 30, (4, 8, 12, 18, 27)
"""So many candidates at most are raced, and each is looked at after so many rounds at most."""

CERTAIN = 1 - 0.05 / (COMPARISONS * len(LOOKS))
"""The confidence of each look. By Bonferroni's inequality, in 95 of 100 searches none of them excludes the truth."""

LEAST_GAIN = 1.01
"""A smaller gain is not worth a word, and may come from where two processes happen to put their memory."""

SMOOTHED_STEPS = 10
"""The loss of a single batch is noisy: its mean over so many steps is compared."""

ALLOWED_FACTOR = 3.0
"""Of the largest distance between plain runs. There are few of them, and the largest of many would be larger."""

ALLOWED_SHARE = 1e-3
"""Of the loss: smaller differences are allowed in any case."""

ROUNDING, LOWER_ROUNDING = 32 * 2.0**-24, 2.0**-8
"""By how much plain runs are perturbed, beside which candidates of the same and of lower precision are held: a sum in
another order, and the rounding of bfloat16."""

NOTICED = 2
"""Ratios, that an interval needs."""

WITHOUT = "without "
"""Begins the word of a candidate that is another one without a word."""

Standing = Literal["faster", "slower", "tie", "open"]


def standing(ratios: Sequence[float]) -> Standing:
    """How a candidate stands in the race with its partner, by the ratios of their throughputs in each round.

    What is open when the time is up was not shown to be faster, so it counts as a tie.
    """
    if len(ratios) < NOTICED:
        return "open"
    ratio = certain_ratio(ratios, CERTAIN)
    if ratio.low > 1 and ratio.value >= LEAST_GAIN:
        return "faster"
    if ratio.high < 1 / LEAST_GAIN or (ratio.high < 1 and ratio.value <= 1 / LEAST_GAIN):
        return "slower"
    if ratio.low > 1 / LEAST_GAIN and ratio.high < LEAST_GAIN:
        return "tie"
    return "open"


def smoothed(losses: Sequence[float]) -> list[float]:
    """The mean of the losses of `SMOOTHED_STEPS` steps, for each such window."""
    width = min(SMOOTHED_STEPS, len(losses))
    return [sum(losses[start : start + width]) / width for start in range(len(losses) - width + 1)] if width else []


def distance(first: Trajectory, second: Trajectory) -> float:
    """How far two smoothed loss curves are from each other at most; infinite if one ended early."""
    if len(first.losses) != len(second.losses) or not first.losses:
        return inf
    return max(abs(a - b) for a, b in zip(smoothed(first.losses), smoothed(second.losses), strict=True))


def allowed_distance(plain: Sequence[Trajectory]) -> float:
    """How far a trajectory may be from the first plain one: what plain runs differ by, with a margin."""
    first, *others = plain
    scale = max(map(abs, first.losses), default=0.0)
    differ = max((gap for other in others if (gap := distance(first, other)) < inf), default=0.0)
    return max(ALLOWED_FACTOR * differ, ALLOWED_SHARE * scale)


def astray(trajectory: Trajectory, plain: Sequence[Trajectory]) -> str:
    """Why a trajectory is not that of the plain step; empty if it is, or if nothing is known about either."""
    if not plain or not plain[0].losses:
        return ""
    first = plain[0]
    if trajectory.reason:
        return f"its training could not be followed ({trajectory.reason})"
    if len(trajectory.losses) < len(first.losses):
        return f"the loss is not finite from step {len(trajectory.losses) + 1} on"
    if trajectory.moved < first.moved:
        names = [name for name in trajectory.still if name not in first.still]
        example = f", such as {names[0]}" if names else ""
        return f"{first.moved - trajectory.moved} of {first.moved} parameters do not change{example}"
    gap, limit = distance(trajectory, first), allowed_distance(plain)
    if gap > limit:
        return (
            f"its loss is off by up to {gap:.3g} within {len(first.losses)} steps; plain runs differ by less than "
            f"{limit:.3g}"
        )
    return ""


def wrong(numerics: Numerics | None) -> str:
    """Why a candidate's results are wrong; empty if they are not, or were not checked."""
    faults = [fault for fault in (numerics.faults if numerics else ()) if fault.kind != "imprecise"]
    return f"wrong results: {faults[0].operator}, {faults[0].phase}" if faults else ""


class Rung(Struct, frozen=True, kw_only=True):
    """A candidate on the ladder.

    Attributes:
        gain: over the cell that it was raced against, at `CERTAIN`; `over` is that cell's number.
        standing: in that race.
        out: why it cannot be the answer: a failure, or what the guard found; empty if it can.
        loss: after the last followed step; None if it was not followed.
        ties: it cannot be told from the winner of its tier, and is not it.
        wins: it is the answer of its tier.
    """

    number: int
    result: CellResult
    tier: Tier
    word: str
    over: int
    gain: Ratio | None
    standing: Standing
    out: str
    loss: float | None
    ties: bool = False
    wins: bool = False


class TunedRun(Struct, frozen=True):
    """The ladder of a run: the plain step, the rungs in the order in which they were tried, and what was left out."""

    plain: CellResult
    plain_loss: float | None
    rungs: tuple[Rung, ...]
    left_out: tuple[LeftOut, ...]
    winners: dict[Tier, int]
    """Their numbers; of a tier in which nothing is faster, none."""

    def least_energy(self) -> CellResult | None:
        """The plain step or the candidate that uses the fewest joules an item, of those that could be an answer."""
        results = [self.plain, *(rung.result for rung in self.rungs if not rung.out)]
        known = [
            (result.energy.joules_per_item.value, number)
            for number, result in enumerate(results)
            if result.energy and result.energy.joules_per_item
        ]
        return results[min(known)[1]] if known else None

    def batches(self) -> list["Rung"]:
        """The candidates with a larger batch, the smallest first."""
        grown = [rung for rung in self.rungs if rung.tier == "training" and rung.word.startswith("batch:")]
        return sorted(grown, key=lambda rung: rung.result.cell.workload.batch)

    def rung(self, number: int) -> Rung | None:
        """The candidate of that number."""
        return next((rung for rung in self.rungs if rung.number == number), None)


def out_of_race(group: Tally, number: int) -> str:
    """Why a candidate cannot be the answer; empty if it can."""
    failure = group.failures.get(number)
    if failure:
        return f"{failure.kind.replace('_', ' ')}: {failure.reason}"
    if found := wrong(group.numerics.get(number)):
        return found
    followed, candidate = group.trajectories.get(number), group.candidates.get(number)
    return astray(followed[-1], plain_runs(group, candidate.tier)) if followed and candidate else ""


def plain_runs(group: Tally, tier: Tier) -> list[Trajectory]:
    """The trajectories of the plain step with which those of a tier are compared, the unperturbed one first."""
    most = ROUNDING if tier == "same" else LOWER_ROUNDING
    return [trajectory for trajectory in group.trajectories.get(0, ()) if trajectory.perturbation <= most]


def best(group: Tally, tier: Tier, start: int = 0) -> int:
    """The number of the fastest candidate of a tier, or `start` if none is faster than what it was raced against.

    A candidate counts only if each one below it, down to the start, counts, too.
    """
    leader = start
    for number, candidate in group.candidates.items():
        if candidate.tier != tier or out_of_race(group, number) or not _stands_on(group, candidate, tier, start):
            continue
        if standing(group.ratios_over(number, _under(group, candidate))) != "faster":
            continue
        if leader == start or _speed(group, number) > _speed(group, leader):
            leader = number
    return leader


def _under(group: Tally, candidate: CandidateAdded) -> int:
    """The cell that a candidate must beat: the one without a word need not beat one with it that is out."""
    over = candidate.over
    if candidate.word.startswith(WITHOUT) and over in group.candidates and out_of_race(group, over):
        return group.candidates[over].over
    return over


def _stands_on(group: Tally, candidate: CandidateAdded, tier: Tier, start: int) -> bool:
    """Whether the cell under a candidate is the start, or a candidate of the same tier that is not out."""
    over = _under(group, candidate)
    if over == start:
        return True
    under = group.candidates.get(over)
    if under is None or under.tier != tier or out_of_race(group, over):
        return False
    return _stands_on(group, under, tier, start)


def _speed(group: Tally, number: int) -> float:
    """A candidate's speed-up over plain, in the rounds that both have; where memory kept them apart, of all laps."""
    ratios = group.ratios(number)
    if len(ratios) >= NOTICED:
        return lap_interval(ratios).value
    rates, plain = ([value for turn in group.throughputs(cell) for value in turn] for cell in (number, 0))
    return lap_interval(rates).value / lap_interval(plain).value if min(len(rates), len(plain)) >= NOTICED else 0.0


def tuned(run: Run) -> TunedRun | None:
    """The ladder of a run; None if the run searched for nothing."""
    if run.header.plan.tuning is None:
        return None
    group = tally(run)[0]
    cells = group.result(run.header.plan.confidence).cells
    winners: dict[Tier, int] = {}
    start = 0
    for tier in ("same", "lower", "training"):
        leader = best(group, tier, start)
        if leader != start:
            winners[tier] = leader
        if tier == "same" or (tier == "lower" and "precision" in run.header.plan.tuning.allow):
            start = leader
    rungs = tuple(_rung(group, number, cells[number], winners) for number in group.candidates)
    left_out = tuple(event for event in run.events if isinstance(event, LeftOut))
    return TunedRun(cells[0], _last_loss(group, 0), rungs, left_out, winners)


def _last_loss(group: Tally, number: int) -> float | None:
    followed = group.trajectories.get(number)
    return smoothed(followed[0].losses)[-1] if followed and followed[0].losses else None


def _rung(group: Tally, number: int, result: CellResult, winners: dict[Tier, int]) -> Rung:
    candidate = group.candidates[number]
    ratios = group.ratios_over(number, candidate.over)
    winner = winners.get(candidate.tier)
    out = out_of_race(group, number)
    return Rung(
        number=number,
        result=result,
        tier=candidate.tier,
        word=candidate.word,
        over=candidate.over,
        gain=certain_ratio(ratios, CERTAIN) if len(ratios) >= NOTICED else None,
        standing=standing(ratios),
        out=out,
        loss=_last_loss(group, number),
        ties=winner is not None and winner != number and not out and _ties(group, number, winner),
        wins=winner == number,
    )


def _ties(group: Tally, number: int, winner: int) -> bool:
    """Whether a candidate cannot be told from the winner: by their rounds, or else by their speed-ups over plain."""
    ratios = group.ratios_over(number, winner)
    if len(ratios) >= NOTICED:
        return standing(ratios) in ("tie", "open")
    own, its = group.ratios(number), group.ratios(winner)
    if min(len(own), len(its)) < NOTICED:
        return False
    return certain_ratio(own, CERTAIN).high >= certain_ratio(its, CERTAIN).low
