"""Which words of a recipe are worth a race, on which kind of device, in which order; and what rules the others out."""

from collections.abc import Iterable, Iterator, Sequence

from msgspec import Struct
from msgspec.structs import fields, replace

from torchlap.measuring.plan import lacks
from torchlap.schema.effort import Effort
from torchlap.schema.hugging_face import KNOWN, VISION
from torchlap.schema.recipe import WITH_GRAPHS, CompileMode, Recipe, parse_recipe
from torchlap.schema.tuning import Tier
from torchlap.schema.workload import Cell, is_hugging_face

IMAGE_DIMENSIONS = 4
KINDS_WITH_GRAPHS = ("cuda", "xpu")

USUAL_ORDER = (
    "graph",
    "compile",
    "channels_last",
    "compile+layout_opt_off",
    "cudnn_benchmark",
    "fused",
    "foreach",
)
"""Most that is known to help comes first. Threads and the words of a loader follow."""

AT_ONCE = ("graph", "compile", "channels_last", "fused")
"""Words that usually add up where steps can be captured. What may be refused comes first."""

FIRST = {
    "launch": ("graph", "compile", "fused", "foreach"),
    "host": ("graph", "compile", "threads"),
    "memory": ("channels_last", "compile", "cudnn_benchmark"),
    "compute": ("channels_last", "cudnn_benchmark", "compile", "threads"),
    "optimizer": ("fused", "foreach", "graph"),
    "input": ("workers", "prefetch", "pinned", "persistent"),
}
"""By what bounds the plain step: the words that lift it, which are raced first."""

PRECISIONS = {"cuda": ("bf16", "fp16", "tf32"), "mps": ("bf16", "fp16"), "xpu": ("bf16", "fp16", "tf32")}
OTHER_PRECISIONS = ("bf16", "fp16")

MODES: tuple[CompileMode, ...] = ("max-autotune-no-cudagraphs", "reduce-overhead", "max-autotune")
"""Of torch.compile; they compile for minutes, so only a full search tries them, on what compile already made faster."""


class Place(Struct, frozen=True, kw_only=True):
    """Where a model is tuned.

    Attributes:
        kind: of the device, such as cuda.
        threads: of an operator on the CPU, as torchlap sets them.
        cores: that this process may use; more than `threads` where cores have two hardware threads.
        images: the inputs are a tensor of images.
        trains: the phase is training.
        own_loader: the user's function returned a DataLoader.
    """

    kind: str
    threads: int
    cores: int
    images: bool
    trains: bool
    own_loader: bool = False

    @property
    def has_graphs(self) -> bool:
        """Whether steps can be captured there."""
        return self.kind in KINDS_WITH_GRAPHS


class Word(Struct, frozen=True):
    """A word of a recipe with its tier; `why_not` rules it out here."""

    text: str
    tier: Tier = "same"
    why_not: str = ""


def words_of(place: Place, plain: Recipe, effort: Effort, kind: str | None) -> list[Word]:
    """The words of the tier `same`, the promising ones first, and those that are ruled out.

    Args:
        place: where.
        plain: the recipe to begin with.
        effort: how thorough the search is.
        kind: what bounds the plain step; None if that is not known.
    """
    texts = [*USUAL_ORDER, *_thread_words(place), *_loader_words(plain, place)]
    first = FIRST.get(kind or "", ())
    texts.sort(key=lambda text: first.index(_stem(text)) if _stem(text) in first else len(first))
    found = [Word(text, why_not=_why_not(text, place)) for text in texts]
    if effort == "quick":
        found += [Word(f"compile:{mode}", why_not="only with --effort full: it compiles for minutes") for mode in MODES]
    return found


def modes_of(place: Place) -> list[Word]:
    """Other modes of torch.compile; those with CUDA graphs only where there are any."""
    return [
        Word(f"compile:{mode}", why_not=lacks(place.kind, Recipe(compile=True, compile_mode=mode))) for mode in MODES
    ]


def precisions_of(place: Place) -> list[Word]:
    """The words of the tier `lower`."""
    known = PRECISIONS.get(place.kind, OTHER_PRECISIONS)
    found = [Word(text, "lower", _why_no_precision(text, place)) for text in known if text in OTHER_PRECISIONS]
    return [*found, Word("tf32", "lower", lacks(place.kind, Recipe("tf32")))]


def shapes_of(model: str) -> list[Word]:
    """The word of the tier `training` that changes the model itself."""
    known = KNOWN.get(model.removeprefix("hf:"))
    has_vocabulary = is_hugging_face(model) and not (known and known.task == VISION)
    why_not = "" if has_vocabulary else "only a language model of transformers (hf:NAME) has a vocabulary to pad"
    return [Word("pad_vocab", "training", why_not)]


