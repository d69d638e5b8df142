"""The order of a search: the plain step, each word alone, words combined, lower precision, other batches, the code."""

from collections.abc import Callable, Iterable, Sequence
from typing import Literal

from msgspec import Struct
from msgspec.structs import replace

from torchlap.machine.conditions import GpuUsers, Watch
from torchlap.measuring.context import LONGEST_TEXT, Context, Status
from torchlap.measuring.tune.ahead import compile_ahead
from torchlap.measuring.tune.candidates import Word, combined, modes_of, precisions_of, with_word, words_of
from torchlap.measuring.tune.guard import Guard
from torchlap.measuring.tune.looks import cells_that_fit, explain, place_of
from torchlap.measuring.tune.race import GROUP, PLAIN, Races
from torchlap.processes.crew import Crew
from torchlap.processes.start import Launcher
from torchlap.runs.figures import CellResult, Tally
from torchlap.runs.tuning import LEAST_GAIN, best, out_of_race, standing
from torchlap.schema.breakdown import Peaks
from torchlap.schema.effort import Tuning
from torchlap.schema.events import (
    Event,
    GroupFinished,
    PeaksMeasured,
    Preparation,
    RunFinished,
)
from torchlap.schema.machine import DeviceFacts
from torchlap.schema.recipe import Recipe
from torchlap.schema.tuning import CandidateAdded, CodeRun, LeftOut, Tier
from torchlap.schema.workload import Cell, Plan
from torchlap.stats import lap_interval

SINGLES_END, COMPILED_END, COMBINED_END, GUARDED_END, LOWER_END, RACED_END = 0.48, 0.68, 0.76, 0.82, 0.92, 1.0
"""Shares of the time for races at which each part must be over; what a part leaves goes to the next."""

TAIL_SECONDS, TAIL_COMPILED_SECONDS, MOST_TAIL = 20.0, 60.0, 0.4
"""After the races, for checking two winners and running their code: without and with compilations, which are then in
the compiler's cache; and the largest share of the budget."""

SLOW_WORDS = ("compile", "compile+layout_opt_off")
"""On a CPU they come last: a compilation takes as long as races of all other words."""

PLAIN_SECONDS, PLAIN_ROUNDS = 4.0, 4
LEAST_RACE_SECONDS, MOST_RACE_SECONDS = 2.0, 12.0
LARGEST_FACTOR = 64
"""By which the batch grows at most."""

LIKES_LOWER_PRECISION = ("channels_last",)
"""Words that may be slower in float32 and faster in lower precision."""

WriteCode = Callable[[Plan, Cell, Preparation], str]
"""The code that trains a cell's model in its recipe; empty where there is none."""

RunCode = Callable[[str, float], tuple[tuple[float, ...], str]]
"""Runs that code within some seconds: the items a second that it printed, or why there are none."""


class Hands(Struct, frozen=True):
    """What the search needs from outside: the bottleneck of a cell, the code for one, and how that is run."""

    bottleneck: Callable[[CellResult, Peaks | None], str | None]
    write_code: WriteCode
    run_code: RunCode


