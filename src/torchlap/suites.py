"""Which workloads: the suites, and how the words of the command line become a plan."""

import difflib
import re
from collections.abc import Sequence
from typing import get_args

from msgspec import Struct

from torchlap.errors import UsageError
from torchlap.records import Cell, Comparison, DeviceFacts, Phase, Precision, Recipe, Weights, Workload

SIX = ("vgg16", "alexnet", "resnet18", "mobilenet_v2", "efficientnet_b0", "squeezenet1_0")
"""The models of the 2022 experiment, squeezenet included, which it had to leave out."""

LARGEST_BATCH = 65_536
LONGEST_NAME, MOST_COMPARISONS, MOST_CELLS = 500, 10_000, 1000
"""What a run file can hold (torchlap.records)."""


class Suite(Struct, frozen=True):
    """A named set of workloads and the time that suits them."""

    purpose: str
    models: tuple[str, ...]
    batches: tuple[int, ...]
    phases: tuple[Phase, ...]
    budget_seconds: float


SUITES = {
    "quick": Suite("the default: six models, two batch sizes, in under two minutes", SIX, (4, 64), ("train",), 100.0),
    "experiment-2022": Suite(
        "the workloads of a 2022 experiment on an Apple M1 Max, measured soundly", SIX, (4, 64), ("train",), 600.0
    ),
}

_RECIPE_WORDS = ("fp32", "tf32", "bf16", "fp16", "contiguous", "channels_last", "compile", "fused")


def parse_suite(name: str) -> Suite:
    """The suite of that name.

    Raises:
        UsageError: when there is none.
    """
    if name not in SUITES:
        raise UsageError(f"There is no suite {name!r}: choose one of {', '.join(SUITES)}.")
    return SUITES[name]


def split_words(text: str) -> list[str]:
    """The words between commas, without the empty ones."""
    return [word.strip() for word in text.split(",") if word.strip()]


def parse_batches(text: str) -> tuple[int, ...]:
    """Batch sizes such as `4,64`.

    Raises:
        UsageError: for one that is no whole number from 1 to `LARGEST_BATCH`.
    """
    words = split_words(text)
    bad = [word for word in words if not (re.fullmatch(r"[0-9]{1,6}", word) and 1 <= int(word) <= LARGEST_BATCH)]
    if bad or not words:
        raise UsageError(
            f"{(bad or [text])[0]!r} is no batch size: give whole numbers from 1 to {LARGEST_BATCH}, like 4,64."
        )
    return tuple(dict.fromkeys(int(word) for word in words))


def parse_phases(text: str) -> tuple[Phase, ...]:
    """Phases: `train`, `eval` or both.

    Raises:
        UsageError: for any other word.
    """
    words = split_words(text)
    known: dict[str, Phase] = {"train": "train", "eval": "eval"}
    if not words or any(word not in known for word in words):
        raise UsageError(f"{text!r} is no phase: give train, eval or train,eval.")
    return tuple(dict.fromkeys(known[word] for word in words))


def parse_recipe(text: str, workers: int | None = None) -> Recipe:
    """A recipe: a precision, then what else is set, joined by plus signs, like `bf16+channels_last+fused`.

    Args:
        text: the words.
        workers: DataLoader processes; None keeps the data resident on the device.

    Raises:
        UsageError: for an unknown word, or two that exclude each other.
    """
    words = text.split("+")
    unknown = [word for word in words if word not in _RECIPE_WORDS]
    if unknown:
        raise UsageError(f"{unknown[0]!r} is no part of a recipe: join some of {', '.join(_RECIPE_WORDS)} with +.")
    precisions = [word for word in get_args(Precision) if word in words]
    formats = [word for word in ("contiguous", "channels_last") if word in words]
    if len(precisions) > 1 or len(formats) > 1:
        clash = precisions if len(precisions) > 1 else formats
        raise UsageError(
            f"The recipe {text!r} names both {clash[0]} and {clash[1]}: give one, or two recipes with a comma."
        )
    return Recipe(
        precision=precisions[0] if precisions else "fp32",
        memory_format=formats[0] if formats else "auto",
        compile="compile" in words,
        fused="fused" in words,
        workers=workers,
    )


def parse_seconds(text: str, what: str) -> float:
    """A time such as `90`, `90s`, `5m` or `1h`, in seconds.

    Raises:
        UsageError: when it is no time over zero.
    """
    match = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)([smh]?)", text.strip())
    seconds = float(match[1]) * {"": 1, "s": 1, "m": 60, "h": 3600}[match[2]] if match else 0.0
    if not 0 < seconds <= 7 * 24 * 3600:
        raise UsageError(f"{text!r} is no {what}: give a time over zero, like 90s, 5m or 1h (a week at most).")
    return seconds


