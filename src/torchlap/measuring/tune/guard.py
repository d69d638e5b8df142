"""The guard: whether a candidate computes what the plain step computes, over one step and over a training's first."""

from torchlap.measuring.context import LONGEST_TEXT, Context
from torchlap.measuring.lanes import SLOT, check_numerics
from torchlap.measuring.tune.race import GROUP, PLAIN
from torchlap.processes.failures import CellFailedError
from torchlap.runs.tuning import LOWER_ROUNDING, ROUNDING, out_of_race
from torchlap.schema.events import NumericsChecked
from torchlap.schema.replies import Followed
from torchlap.schema.requests import Follow, Verify
from torchlap.schema.tuning import TRAJECTORY_STEPS, Tier, Trajectory, TrajectoryFollowed

MOST_SHARE = 0.25
"""Of the budget, that is kept for following the loss; where it would take more, there may be no time for it."""

LEAST_SHARE = 0.1
"""Of the budget, that following the loss may take even where the part of the search is over."""

PLAIN_RUNS: tuple[tuple[int, float], ...] = ((0, 0.0), (1, ROUNDING), (2, ROUNDING))
RUNS = {"same": PLAIN_RUNS, "lower": (PLAIN_RUNS[0], (3, LOWER_ROUNDING), (4, LOWER_ROUNDING))}
"""Seeds and perturbations of the plain step's runs, beside which candidates of each tier are held."""


class Guard:
    """Checks candidates that would win, in workers of its own: nothing laps meanwhile.

    Args:
        context: of the session.
        verify: also check each operator against float64.
    """

    def __init__(self, context: Context, *, verify: bool) -> None:
        self._context, self._verify = context, verify
        self._crew = context.crew.another()

    def why_out(self, number: int, tier: Tier, seconds: float, *, verify: bool = False) -> str:
        """Follow a candidate's loss, once, and with `verify` check its results, within about `seconds`.

        Returns:
            Why it is out; empty if it is not.
        """
        tally = self._context.ledger.tallies[GROUP]
        end = self._context.clock() + seconds
        if tier != "training" and self._is_time(number, tier, seconds):
            for seed, perturbation in RUNS[tier]:
                self._follow_once(PLAIN, seed, perturbation)
            self._follow_once(number, 0, 0.0)
        if verify and self._verify and number not in tally.numerics and not out_of_race(tally, number):
            self._check(number, max(1.0, end - self._context.clock()))
        return out_of_race(tally, number)

    def _is_time(self, number: int, tier: Tier, seconds: float) -> bool:
        """Whether following the loss of all runs that are missing fits, or takes little of the budget anyway."""
        context, tally = self._context, self._context.ledger.tallies[GROUP]
        known = {(done.seed, done.perturbation) for done in tally.trajectories.get(PLAIN, ())}
        runs = len(set(RUNS[tier]) - known)
        step = {cell: known.seconds for cell, known in context.ledger.steps.items()}
        cells = tally.group.cells
        expected = TRAJECTORY_STEPS * (runs * step[cells[PLAIN]] + step[cells[number]])
        return expected <= max(seconds, LEAST_SHARE * context.plan.budget_seconds)

    def expected_seconds(self) -> float:
        """What following the loss of the plain step and of a winner that is as fast will take; 0 if too long."""
        context = self._context
        plain = context.ledger.steps.get(context.ledger.tallies[GROUP].group.cells[PLAIN])
        expected = TRAJECTORY_STEPS * (len(PLAIN_RUNS) + 1) * plain.seconds if plain else 0.0
        return expected if expected <= MOST_SHARE * context.plan.budget_seconds else 0.0

    def close(self) -> None:
        """End its workers."""
        self._crew.close()

    def _follow_once(self, number: int, seed: int, perturbation: float) -> None:
        """Follow the loss of a cell, unless that was done before."""
        context, tally = self._context, self._context.ledger.tallies[GROUP]
        known = {(done.seed, done.perturbation) for done in tally.trajectories.get(number, ())}
        if (seed, perturbation) in known:
            return
        cell = tally.group.cells[number]
        context.say(f"{cell}: following the loss")
        request = Follow(slot=SLOT, seed=seed, perturbation=perturbation)
        try:
            self._crew.build_one(SLOT, context.build_request(SLOT, cell), context.hang_seconds)
            limit = context.hang_limit(cell)
            found = self._crew.ask(SLOT, request, Followed, limit, context.reporter(cell)).trajectory
        except CellFailedError as failure:
            reason = f"{failure.kind}: {failure.reason}"[:LONGEST_TEXT]
            found = Trajectory(seed=seed, perturbation=perturbation, reason=reason)
        finally:
            self._crew.release()
        context.emit(TrajectoryFollowed(group=GROUP, cell=number, trajectory=found))

    def _check(self, number: int, seconds: float) -> None:
        context = self._context
        cell = context.ledger.tallies[GROUP].group.cells[number]
        context.say(f"{cell}: checking results")
        request = Verify(slot=SLOT, limit_seconds=seconds, sampled=True)
        build = context.build_request(SLOT, cell)
        numerics = check_numerics(self._crew, build, request, context.hang_seconds, context.reporter(cell))
        context.emit(NumericsChecked(group=GROUP, cell=number, numerics=numerics))
