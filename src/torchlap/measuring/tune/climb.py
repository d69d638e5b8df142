"""Words on top of each other: all that promise most at once, each alone, and one after the other."""

from collections.abc import Sequence

from msgspec.structs import replace

from torchlap.measuring.context import Context
from torchlap.measuring.tune.candidates import Word, combined, together, with_word, with_words
from torchlap.measuring.tune.race import GROUP, PLAIN, Races
from torchlap.runs.figures import Tally
from torchlap.runs.tuning import LEAST_GAIN, WITHOUT, best, out_of_race, standing
from torchlap.schema.base import OUT_OF_TIME
from torchlap.schema.effort import Effort
from torchlap.schema.recipe import Recipe
from torchlap.schema.tuning import CandidateAdded, Tier
from torchlap.schema.workload import Cell
from torchlap.stats import lap_interval

LEAST_RACE_SECONDS, MOST_RACE_SECONDS = 2.0, 12.0

LIKES_LOWER_PRECISION = ("channels_last",)
"""Words that may be slower in float32 and faster in lower precision."""


MAY_FAIL: tuple[tuple[str, ...], ...] = ((), ("graph",), ("compile",), ("graph", "compile"))
"""Words to leave out, until the others can be raced."""

ATTEMPT_SHARE = 0.6
"""Of the time that is left, that each of these attempts may take."""


CACHED_SHARE = 0.5
"""Of a compilation, that another process may need for the same one, which is then on disk."""


