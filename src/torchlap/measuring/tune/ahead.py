"""Compilations of recipes that the search will probably come to, at the same time and before anything laps."""

from collections.abc import Sequence

from msgspec.structs import replace

from torchlap.measuring.context import Context
from torchlap.measuring.tune.candidates import together, with_words
from torchlap.schema.recipe import Recipe
from torchlap.schema.workload import Cell

COMPILER_THREADS, MOST_AHEAD, SEVERAL = 3, 4, 2


def compile_ahead(context: Context, plain: Cell, recipes: Sequence[Recipe], fitting: int) -> None:
    """Fill the compiler's cache on disk, in other processes, where threads and memory allow several.

    Args:
        context: of the session; its crew holds nothing on an accelerator.
        plain: a cell of the model.
        recipes: to compile it in, the likely ones first.
        fitting: how many cells the device's memory holds.
    """
    several = min(MOST_AHEAD, context.threads // COMPILER_THREADS, fitting, len(recipes))
    if several < SEVERAL or plain.device == "cpu":
        return
    context.say(f"compiling {several} recipes at the same time")
    requests = [context.build_request(0, replace(plain, recipe=recipe)) for recipe in recipes[:several]]
    limit = min(context.hang_limit(requests[0].cell), max(context.left(), 1.0))
    for request, seconds in zip(requests, context.crew.compile_ahead(requests, limit), strict=True):
        context.compiled_ahead[request.cell] = seconds or 0.0


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
