"""Compilations of recipes that the search will probably come to, at the same time and before anything laps."""

from collections.abc import Sequence

from msgspec.structs import replace

from torchlap.measuring.context import Context
from torchlap.measuring.tune.candidates import together, with_words
from torchlap.schema.recipe import Recipe
from torchlap.schema.workload import Cell

COMPILER_THREADS, MOST_AHEAD = 3, 4
MOST_OF_THE_TIME = 0.7
"""Of the time for races, that compiling may take: without a compiler, a graph alone may gain much."""


def compile_ahead(context: Context, plain: Cell, recipes: Sequence[Recipe], fitting: int) -> None:
    """Fill the compiler's cache on disk, in other processes, where threads and memory allow several.

    Args:
        context: of the session; its crew holds nothing on an accelerator.
        plain: a cell of the model.
        recipes: to compile it in, the likely ones first.
        fitting: how many cells the device's memory holds.
    """
    several = min(MOST_AHEAD, max(1, context.threads // COMPILER_THREADS), fitting, len(recipes))
    if several == 0 or plain.device == "cpu":
        return
    context.say("compiling a recipe" if several == 1 else f"compiling {several} recipes at the same time")
    cells = [replace(plain, recipe=recipe) for recipe in recipes[:several]]
    requests = [context.build_request(0, replace(cell, recipe=replace(cell.recipe, graph=False))) for cell in cells]
    limit = min(context.hang_limit(cells[0]), max(MOST_OF_THE_TIME * context.left(), 1.0))
    for cell, compiled in zip(cells, context.crew.compile_ahead(requests).finish(limit), strict=True):
        if compiled.seconds is not None:
            context.compiled_ahead[cell] = compiled.seconds
        elif compiled.late:  # whatever else failed is told where the cell is raced
            context.not_compiled[cell] = limit


def to_compile(base: Recipe, texts: Sequence[str], precision: str) -> list[Recipe]:
    """Recipes with compile that a search will probably come to.

    Args:
        base: the recipe to begin with.
        texts: words that will be raced.
        precision: a lower one that will be raced on top of them; empty for none.
    """
    if "compile" not in texts:
        return []
    words = together(texts, base)
    wanted = [words, [word for word in words if word != "channels_last"]]
    if precision:
        wanted = [wanted[0], [*words, precision], wanted[1], [*wanted[1], precision]]
    found = [recipe for recipe in (with_words(base, added) for added in wanted) if recipe is not None]
    return list(dict.fromkeys(found))
