"""How a workload is run: the recipe, and the words of `--recipe`."""

from functools import lru_cache
from typing import Annotated, Literal, get_args

import msgspec
from msgspec import Meta, Struct

from torchlap.errors import UsageError

Precision = Literal["fp32", "tf32", "bf16", "fp16"]
MemoryFormat = Literal["auto", "contiguous", "channels_last"]
CompileMode = Literal["default", "reduce-overhead", "max-autotune", "max-autotune-no-cudagraphs"]
Workers = Annotated[int, Meta(ge=0, le=1024)]
Some = Annotated[int, Meta(ge=1, le=1024)]


VOCABULARY_MULTIPLE = 128
"""Matrices of such a size fill the tiles of GPU kernels."""

WITH_GRAPHS = ("reduce-overhead", "max-autotune")
"""Modes of torch.compile that add CUDA graphs."""


class Recipe(Struct, frozen=True, omit_defaults=True):
    """How a workload is run.

    Attributes:
        compile_mode: of torch.compile; only with `compile`.
        workers: DataLoader processes; None keeps the data resident on the device.
        graph: the whole step is captured once and replayed.
        cudnn_benchmark: cuDNN tries its convolution algorithms and keeps the fastest.
        foreach: the optimizer updates all parameters in a few calls.
        layout_opt_off: inductor leaves the memory format of convolutions as it is.
        threads: of an operator on the CPU; None for as many as there are cores.
        pinned: the loader's batches are in page-locked memory, and are copied without waiting.
        persistent: the loader's processes live on from epoch to epoch.
        prefetch: batches that each of the loader's processes keeps ready; None for torch's default.
        accumulate: batches whose gradients are added up before an optimizer update; a step has so many.
        pad_vocab: the vocabulary of a language model is padded to a multiple of `VOCABULARY_MULTIPLE`.
        bucket: MB of gradients that DDP sends at a time; None for torch's default.
        static_graph: DDP may expect the same graph in every step.
        shard: parameters, gradients and optimizer state are sharded by FSDP2, instead of replicated by DDP.
        no_sync: gradients are not synchronized between ranks.
    """

    precision: Precision = "fp32"
    memory_format: MemoryFormat = "auto"
    compile: bool = False
    fused: bool = False
    workers: Workers | None = None
    compile_mode: CompileMode = "default"
    graph: bool = False
    cudnn_benchmark: bool = False
    foreach: bool = False
    layout_opt_off: bool = False
    threads: Some | None = None
    pinned: bool = False
    persistent: bool = False
    prefetch: Some | None = None
    accumulate: Some = 1
    pad_vocab: bool = False
    bucket: Some | None = None
    static_graph: bool = False
    shard: bool = False
    no_sync: bool = False

    @property
    def of_loader(self) -> tuple[str, ...]:
        """The fields about a loader that are set."""
        usual = Recipe()
        names = ("workers", "pinned", "persistent", "prefetch")
        return tuple(name for name in names if getattr(self, name) != getattr(usual, name))

    def __str__(self) -> str:
        """The words that `--recipe` takes, joined by plus signs."""
        return _words(self)


@lru_cache(1000)
def _words(recipe: Recipe) -> str:
    usual = Recipe()
    words: list[str] = [recipe.precision]
    for word, (field, value) in RECIPE_WORDS.items():
        if getattr(recipe, field) == value and getattr(usual, field) != value and word not in words:
            words.append(word)
    for word, field in VALUED_WORDS.items():
        value = getattr(recipe, field)
        if value == getattr(usual, field):
            continue
        if word in words:  # compile:MODE instead of compile
            words.remove(word)
        words.append(f"{word}:{value}")
    return "+".join(words)