class Search:
    """Searches for the fastest recipe of a plan's only cell. Every event goes to `emit` at once."""

    def __init__(
        self,
        plan: Plan,
        launcher: Launcher,
        hands: Hands,
        *,
        emit: Callable[[Event], None],
        watch: Callable[[Status], None],
        clock: Callable[[], float],
        started: float,
        hang_seconds: float,
        devices: Sequence[DeviceFacts] = (),
    ) -> None:
        crew = Crew(launcher, isolate=True)
        self._context = Context(
            plan, crew, emit=self._take, watch=watch, clock=clock, started=started, hang_seconds=hang_seconds
        )
        self._emit, self._hands = emit, hands
        self._tuning = plan.tuning or Tuning()
        self._devices = {device.name: device for device in devices}
        self._races = Races(self._context, Watch(devices, GpuUsers(), first=True, clock=clock))
        self._guard = Guard(self._context, verify=plan.verify)
        self._left_out: set[str] = set()
        self._begun, self._races_end = started, started + plan.budget_seconds
        self._peaks: Peaks | None = None
        self._resumed = self._complete = False
        self._gains: dict[str, float] = {}
        self._order: list[str] = []
        """Words of the tier `same` that were raced alone, the fastest first."""

    @property
    def tally(self) -> Tally:
        """What is known."""
        return self._context.ledger.tallies[GROUP]

    def replay(self, events: Iterable[Event]) -> None:
        """Take in what an earlier search has measured: what is decided is not raced again."""
        for event in events:
            self._resumed = True
            self._note(event)
            self._context.ledger.learn(event)
            self._complete = isinstance(event, RunFinished) and event.reason == "complete"

    def _take(self, event: Event) -> None:
        self._emit(event)
        self._note(event)

    def _note(self, event: Event) -> None:
        match event:
            case LeftOut(word=word):
                self._left_out.add(word)
            case PeaksMeasured(peaks=peaks):
                self._peaks = peaks
            case _:
                pass

    def measure(self) -> None:
        """Search; the last event says whether it came to its end.

        Raises:
            KeyboardInterrupt: when interrupted; every event up to then was emitted, and no worker is left.
            RunFileError: when an event could not be written.
        """
        if self._complete:
            return
        try:
            self._search()
        except KeyboardInterrupt:
            self._finish("interrupted")
            raise
        finally:
            self._context.crew.close()
            self._guard.close()
        self._context.emit(GroupFinished(GROUP, "failed" if PLAIN in self.tally.failures else "budget"))
        self._finish("complete")

    def _finish(self, reason: Literal["complete", "interrupted"]) -> None:
        wall = self._context.clock() - self._context.started
        start_up = min(wall, self._context.crew.start_up_seconds)
        self._context.emit(RunFinished(reason=reason, wall_seconds=wall, start_up_seconds=start_up))

    def _until(self, share: float) -> None:
        """The part that follows must be over when this share of the time for races is."""
        self._context.end = self._begun + share * max(0.0, self._races_end - self._begun)

    def _keep_a_tail(self, *, compiles: bool) -> None:
        """The races end in time for what follows them."""
        budget = self._context.plan.budget_seconds
        tail = min(TAIL_COMPILED_SECONDS if compiles else TAIL_SECONDS, MOST_TAIL * budget)
        self._races_end = self._context.started + budget - tail

    def _search(self) -> None:
        self._races.begin(fresh=not self._resumed)
        self._until(SINGLES_END)
        self._races.solo(PLAIN, PLAIN_SECONDS, PLAIN_ROUNDS)
        if PLAIN in self.tally.failures or PLAIN not in self.tally.prepared:
            return
        explain(self._context, PLAIN)
        place, plain = place_of(self._context), self._cell(PLAIN)
        device = self._devices.get(plain.device)
        self._races.together = cells_that_fit(self.tally.breakdowns.get(PLAIN), device)
        words = self._allowed(words_of(place, plain.recipe, self._tuning.effort, self._kind()))
        self._begun = self._context.clock()
        self._keep_a_tail(compiles=plain.device != "cpu")
        self._until(SINGLES_END)
        if not self._resumed:
            self._races.drop_all_but()
            compile_ahead(self._context, plain, [word.text for word in words], place, self._races.together)
        self._race_alone(words)
        self._keep_a_tail(compiles=any(self._cell(number).recipe.compile for number in self.tally.living()))
        self._until(COMBINED_END)
        self._combine("same", PLAIN)
        if self._tuning.effort == "full":
            self._race_each(self._allowed(modes_of(place)), "same", best(self.tally, "same", PLAIN))
        self._until(GUARDED_END)
        leader = self._guarded("same", PLAIN)
        self._until(LOWER_END if "batch" in self._tuning.allow else RACED_END)
        self._race_each(self._allowed(precisions_of(place)), "lower", leader)
        self._combine("lower", leader)
        self._until(RACED_END)
        lower = self._guarded("lower", leader)
        start = lower if "precision" in self._tuning.allow else leader
        start = self._grow(start) if "batch" in self._tuning.allow else start
        self._context.end = self._context.started + self._context.plan.budget_seconds
        leader = self._guarded("same", PLAIN, verify=True)
        lower = self._guarded("lower", leader, verify=True)
        winners = dict.fromkeys([leader, lower, start] if not out_of_race(self.tally, start) else [leader, lower])
        self._explain_winners(list(winners))
        self._run_codes(list(winners))

    def _cell(self, number: int) -> Cell:
        return self.tally.group.cells[number]

    def _kind(self) -> str | None:
        """What bounds the plain step."""
        result = self.tally.result(self._context.plan.confidence).cells[PLAIN]
        return self._hands.bottleneck(result, self._peaks)

    def _allowed(self, words: Iterable[Word]) -> list[Word]:
        """The words that nothing rules out; the others are recorded with the reason."""
        kept = []
        for word in words:
            if not word.why_not:
                kept.append(word)
            elif word.text not in self._left_out:
                self._context.emit(LeftOut(group=GROUP, tier=word.tier, word=word.text, reason=word.why_not))
        return kept

    def _add(self, cell: Cell, tier: Tier, word: str, over: int) -> int:
        """The number of a candidate; an earlier search may have added it."""
        cells = self.tally.group.cells
        if cell in cells[1:]:
            return cells.index(cell, 1)
        self._context.emit(CandidateAdded(group=GROUP, added=cell, tier=tier, word=word, over=over))
        return len(cells)

    def _race(self, number: int, over: int, remaining: int) -> None:
        """Race a candidate within its share of what is left of this part."""
        context = self._context
        if context.left() <= 0 and not self.tally.laps(number):
            if number not in self.tally.failures:
                context.fail(GROUP, number, "no_time", "Not tried: this part of the search was out of time.")
            return
        seconds = min(MOST_RACE_SECONDS, max(LEAST_RACE_SECONDS, context.left() / max(1, remaining)))
        self._races.race(number, over, seconds)

    def _race_alone(self, words: Sequence[Word]) -> None:
        """Race each word over the plain step."""
        quick, slow = ([word for word in words if (word.text in SLOW_WORDS) is slow] for slow in (False, True))
        if self._cell(PLAIN).device == "cpu":  # nothing was compiled ahead
            self._race_each(quick, "same", PLAIN)
            self._until(COMPILED_END)
            self._race_each(slow, "same", PLAIN)
        else:
            self._race_each(words, "same", PLAIN)
        self._settle(PLAIN)
        alone = {
            number: candidate.word for number, candidate in self.tally.candidates.items() if candidate.over == PLAIN
        }
        speeds = self._gains
        for number, word in alone.items():
            ratios = self.tally.ratios(number)
            if not out_of_race(self.tally, number) and len(ratios) > 1 and word in {known.text for known in words}:
                speeds[word] = lap_interval(ratios).value
        self._order = sorted(speeds, key=lambda word: -speeds[word])

    def _race_each(self, words: Sequence[Word], tier: Tier, over: int) -> None:
        cell = self._cell(over)
        for place, word in enumerate(words):
            recipe = with_word(cell.recipe, word.text)
            if recipe is not None:
                number = self._add(replace(cell, recipe=recipe), tier, word.text, over)
                self._race(number, over, len(words) - place)

    def _settle(self, over: int) -> None:
        """Go on with the races that look promising, but are undecided: rounds were few where steps are slow."""
        tally = self.tally
        promising = {
            number: lap_interval(ratios).value
            for number, candidate in tally.candidates.items()
            if candidate.over == over and number not in tally.failures
            if standing(ratios := tally.ratios_over(number, over)) == "open" and len(ratios) > 1
        }
        chosen = sorted(
            (number for number in promising if promising[number] >= LEAST_GAIN), key=lambda n: -promising[n]
        )
        for place, number in enumerate(chosen):
            if self._context.left() > 0:
                self._races.race(number, over, self._context.left() / (len(chosen) - place))

    def _combine(self, tier: Tier, start: int) -> None:
        """Add the words to the leader of a tier, one after the other, as long as that makes it faster."""
        tried = [cell.recipe for cell in self.tally.group.cells] if not self._resumed else []
        leader = best(self.tally, tier, start)
        if leader == start:
            return
        leader = self._join(tier, start, leader, tried)
        improved = True
        while improved and self._context.left() > 0:
            improved = False
            for word, recipe in combined(self._cell(leader).recipe, self._worth_adding(tier), tried):
                tried.append(recipe)
                number = self._add(replace(self._cell(leader), recipe=recipe), tier, word, leader)
                self._race(number, leader, len(self._order))
                fastest = best(self.tally, tier, start)
                if fastest != leader:
                    leader, improved = fastest, True
                    break
                if self._context.left() <= 0:
                    break

    def _worth_adding(self, tier: Tier) -> list[str]:
        """The words to combine: a quick search leaves out those that did not look faster alone."""
        if self._tuning.effort == "full":
            return self._order
        return [
            word
            for word in self._order
            if self._gains[word] >= LEAST_GAIN or (tier == "lower" and word in LIKES_LOWER_PRECISION)
        ]

    def _join(self, tier: Tier, start: int, leader: int, tried: list[Recipe]) -> int:
        """Race the leader with all words added at once that are faster alone: most add up. The leader then."""
        recipe, added = self._cell(leader).recipe, list[str]()
        for word in self._order:
            changed = with_word(recipe, word) if self._is_faster_alone(word) else None
            if changed is not None:
                recipe, added = changed, [*added, word]
        if len(added) < 2 or recipe in tried:  # noqa: PLR2004  one is raced by itself
            return leader
        tried.append(recipe)
        number = self._add(replace(self._cell(leader), recipe=recipe), tier, "+".join(added), leader)
        self._race(number, leader, len(self._order))
        return best(self.tally, tier, start)

    def _is_faster_alone(self, word: str) -> bool:
        return any(
            candidate.word == word and candidate.over == PLAIN and standing(self.tally.ratios(number)) == "faster"
            for number, candidate in self.tally.candidates.items()
        )

    def _guarded(self, tier: Tier, start: int, *, verify: bool = False) -> int:
        """The fastest candidate of a tier that passes the guard, or `start`; `verify` checks its operators, too."""
        explain(self._context, best(self.tally, tier, start))  # for its peak memory, as long as it is held
        self._races.drop_all_but()
        while (leader := best(self.tally, tier, start)) != start:
            if not self._guard.why_out(leader, tier, max(0.0, self._context.left()), verify=verify):
                return leader
            self._blame(leader, tier)
            self._combine(tier, start)
            self._races.drop_all_but()
        return start

    def _blame(self, number: int, tier: Tier) -> None:
        """Find the words of a candidate that is out which are out alone, too: they are not combined again."""
        recipe = self._cell(number).recipe
        for alone, candidate in list(self.tally.candidates.items()):
            is_part = candidate.over == PLAIN and with_word(recipe, candidate.word) is None
            if is_part and candidate.word in self._order and self._guard.why_out(alone, tier, self._context.left()):
                self._order.remove(candidate.word)

    def _grow(self, start: int) -> int:
        """Double the batch until the throughput no longer grows, then until the memory is full; the fastest."""
        leader, cell, batch = start, self._cell(start), self._cell(start).workload.batch
        growing = True
        for _ in range(LARGEST_FACTOR.bit_length() - 1):
            batch *= 2
            if self._context.left() <= 0:
                break
            workload = replace(cell.workload, batch=batch, asked=None)
            number = self._add(replace(cell, workload=workload), "training", f"batch:{batch}", leader)
            if growing:
                self._race(number, leader, 2)
                growing = best(self.tally, "training", start) == number
                leader = number if growing else leader
            else:
                self._races.solo(number, LEAST_RACE_SECONDS, 2)
            if out_of_race(self.tally, number):
                break
        return leader

    def _explain_winners(self, winners: Sequence[int]) -> None:
        """The breakdown of those that were not held any more, where that does not take the time of the code."""
        for number in winners:
            if number not in self.tally.breakdowns and self._context.left() > TAIL_COMPILED_SECONDS:
                self._races.solo(number, LEAST_RACE_SECONDS, 2)
                explain(self._context, number)
        self._races.drop_all_but()

    def _run_codes(self, winners: Sequence[int]) -> None:
        """Write the code of each winner, and run it while nothing else runs."""
        for number in winners:
            prepared = self.tally.prepared.get(number)
            if number in self.tally.codes or prepared is None:
                continue
            cell, context = self._cell(number), self._context
            begun = context.clock()
            code = self._hands.write_code(context.plan, cell, prepared)
            context.say(f"{cell}: running the code")
            limit = max(context.hang_limit(cell), context.left())
            rates, reason = self._hands.run_code(code, limit) if code else ((), "there is no code for this model")
            event = CodeRun(
                group=GROUP,
                cell=number,
                code=code,
                rates=rates,
                reason=reason[:LONGEST_TEXT],
                seconds=context.clock() - begun,
            )
            context.emit(event)
