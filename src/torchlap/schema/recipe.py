"""How a workload is run: the recipe, and the words of `--recipe`."""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from torchlap.errors import UsageError

Precision = Literal["fp32", "tf32", "bf16", "fp16"]
MemoryFormat = Literal["auto", "contiguous", "channels_last"]


class Recipe(Struct, frozen=True, omit_defaults=True):
    """How a workload is run. `workers` counts DataLoader processes; None keeps the data resident on the device."""

    precision: Precision = "fp32"
    memory_format: MemoryFormat = "auto"
    compile: bool = False
    fused: bool = False
    workers: Annotated[int, Meta(ge=0, le=1024)] | None = None

    def __str__(self) -> str:
        """The words that `--recipe` takes, joined by plus signs, then how the data arrives."""
        usual = Recipe()
        words: list[str] = [self.precision]
        for word, (field, value) in RECIPE_WORDS.items():
            if getattr(self, field) == value and getattr(usual, field) != value and word not in words:
                words.append(word)
        if self.workers is not None:
            words.append(f"loader({self.workers})")
        return "+".join(words)


RECIPE_WORDS: dict[str, tuple[str, object]] = {
    "fp32": ("precision", "fp32"),
    "tf32": ("precision", "tf32"),
    "bf16": ("precision", "bf16"),
    "fp16": ("precision", "fp16"),
    "contiguous": ("memory_format", "contiguous"),
    "channels_last": ("memory_format", "channels_last"),
    "compile": ("compile", True),
    "fused": ("fused", True),
}
"""Each word of a recipe: the field that it sets, and to what. A new word is a row here and a field above."""


def parse_recipe(text: str, workers: int | None = None) -> Recipe:
    """A recipe from its words, joined by plus signs, like `bf16+channels_last+fused`.

    Args:
        text: the words; what is not named keeps its default.
        workers: DataLoader processes; None keeps the data resident on the device.

    Raises:
        UsageError: for an unknown word, or two that exclude each other.
    """
    settings: dict[str, object] = {}
    words: dict[str, str] = {}
    for word in text.split("+"):
        if word not in RECIPE_WORDS:
            raise UsageError(f"Unknown recipe term {word!r}: join any of {', '.join(RECIPE_WORDS)} with +.")
        field, value = RECIPE_WORDS[word]
        if settings.setdefault(field, value) != value:
            raise UsageError(
                f"The recipe {text!r} names both {words[field]} and {word}: choose one, or give two recipes separated "
                "by a comma."
            )
        words[field] = word
    return msgspec.convert(settings | {"workers": workers}, Recipe)