RECIPE_WORDS: dict[str, tuple[str, object]] = {
    "fp32": ("precision", "fp32"),
    "tf32": ("precision", "tf32"),
    "bf16": ("precision", "bf16"),
    "fp16": ("precision", "fp16"),
    "contiguous": ("memory_format", "contiguous"),
    "channels_last": ("memory_format", "channels_last"),
    "compile": ("compile", True),
    "layout_opt_off": ("layout_opt_off", True),
    "graph": ("graph", True),
    "fused": ("fused", True),
    "foreach": ("foreach", True),
    "cudnn_benchmark": ("cudnn_benchmark", True),
    "pinned": ("pinned", True),
    "persistent": ("persistent", True),
    "pad_vocab": ("pad_vocab", True),
    "static_graph": ("static_graph", True),
    "shard": ("shard", True),
    "no_sync": ("no_sync", True),
}
"""Each word of a recipe: the field that it sets, and to what. A new word is a row here and a field above."""

VALUED_WORDS = {
    "compile": "compile_mode",
    "threads": "threads",
    "workers": "workers",
    "prefetch": "prefetch",
    "accumulate": "accumulate",
    "bucket": "bucket",
}
"""Words that take a value after a colon, like `threads:4`: the field that it sets."""


OF_RANKS = ("bucket", "static_graph", "shard", "no_sync")
"""Fields that only `torchlap scale` understands."""


def parse_recipe(text: str, workers: int | None = None, *, of_ranks: bool = False) -> Recipe:
    """A recipe from its words, joined by plus signs, like `bf16+channels_last+fused` or `compile:max-autotune+graph`.

    Args:
        text: the words; what is not named keeps its default.
        workers: DataLoader processes, if no word says how many; None keeps the data resident on the device.
        of_ranks: words about several ranks are understood, too.

    Raises:
        UsageError: for an unknown word, or words that exclude each other.
    """
    settings: dict[str, object] = {}
    words: dict[str, str] = {}
    for word in text.split("+"):
        for field, value in _settings(word).items():
            if settings.setdefault(field, value) != value:
                raise UsageError(
                    f"The recipe {text!r} names both {words[field]} and {word}: choose one, or give two recipes "
                    "separated by a comma."
                )
            words[field] = word
    recipe = msgspec.convert({"workers": workers} | settings, Recipe)
    _check_together(text, recipe)
    for field in OF_RANKS:
        if field in words and not of_ranks:
            raise UsageError(f"The recipe term {words[field]} is for several ranks: use it with torchlap scale.")
    return recipe


def _settings(word: str) -> dict[str, object]:
    """The fields that one word sets, and to what."""
    name, colon, value = word.partition(":")
    if not colon and name in RECIPE_WORDS:
        return dict([RECIPE_WORDS[name]])
    if not colon or name not in VALUED_WORDS:
        known = (*RECIPE_WORDS, "compile:MODE", *(f"{each}:N" for each in VALUED_WORDS if each != "compile"))
        raise UsageError(f"Unknown recipe term {word!r}: join any of {', '.join(known)} with +.")
    if name == "compile":
        if value not in get_args(CompileMode):
            raise UsageError(f"Unknown compile mode {value!r}: choose from {', '.join(get_args(CompileMode))}.")
        return {"compile": True, "compile_mode": value}
    least = 0 if name == "workers" else 1
    if not (value.isascii() and value.isdecimal() and least <= int(value) <= 1024):  # noqa: PLR2004  as in Recipe
        raise UsageError(f"Invalid recipe term {word!r}: use {name}:N with a whole number from {least} to 1024.")
    return {VALUED_WORDS[name]: int(value)}


def _check_together(text: str, recipe: Recipe) -> None:
    """Check that no two words contradict each other, and that none means nothing without another."""
    if recipe.layout_opt_off and not recipe.compile:
        raise UsageError(f"The recipe {text!r} has layout_opt_off without compile: add it.")
    if recipe.fused and recipe.foreach:
        raise UsageError(f"The recipe {text!r} has both fused and foreach: an optimizer uses one of them.")
    if recipe.graph and recipe.compile_mode in WITH_GRAPHS:
        raise UsageError(f"The recipe {text!r} captures graphs twice: use compile+graph, or compile:MODE alone.")
    if recipe.workers == 0 and (recipe.persistent or recipe.prefetch):
        raise UsageError(f"The recipe {text!r} needs at least one process of the loader: use workers:1 or more.")
