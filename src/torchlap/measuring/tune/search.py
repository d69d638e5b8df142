"""The order of a search: the plain step, each word alone, words combined, lower precision, other batches, the code."""

from collections.abc import Callable, Iterable, Sequence
from typing import Literal

from msgspec import Struct
from msgspec.structs import replace

from torchlap.machine.conditions import GpuUsers, Watch
from torchlap.measuring.context import LONGEST_TEXT, Context, Status
from torchlap.measuring.idle import measure_idle
from torchlap.measuring.tune.ahead import compile_ahead, to_compile
from torchlap.measuring.tune.batches import race_batches
from torchlap.measuring.tune.candidates import (
    Place,
    Word,
    modes_of,
    precisions_of,
    shapes_of,
    with_word,
    words_of,
)
from torchlap.measuring.tune.climb import LEAST_RACE_SECONDS, Climb
from torchlap.measuring.tune.guard import Guard
from torchlap.measuring.tune.looks import cells_that_fit, explain, place_of
from torchlap.measuring.tune.race import GROUP, PLAIN, Races
from torchlap.processes.crew import Crew
from torchlap.processes.start import Launcher
from torchlap.runs.figures import CellResult, Tally
from torchlap.runs.tuning import best, out_of_race
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
from torchlap.schema.tuning import CodeRun, LeftOut, Tier
from torchlap.schema.workload import Cell, Plan

SINGLES_END, COMPILED_END, COMBINED_END, GUARDED_END, LOWER_END, RACED_END = 0.48, 0.68, 0.76, 0.82, 0.92, 1.0
"""Shares of the time for races at which each part must be over; what a part leaves goes to the next."""

AT_ONCE_END, AT_ONCE_GUARDED_END, AT_ONCE_ALLOWED_END = 0.55, 0.65, 0.95
"""The same where all promising words are raced at once, of the time that compiling left: lower precision follows, if
it was not allowed from the beginning."""

TAIL_SECONDS, TAIL_COMPILED_SECONDS, MOST_TAIL = 20.0, 50.0, 0.5
"""After the races, for checking two winners and running their code, beside following the loss: without and with
compilations, which are then in the compiler's cache; and the largest share of the budget."""

SLOW_WORDS = ("compile", "compile+layout_opt_off")
"""On a CPU they come last: a compilation takes as long as races of all other words."""