def parse_target(text: str, what: str = "precision target") -> float:
    """A relative precision, or whatever else is `what`, such as `2%` or `0.02`.

    Raises:
        UsageError: when it is not between 0.1 % and 50 %.
    """
    match = re.fullmatch(r"([0-9]*\.?[0-9]+)\s*(%?)", text.strip())
    target = float(match[1]) / (100 if match[2] else 1) if match else 0.0
    if not 0.001 <= target <= 0.5:  # noqa: PLR2004  below the clock's own noise; above, no figure at all
        raise UsageError(f"{text!r} is no {what}: give a share from 0.1% to 50%, like 2%.")
    return target


def parse_devices(text: str, found: Sequence[DeviceFacts]) -> tuple[str, ...]:
    """The devices asked for, by the names that `found` gives them; `all` for every one; the CPU comes first.

    A device may be named twice, to compare it with itself. A kind without an index means its first device.

    Raises:
        UsageError: for a device that is not there.
    """
    names = [device.name for device in found]
    chosen: list[str] = []
    for word in split_words(text) or [text]:
        if word == "all":
            chosen += names
        elif word in names:
            chosen.append(word)
        elif f"{word}:0" in names:
            chosen.append(f"{word}:0")
        else:
            raise UsageError(f"There is no device {word!r} here: torch finds {', '.join(names)}.")
    return tuple(sorted(chosen, key=lambda name: name != "cpu"))


def check_model(name: str, known: Sequence[str]) -> None:
    """Make sure that a torchvision model of that name exists.

    Raises:
        UsageError: when there is none; it offers the nearest names.
    """
    if name in known:
        return
    if ":" in name:
        raise UsageError(
            f"{name!r} cannot be measured: give a torchvision model such as resnet18, "
            "or your own as path/to/file.py:function."
        )
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    hint = (
        f"did you mean {' or '.join(near)}?" if near else f"torchvision has {', '.join(SIX)} and {len(known)} in all."
    )
    raise UsageError(f"There is no torchvision model {name!r}: {hint}")


def check_own_files(models: Sequence[str], weights: Weights, recipes: Sequence[Recipe]) -> None:
    """Make sure that nothing is asked of a user's own model that holds for torchvision's alone.

    Raises:
        UsageError: for a name that is no text, and for a loader or weights beside an own model.
    """
    for model in models:
        if not (model.isprintable() and len(model) <= LONGEST_NAME):
            raise UsageError(f"{model!a:.80} is no name of a model: give {LONGEST_NAME} printable characters at most.")
        if not is_own_file(model):
            continue
        if weights != "random":
            raise UsageError(f"--weights is for torchvision's models: {model} makes its own weights.")
        if any(recipe.workers is not None for recipe in recipes):
            raise UsageError(f"--data-through loader is for torchvision's models: {model} brings its own batch.")


def is_own_file(model: str) -> bool:
    """Tell a `path/to/file.py:function` from a torchvision name."""
    return ".py:" in model or model.endswith(".py")


def comparisons(
    models: Sequence[str],
    batches: Sequence[int],
    phases: Sequence[Phase],
    recipes: Sequence[Recipe],
    devices: Sequence[str],
) -> tuple[Comparison, ...]:
    """One comparison a workload, of every device in every recipe that it has; the first of each is the baseline.

    Raises:
        UsageError: for a device that has none of the recipes, or for more than a run file can hold.
    """
    ways = [(device, recipe) for device in devices for recipe in recipes if _has(device, recipe)]
    left_out = [device for device in devices if device not in dict(ways)]
    if left_out:
        raise UsageError(
            f"TF32 is a mode of NVIDIA GPUs, which {left_out[0]} has not: add a recipe for it, such as "
            "--recipe fp32,tf32, or name the GPU alone with --devices."
        )
    workloads = [Workload(model, batch, phase) for model in models for batch in batches for phase in phases]
    if len(workloads) > MOST_COMPARISONS or len(ways) > MOST_CELLS:
        raise UsageError(
            f"{len(workloads)} workloads in {len(ways)} ways are too many for one run: ask for {MOST_COMPARISONS} in "
            f"{MOST_CELLS} at most."
        )
    return tuple(Comparison(tuple(Cell(workload, recipe, device) for device, recipe in ways)) for workload in workloads)


def _has(device: str, recipe: Recipe) -> bool:
    return recipe.precision != "tf32" or device.startswith("cuda")
