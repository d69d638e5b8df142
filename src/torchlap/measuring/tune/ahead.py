"""Compilations of recipes that the search will probably come to, at the same time and before anything laps."""

from collections.abc import Iterator, Sequence

from msgspec.structs import replace

from torchlap.measuring.context import Context
from torchlap.measuring.tune.candidates import Place, Word, precisions_of, with_word
from torchlap.schema.recipe import Recipe
from torchlap.schema.workload import Cell

COMPILER_THREADS, MOST_AHEAD, SEVERAL = 3, 4, 2


def compile_ahead(context: Context, plain: Cell, words: Sequence[str], place: Place, fitting: int) -> None:
    """Fill the compiler's cache on disk, in other processes, where threads and memory allow several.

    Args:
        context: of the session; its crew holds nothing on an accelerator.
        plain: the cell to begin with.
        words: that will be raced.
        place: where.
        fitting: how many cells the device's memory holds.
    """
    together = min(MOST_AHEAD, context.threads // COMPILER_THREADS, fitting)
    if "compile" not in words or together < SEVERAL or plain.device == "cpu":
        return
    recipes = list(_compiled(plain.recipe, words, precisions_of(place)))[:together]
    context.say(f"compiling {len(recipes)} recipes at the same time")
    requests = [context.build_request(0, replace(plain, recipe=recipe)) for recipe in recipes]
    limit = min(context.hang_limit(requests[0].cell), max(context.left(), 1.0))
    for request, seconds in zip(requests, context.crew.compile_ahead(requests, limit), strict=True):
        context.compiled_ahead[request.cell] = seconds or 0.0


def _compiled(plain: Recipe, texts: Sequence[str], precisions: Sequence[Word]) -> Iterator[Recipe]:
    """Recipes with compile that the search will probably come to."""
    start = with_word(plain, "compile")
    precision = next((word.text for word in precisions if not word.why_not), None)
    if start is None:
        return
    yield start
    lower = with_word(start, precision) if precision else None
    for recipe in (lower, start):
        if recipe and "channels_last" in texts and (changed := with_word(recipe, "channels_last")):
            yield changed
    if lower:
        yield lower
