"""A race: a candidate takes turns with the cell that it must beat, and with the plain step, until it is decided."""

from collections.abc import Sequence

from torchlap.machine.conditions import Watch
from torchlap.measuring.context import Context
from torchlap.measuring.group import GroupRun
from torchlap.measuring.schedule import turn_order
from torchlap.runs.figures import Tally
from torchlap.runs.tuning import LOOKS, Standing, standing
from torchlap.schema.events import GroupStarted

GROUP = 0
"""There is one group."""

PLAIN = 0

WARM_UP_SHARE = 0.25
"""Of the time for a race, that warming up may take after the first step."""


class Races:
    """Races candidates one after the other; only those that take turns are held.

    Args:
        context: of the session; its crew gives each cell a worker of its own.
        watch: what else the machine is doing.
        together: how many cells the device's memory can hold at the same time.
    """

    def __init__(self, context: Context, watch: Watch, together: int = 3) -> None:
        self._context, self._watch, self.together = context, watch, together
        self._held: set[int] = set()
        self._begun = False

    @property
    def tally(self) -> Tally:
        """The group's events so far."""
        return self._context.ledger.tallies[GROUP]

    def begin(self, *, fresh: bool) -> None:
        """Start the group; `fresh` unless a run is resumed."""
        self._context.emit(GroupStarted(GROUP, fresh))
        self._watch.begin()

    def solo(self, number: int, seconds: float, rounds: int) -> None:
        """Let a cell lap alone, for its throughput."""
        group = self._prepared([number], seconds)
        end = self._context.clock() + seconds
        for _ in range(rounds):
            if not group.living() or self._context.clock() > end:
                return
            group.round(group.living())
            self._watch.glance()

    def race(self, number: int, over: int, seconds: float) -> Standing:
        """Race a candidate over another cell, as far as it is not decided yet, in about `seconds` of turns."""
        tally, context = self.tally, self._context
        known = standing(tally.ratios_over(number, over))
        if number in tally.failures or known != "open" or len(tally.ratios_over(number, over)) >= LOOKS[-1]:
            return known
        partners = list(dict.fromkeys([PLAIN, over, number] if self.together > len({PLAIN, over}) else [over, number]))
        group = self._prepared(partners, seconds)
        end, rounds = context.clock() + seconds, 0
        while {over, number} <= set(group.living()):
            context.say(f"{tally.group.cells[number]}: round {rounds + 1}")
            group.round(turn_order(group.living(), rounds))
            self._watch.glance()
            rounds += 1
            count = len(tally.ratios_over(number, over))
            if count in LOOKS and standing(tally.ratios_over(number, over)) != "open":
                break
            if count >= LOOKS[-1] or (count >= LOOKS[0] and context.clock() > end):
                break
        return standing(tally.ratios_over(number, over))

    def _prepared(self, numbers: Sequence[int], seconds: float) -> GroupRun:
        """Hold these cells and no others, warm."""
        self.drop_all_but(numbers)
        group = GroupRun(self._context, GROUP, self._watch, numbers)
        group.prepare(seconds * WARM_UP_SHARE, max(0.0, self._context.left()))
        self._held |= set(numbers)
        return group

    def drop_all_but(self, numbers: Sequence[int] = ()) -> None:
        """End the workers of all other cells."""
        for number in self._held - set(numbers):
            self._context.crew.drop(number)
        self._held &= set(numbers)