PLAIN_SECONDS, PLAIN_ROUNDS = 4.0, 4
WriteCode = Callable[[Plan, Cell, Preparation], tuple[str, str]]
"""The code that trains a cell's model in its recipe; where there is none, an empty text, and why."""

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
        self._climb = Climb(self._context, self._races, self._tuning.effort)

    @property
    def tally(self) -> Tally:
        """What is known."""
        return self._context.ledger.tallies[GROUP]

    def replay(self, events: Iterable[Event]) -> None:
        """Take in what an earlier search has measured: what is decided is not raced again."""
        for event in events:
            self._resumed = self._climb.resumed = True
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
            if self._context.plan.energy:
                measure_idle(self._context)
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
        tail = (TAIL_COMPILED_SECONDS if compiles else TAIL_SECONDS) + self._guard.expected_seconds()
        self._races_end = self._context.started + budget - min(tail, MOST_TAIL * budget)
        self._climb.latest = self._races_end

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
        self._races.drop_all_but()
        leader, lower = self._climb_at_once(words, place) if place.has_graphs else self._climb_by_one(words, place)
        start = lower if "precision" in self._tuning.allow else leader
        self._until(RACED_END)
        if "shape" in self._tuning.allow:
            words = self._allowed(shapes_of(self._cell(start).workload.model))
            self._climb.race_each(words, "training", start)
            start = best(self.tally, "training", start)
        if "batch" in self._tuning.allow:
            start = race_batches(self._context, self._climb, self._races, start)
        self._context.end = self._context.started + self._context.plan.budget_seconds
        leader = self._guarded("same", PLAIN, verify=True)
        lower = self._guarded("lower", leader, verify=True)
        answer = start if not out_of_race(self.tally, start) else leader
        winners = [number for number in dict.fromkeys((answer, leader, lower)) if number == answer or number != PLAIN]
        self._explain_winners(winners)
        self._run_codes(winners)

    def _climb_at_once(self, words: Sequence[Word], place: Place) -> tuple[int, int]:
        """All promising words at once; the fastest in the same arithmetic and in lower precision.

        Where graphs and the compiler gain most, compiling words apart takes longer than all races. Where lower
        precision is allowed, it comes first, and a quick search climbs on it alone.
        """
        climb, allowed = self._climb, "precision" in self._tuning.allow
        base = PLAIN
        if allowed:
            self._until(SINGLES_END)
            base = self._race_precisions(place, PLAIN)
        self._until(RACED_END)
        self._compile_ahead(words, place, base)
        self._begun = self._context.clock()
        tier: Tier = "same" if base == PLAIN else "lower"
        end, guarded_end = (AT_ONCE_END, AT_ONCE_GUARDED_END) if base == PLAIN else (AT_ONCE_ALLOWED_END, RACED_END)
        self._race_at_once(words, tier, base, end)
        self._until(guarded_end)
        if self._guarded(tier, PLAIN) == base:  # the words together are no gain, or train something else
            self._begun = self._context.clock()
            return self._climb_by_one(words, place)
        if tier == "lower" and self._tuning.effort == "full":
            self._race_at_once(words, "same", PLAIN, LOWER_END)
        if self._tuning.effort == "full":
            climb.race_each(self._allowed(modes_of(place)), tier, best(self.tally, tier, PLAIN))
        leader = self._guarded("same", PLAIN)
        self._until(self._lower_end)
        if tier == "same":
            self._race_precisions(place, leader)
        return leader, self._guarded("lower", leader)

    def _race_at_once(self, words: Sequence[Word], tier: Tier, start: int, end: float) -> None:
        """Race all promising words at once, and what wins without each of them, up to a share of the time."""
        self._until(end)
        texts = self._climb.race_at_once(words, tier, start)
        leader = best(self.tally, tier, start)
        if leader != start:
            self._keep_a_tail(compiles=self._cell(leader).recipe.compile)
            self._until(end)
            self._climb.refine(texts, words, tier, start)

    def _race_precisions(self, place: Place, over: int) -> int:
        """Race lower precisions; a quick search is content with the first that is faster. The fastest."""
        for word in self._allowed(precisions_of(place)):
            quick, recipe = self._tuning.effort == "quick", with_word(self._cell(over).recipe, word.text)
            if quick and best(self.tally, "lower", over) != over:
                self._leave_out(word, "only with --effort full, because another precision is faster already")
            elif quick and recipe and not self._climb.is_compiled(replace(self._cell(over), recipe=recipe)):
                self._leave_out(word, "only with --effort full or --allow precision: it must be compiled again")
            else:
                self._climb.race_each([word], "lower", over)
        return best(self.tally, "lower", over)

    def _compile_ahead(self, words: Sequence[Word], place: Place, base: int) -> None:
        """Compile what will be raced, if it was not in an earlier search."""
        if not self._resumed:
            self._races.drop_all_but()
            cell, texts = self._cell(base), [word.text for word in words]
            precision = next((word.text for word in precisions_of(place) if not word.why_not), "")
            recipes = to_compile(cell.recipe, texts, precision if base == PLAIN else "")
            compile_ahead(self._context, cell, recipes, self._races.together)

    def _climb_by_one(self, words: Sequence[Word], place: Place) -> tuple[int, int]:
        """Each word alone, then those that are faster together; the fastest in the same and in lower precision."""
        climb = self._climb
        self._until(SINGLES_END)
        is_cpu = self._cell(PLAIN).device == "cpu"
        climb.race_each([word for word in words if not (is_cpu and word.text in SLOW_WORDS)], "same", PLAIN)
        if is_cpu:
            self._until(COMPILED_END)
            climb.race_each([word for word in words if word.text in SLOW_WORDS], "same", PLAIN)
        climb.note_alone(words)
        self._keep_a_tail(compiles=any(self._cell(number).recipe.compile for number in self.tally.living()))
        self._until(COMBINED_END)
        climb.combine("same", PLAIN)
        if self._tuning.effort == "full":
            climb.race_each(self._allowed(modes_of(place)), "same", best(self.tally, "same", PLAIN))
        self._until(GUARDED_END)
        leader = self._guarded("same", PLAIN)
        self._until(self._lower_end)
        climb.race_each(self._allowed(precisions_of(place)), "lower", leader)
        climb.combine("lower", leader)
        self._until(RACED_END)
        return leader, self._guarded("lower", leader)

    @property
    def _lower_end(self) -> float:
        """When lower precision must be over."""
        return LOWER_END if {"batch", "shape"} & set(self._tuning.allow) else RACED_END

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
            if word.why_not:
                self._leave_out(word, word.why_not)
            else:
                kept.append(word)
        return kept

    def _leave_out(self, word: Word, reason: str) -> None:
        if word.text not in self._left_out:
            self._context.emit(LeftOut(group=GROUP, tier=word.tier, word=word.text, reason=reason))

    def _guarded(self, tier: Tier, start: int, *, verify: bool = False) -> int:
        """The fastest candidate of a tier that passes the guard, or `start`; `verify` checks its operators, too."""
        explain(self._context, best(self.tally, tier, start))  # for its peak memory, as long as it is held
        self._races.drop_all_but()
        while (leader := best(self.tally, tier, start)) != start:
            if not self._guard.why_out(leader, tier, max(0.0, self._context.left()), verify=verify):
                return leader
            self._blame(leader, tier)
            self._climb.combine(tier, start)
            self._races.drop_all_but()
        return start

    def _blame(self, number: int, tier: Tier) -> None:
        """Find the words of a candidate that is out which are out alone, too: they are not combined again."""
        recipe = self._cell(number).recipe
        for alone, candidate in list(self.tally.candidates.items()):
            is_part = candidate.over == PLAIN and with_word(recipe, candidate.word) is None
            if not is_part or candidate.word not in self._climb.order:
                continue
            if self._guard.why_out(alone, tier, self._context.left()):
                self._climb.order.remove(candidate.word)

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
            code, why_not = self._hands.write_code(context.plan, cell, prepared)
            context.say(f"{cell}: running the code")
            limit = max(context.hang_limit(cell), context.left())
            rates, reason = self._hands.run_code(code, limit) if code else ((), why_not)
            event = CodeRun(
                group=GROUP,
                cell=number,
                code=code,
                rates=rates,
                reason=reason[:LONGEST_TEXT],
                seconds=context.clock() - begun,
            )
            context.emit(event)