class Climb:
    """Adds candidates to the group and races them.

    Args:
        context: of the session.
        races: where they take turns.
        effort: how thorough the search is.

    Attributes:
        resumed: an earlier search has raced some of them.
        gains: speed-up over plain of each word of the tier `same` that was raced alone.
        order: these words, the fastest first.
        latest: until then, a cell whose compilation is on disk may take what it needs to be ready.
    """

    def __init__(self, context: Context, races: Races, effort: Effort) -> None:
        self._context, self._races, self._effort = context, races, effort
        self.resumed = False
        self.gains: dict[str, float] = {}
        self.order: list[str] = []
        self.latest = 0.0

    @property
    def tally(self) -> Tally:
        """What is known."""
        return self._context.ledger.tallies[GROUP]

    def _cell(self, number: int) -> Cell:
        return self.tally.group.cells[number]

    def race_at_once(self, words: Sequence[Word], tier: Tier, start: int) -> list[str]:
        """Race the start with all promising words at once, and if that fails, without those that may be refused.

        Returns:
            The words that were raced; none if every attempt failed.
        """
        texts = together([word.text for word in words], self._cell(start).recipe)
        for left_out in MAY_FAIL:
            kept = [text for text in texts if text not in left_out]
            if not set(left_out) <= set(texts) or len(kept) < 2:  # noqa: PLR2004  one is raced by itself
                continue
            number = None if self._is_too_slow_to_compile(kept) else self._with_all(kept, tier, start)
            if number is not None:
                self._attempt(number, start)
                if number not in self.tally.failures:
                    return kept
        return []

    def _is_too_slow_to_compile(self, words: Sequence[str]) -> bool:
        """Whether these words compile, and another attempt to compile had no time."""
        late = [number for number, failure in self.tally.failures.items() if failure.kind in OUT_OF_TIME]
        return "compile" in words and any(self._cell(number).recipe.compile for number in late)

    def refine(self, texts: Sequence[str], words: Sequence[Word], tier: Tier, start: int) -> None:
        """Race what won without each of its words, and with each other word."""
        self._without_each(texts, tier, start)
        leader = best(self.tally, tier, start)
        self.race_each([word for word in words if word.text not in texts], tier, leader)

    def is_compiled(self, cell: Cell) -> bool:
        """Whether a cell needs no compilation of its own any more: a quick search has no time for another one."""
        return not cell.recipe.compile or cell in self._context.compiled_ahead

    def _attempt(self, number: int, start: int) -> None:
        """Race a candidate that may hang, in a part of the time that is left; not one that compiles for too long."""
        context, cell = self._context, self._cell(number)
        if cell in context.not_compiled:
            if number not in self.tally.failures:
                reason = f"It was not compiled within {context.not_compiled[cell]:.0f} s."
                context.fail(GROUP, number, "too_slow", reason)
            return
        end = context.end
        context.end = context.clock() + ATTEMPT_SHARE * max(0.0, context.left())
        self.race(number, start, 2)
        context.end = end

    def _with_all(self, texts: Sequence[str], tier: Tier, start: int) -> int | None:
        recipe = with_words(self._cell(start).recipe, texts)
        if recipe is None:
            return None
        return self.add(replace(self._cell(start), recipe=recipe), tier, "+".join(texts), start)

    def _without_each(self, texts: Sequence[str], tier: Tier, start: int) -> None:
        """What each word is worth beside the others: the leader takes turns with itself without that word."""
        leader = best(self.tally, tier, start)
        for place, word in enumerate(texts):
            recipe = with_words(self._cell(start).recipe, [other for other in texts if other != word])
            if recipe is None:
                continue
            cell = replace(self._cell(start), recipe=recipe)
            if word != "channels_last" or self._effort == "full" or self.is_compiled(cell):
                self.race(self.add(cell, tier, f"{WITHOUT}{word}", leader), leader, len(texts) - place)

    def add(self, cell: Cell, tier: Tier, word: str, over: int) -> int:
        """The number of a candidate; an earlier search may have added it."""
        cells = self.tally.group.cells
        if cell in cells[1:]:
            return cells.index(cell, 1)
        self._context.emit(CandidateAdded(group=GROUP, added=cell, tier=tier, word=word, over=over))
        return len(cells)

    def race(self, number: int, over: int, remaining: int) -> None:
        """Race a candidate within its share of what is left of this part."""
        context = self._context
        if compiled := context.compiled_ahead.get(self._cell(number)):
            ready = context.clock() + CACHED_SHARE * compiled + LEAST_RACE_SECONDS
            context.end = max(context.end, min(ready, self.latest))
        if context.left() <= 0 and not self.tally.laps(number):
            if number not in self.tally.failures:
                context.fail(GROUP, number, "no_time", "Not tried: this part of the search was out of time.")
            return
        seconds = min(MOST_RACE_SECONDS, max(LEAST_RACE_SECONDS, context.left() / max(1, remaining)))
        self._races.race(number, over, seconds)

    def note_alone(self, words: Sequence[Word]) -> None:
        """Learn what each word is worth alone, after going on with races that are undecided."""
        self._settle()
        known = {word.text for word in words}
        for number, candidate in self.tally.candidates.items():
            ratios = self.tally.ratios(number)
            is_alone = candidate.over == PLAIN and candidate.word in known
            if is_alone and not out_of_race(self.tally, number) and len(ratios) > 1:
                self.gains[candidate.word] = lap_interval(ratios).value
        self.order = sorted(self.gains, key=lambda word: -self.gains[word])

    def race_each(self, words: Sequence[Word], tier: Tier, over: int) -> None:
        """Race each word over a cell."""
        cell = self._cell(over)
        for place, word in enumerate(words):
            recipe = with_word(cell.recipe, word.text)
            if recipe is not None:
                number = self.add(replace(cell, recipe=recipe), tier, word.text, over)
                self.race(number, over, len(words) - place)

    def _settle(self) -> None:
        """Go on with races over the plain step that look promising, but are undecided: slow steps have few rounds."""
        tally = self.tally
        promising = {
            number: lap_interval(ratios).value
            for number, candidate in tally.candidates.items()
            if candidate.over == PLAIN and number not in tally.failures
            if standing(ratios := tally.ratios(number)) == "open" and len(ratios) > 1
        }
        chosen = sorted(
            (number for number in promising if promising[number] >= LEAST_GAIN), key=lambda n: -promising[n]
        )
        for place, number in enumerate(chosen):
            if self._context.left() > 0:
                self._races.race(number, PLAIN, self._context.left() / (len(chosen) - place))

    def combine(self, tier: Tier, start: int) -> None:
        """Add the words to the leader of a tier, one after the other, as long as that makes it faster."""
        tried = [cell.recipe for cell in self.tally.group.cells] if not self.resumed else []
        leader = best(self.tally, tier, start)
        if leader == start:
            return
        leader = self._join(tier, start, leader, tried)
        improved = True
        while improved and self._context.left() > 0:
            improved = False
            for word, recipe in combined(self._cell(leader).recipe, self._worth_adding(tier), tried):
                tried.append(recipe)
                number = self.add(replace(self._cell(leader), recipe=recipe), tier, word, leader)
                self.race(number, leader, len(self.order))
                fastest = best(self.tally, tier, start)
                if fastest != leader:
                    leader, improved = fastest, True
                    break
                if self._context.left() <= 0:
                    break

    def _worth_adding(self, tier: Tier) -> list[str]:
        """The words to combine: a quick search leaves out those that did not look faster alone."""
        if self._effort == "full":
            return self.order
        return [
            word
            for word in self.order
            if self.gains[word] >= LEAST_GAIN or (tier == "lower" and word in LIKES_LOWER_PRECISION)
        ]

    def _join(self, tier: Tier, start: int, leader: int, tried: list[Recipe]) -> int:
        """Race the leader with all words added at once that are faster alone: most add up. The leader then."""
        recipe, added = self._cell(leader).recipe, list[str]()
        for word in self.order:
            changed = with_word(recipe, word) if self._is_faster_alone(word) else None
            if changed is not None:
                recipe, added = changed, [*added, word]
        if len(added) < 2 or recipe in tried:  # noqa: PLR2004  one is raced by itself
            return leader
        tried.append(recipe)
        number = self.add(replace(self._cell(leader), recipe=recipe), tier, "+".join(added), leader)
        self.race(number, leader, len(self.order))
        return best(self.tally, tier, start)

    def _is_faster_alone(self, word: str) -> bool:
        return any(
            candidate.word == word and candidate.over == PLAIN and standing(self.tally.ratios(number)) == "faster"
            for number, candidate in self.tally.candidates.items()
        )
