"""From options to a plan: which cells take turns in which groups."""

import difflib
from collections.abc import Sequence
from pathlib import Path

from msgspec import Struct

from torchlap.errors import UsageError
from torchlap.schema.machine import DeviceFacts
from torchlap.schema.messages import Description
from torchlap.schema.recipe import Recipe
from torchlap.schema.suites import SIX, SUITES, Suite
from torchlap.schema.workload import Cell, DataName, Group, Phase, Plan, Weights, Workload, is_own_file

HANG_SECONDS = 120.0
"""A worker that gives no sign of life for this long is hung."""

LONGEST_NAME, MOST_GROUPS, MOST_CELLS = 500, 10_000, 1000
"""What a run file can hold: `torchlap.schema.base.Name`, `torchlap.schema.workload.Plan`."""


class Options(Struct, frozen=True, kw_only=True):
    """What to measure. None means the suite's default; the names are those of the command line."""

    models: tuple[str, ...] = ()
    devices: str = "all"
    batches: tuple[int, ...] | None = None
    phases: tuple[Phase, ...] | None = None
    recipes: tuple[Recipe, ...] = (Recipe(),)
    suite: str = "quick"
    data: DataName = "mnist-1k"
    weights: Weights = "random"
    precision_target: float = 0.02
    budget_seconds: float | None = None
    out: Path | None = None
    resume: Path | None = None
    hang_seconds: float = HANG_SECONDS
    verify: bool = True
    explain: bool = True
    isolate: bool = False


def plan_run(options: Options, description: Description) -> Plan:
    """The plan that options ask for, with the devices and models that torch offers here.

    Raises:
        UsageError: for a suite, model, device or recipe that does not exist here.
    """
    suite = parse_suite(options.suite)
    models = options.models or suite.models
    check_own_files(models, options.weights, options.recipes)
    for model in models:
        if not is_own_file(model):
            check_model(model, description.models)
    return Plan(
        suite="own" if options.models else options.suite,
        groups=groups(
            models,
            options.batches or suite.batches,
            options.phases or suite.phases,
            options.recipes,
            parse_devices(options.devices, description.devices),
        ),
        data=options.data,
        weights=options.weights,
        precision_target=options.precision_target,
        budget_seconds=options.budget_seconds or suite.budget_seconds,
        verify=options.verify,
        explain=options.explain,
    )


def parse_suite(name: str) -> Suite:
    """The suite of that name.

    Raises:
        UsageError: when there is none.
    """
    if name not in SUITES:
        raise UsageError(f"Unknown suite {name!r}: choose one of {', '.join(SUITES)}.")
    return SUITES[name]


def parse_devices(text: str, available: Sequence[DeviceFacts]) -> tuple[str, ...]:
    """The requested devices, by the names that `available` gives them; `all` for every one; the CPU comes first.

    A device may be named twice, to compare it with itself. A kind without an index means its first device.

    Raises:
        UsageError: for a device that is not available.
    """
    names = [device.name for device in available]
    chosen: list[str] = []
    for word in [word.strip() for word in text.split(",") if word.strip()] or [text]:
        if word == "all":
            chosen += names
        elif word in names:
            chosen.append(word)
        elif f"{word}:0" in names:
            chosen.append(f"{word}:0")
        else:
            raise UsageError(f"Device {word!r} is not available: torch finds {', '.join(names)}.")
    return tuple(sorted(chosen, key=lambda name: name != "cpu"))


def check_model(name: str, known: Sequence[str]) -> None:
    """Make sure that a torchvision model of that name exists.

    Raises:
        UsageError: when there is none; it suggests the nearest names.
    """
    if name in known:
        return
    if ":" in name:
        raise UsageError(
            f"Cannot measure {name!r}: use a torchvision model such as resnet18, "
            "or your own as path/to/file.py:function."
        )
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    hint = (
        f"did you mean {' or '.join(near)}?"
        if near
        else f"torchvision has {len(known)} models, such as {', '.join(SIX)}."
    )
    raise UsageError(f"Unknown torchvision model {name!r}: {hint}")


def check_own_files(models: Sequence[str], weights: Weights, recipes: Sequence[Recipe]) -> None:
    """Make sure that a user's own model is not given options that only torchvision's models have.

    Raises:
        UsageError: for a name that is not printable, and for a loader or weights with an own model.
    """
    for model in models:
        if not (model.isprintable() and len(model) <= LONGEST_NAME):
            raise UsageError(f"Invalid model name {model!a:.80}: use at most {LONGEST_NAME} printable characters.")
        if not is_own_file(model):
            continue
        if weights != "random":
            raise UsageError(f"--weights only works with torchvision models: {model} creates its own weights.")
        if any(recipe.workers is not None for recipe in recipes):
            raise UsageError(
                f"--data-through loader only works with torchvision models: {model} provides its own batch."
            )


def groups(
    models: Sequence[str],
    batches: Sequence[int],
    phases: Sequence[Phase],
    recipes: Sequence[Recipe],
    devices: Sequence[str],
) -> tuple[Group, ...]:
    """One group a workload, of every device in every recipe that it supports; the first cell is the baseline.

    Raises:
        UsageError: for a device that supports none of the recipes, or for more than a run file can hold.
    """
    ways = [(device, recipe) for device in devices for recipe in recipes if _supports(device, recipe)]
    left_out = [device for device in devices if device not in dict(ways)]
    if left_out:
        raise UsageError(
            f"TF32 exists only on NVIDIA GPUs, not on {left_out[0]}: add a recipe for it, such as --recipe fp32,tf32, "
            "or select only the GPU with --devices."
        )
    workloads = [Workload(model, batch, phase) for model in models for batch in batches for phase in phases]
    if len(workloads) > MOST_GROUPS or len(ways) > MOST_CELLS:
        raise UsageError(
            f"{len(workloads)} workloads in {len(ways)} variants are too many for one run: the limits are "
            f"{MOST_GROUPS} workloads and {MOST_CELLS} variants of each."
        )
    return tuple(Group(tuple(Cell(workload, recipe, device) for device, recipe in ways)) for workload in workloads)


def _supports(device: str, recipe: Recipe) -> bool:
    return recipe.precision != "tf32" or device.startswith("cuda")