def accumulated(cell: Cell, parts: int) -> Cell | None:
    """The cell with its batch in so many parts, whose gradients are added up; None if it cannot be divided."""
    batch, remainder = divmod(cell.workload.batch, parts)
    if remainder or not batch or cell.workload.phase != "train":
        return None
    workload = replace(cell.workload, batch=batch, asked=None)
    return replace(cell, workload=workload, recipe=replace(cell.recipe, accumulate=parts))


def _why_no_precision(text: str, place: Place) -> str:
    return "float16 has no fast path on a CPU" if text == "fp16" and place.kind == "cpu" else ""


def _stem(text: str) -> str:
    return text.partition(":")[0]


def _thread_words(place: Place) -> Iterator[str]:
    """Half as many threads, and one a hardware thread: operators that are small or wait for memory may like either."""
    if place.kind == "cpu":
        counts = dict.fromkeys((place.cores, place.threads // 2))
        yield from (f"threads:{count}" for count in counts if count >= 1 and count != place.threads)


def _loader_words(plain: Recipe, place: Place) -> Iterator[str]:
    """Of torchlap's own loader, which is pinned and persistent anyway, or of a user's."""
    if plain.workers is not None:
        yield f"workers:{2 * plain.workers or 2}"
        if plain.workers > 1:
            yield f"workers:{plain.workers // 2}"
        if plain.workers:
            yield "prefetch:4"
    elif place.own_loader:
        counts = dict.fromkeys((max(1, place.cores // 2), min(4, place.cores)))
        yield from (f"workers:{count}" for count in counts)
        if place.kind != "cpu":
            yield "pinned"
        yield from (f"workers:{count}+persistent" for count in counts)


def _why_not(text: str, place: Place) -> str:
    """Why a word is not tried here; empty if it is."""
    stem = _stem(text)
    if stem == "graph" and place.kind not in KINDS_WITH_GRAPHS:
        return f"{place.kind} cannot capture its work as a graph"
    if stem == "cudnn_benchmark":
        return lacks(place.kind, Recipe(cudnn_benchmark=True))
    if stem == "compile+layout_opt_off" and place.kind != "mps":
        return "it is the remedy for a choice that inductor makes on mps"
    if stem == "channels_last" and not place.images:
        return "the inputs are not images"
    return _why_no_optimizer_word(stem, place) if stem in ("fused", "foreach") else ""


def _why_no_optimizer_word(word: str, place: Place) -> str:
    if not place.trains:
        return "evaluation has no optimizer"
    return "it is torch's own choice on this device" if (word, place.kind) == ("foreach", "cuda") else ""


def with_word(recipe: Recipe, word: str) -> Recipe | None:
    """The recipe with what a word sets; None if it already has that, or something else in its place.

    A mode of the compiler and a precision take the place of the usual ones.
    """
    usual = {field.name: field.default for field in fields(Recipe)}
    parsed = parse_recipe(word, recipe.workers)
    changes = {name: getattr(parsed, name) for name in usual if getattr(parsed, name) != usual[name]}
    if not word.startswith("workers"):
        changes.pop("workers", None)
    if parsed.compile_mode != "default" and not recipe.compile:
        return None
    taken = {
        name
        for name, value in changes.items()
        if getattr(recipe, name) not in (usual[name], value) and name not in ("memory_format", "workers", "precision")
    }
    both = {"fused", "foreach"}
    if taken or (both & changes.keys() and any(getattr(recipe, name) for name in both)):
        return None
    changed = replace(recipe, **changes)
    captures_twice = changed.graph and changed.compile_mode in WITH_GRAPHS
    return None if changed == recipe or captures_twice else changed


def together(texts: Iterable[str], recipe: Recipe) -> list[str]:
    """The words of `AT_ONCE` among those that will be raced, without what the recipe has or cannot have."""
    known = set(texts)
    return [word for word in AT_ONCE if word in known and with_word(recipe, word) is not None]


def combined(recipe: Recipe, words: Iterable[str], tried: Sequence[Recipe]) -> Iterator[tuple[str, Recipe]]:
    """The recipe with each of the words added, where that is not among those that were tried."""
    for word in words:
        changed = with_word(recipe, word)
        if changed is not None and changed not in tried:
            yield word, changed


def with_words(recipe: Recipe, words: Sequence[str]) -> Recipe | None:
    """The recipe with what all the words set; None if one of them cannot be added."""
    for word in words:
        changed = with_word(recipe, word)
        if changed is None:
            return None
        recipe = changed
    return recipe
