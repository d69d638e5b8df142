"""From options to a plan: which cells take turns in which groups."""

import difflib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from msgspec import Struct
from msgspec.structs import replace

from torchlap.errors import UsageError
from torchlap.schema.arm import Arm
from torchlap.schema.machine import DeviceFacts
from torchlap.schema.recipe import WITH_GRAPHS, Recipe
from torchlap.schema.replies import Checked, Description
from torchlap.schema.suites import SIX, SUITES, Suite
from torchlap.schema.workload import (
    Cell,
    DataName,
    Group,
    Identity,
    Phase,
    Plan,
    Weights,
    Workload,
    has_own_batch,
    is_hugging_face,
    is_own_file,
    is_timm,
)

HANG_SECONDS = 120.0
"""A worker that gives no sign of life for this long is hung."""

LONGEST_NAME, MOST_GROUPS, MOST_CELLS = 500, 10_000, 1000
"""What a run file can hold: `torchlap.schema.base.Name`, `torchlap.schema.workload.Plan`."""
LARGEST_BATCH = 65_536
MOST_ITEMS, LONGEST_UNIT = 10**9, 30
LONGEST_SECONDS = 7 * 24 * 3600
"""Of a budget or another time that a user gives."""

SECONDS_OF = {"": 1, "s": 1, "m": 60, "h": 3600}


class Options(Struct, frozen=True, kw_only=True):
    """What to measure. None means the suite's default; the names are those of the command line."""

    models: tuple[str, ...] = ()
    devices: str = "all"
    batches: tuple[int, ...] | None = None
    seq: int | None = None
    items: int | None = None
    unit: str = ""
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
    arms: tuple[Arm, ...] = ()
    against: str = ""
    energy: bool = False


def plan_run(options: Options, description: Description) -> Plan:
    """The plan that options ask for, with the devices and models that torch offers here.

    Raises:
        UsageError: for a suite, model, device or recipe that does not exist here.
    """
    suite = parse_suite(options.suite)
    models = options.models or suite.models
    check_own_files(models, options.weights)
    for model in models:
        if not has_own_batch(model) and not is_timm(model):
            check_model(model, description.models)
    if options.seq is not None and not any(map(is_hugging_face, models)):
        raise UsageError("--seq sets the sequence length of hf: models: name one, such as hf:gpt2.")
    check_counting(options)
    named = Suite("", models, suite.batches, suite.phases, suite.budget_seconds) if options.models else suite
    workloads = [
        Workload(model, batch, phase, seq=(options.seq or named.seq_of.get(model)) if is_hugging_face(model) else None)
        for model in models
        for batch in options.batches or named.batches_of(model)
        for phase in options.phases or suite.phases
    ]
    devices = parse_devices(options.devices, description.devices)
    return Plan(
        suite="own" if options.models else options.suite,
        groups=arm_groups(workloads, options.recipes, devices, options.arms)
        if options.arms
        else groups(workloads, options.recipes, devices),
        data=options.data,
        weights=options.weights,
        precision_target=options.precision_target,
        budget_seconds=options.budget_seconds or suite.budget_seconds,
        verify=options.verify,
        explain=options.explain,
        arms=options.arms,
        items=options.items,
        unit=options.unit,
        energy=options.energy,
    )


def seconds_of(text: str) -> float | None:
    """A time such as `90`, `90s`, `5m` or `1h`, in seconds; None if the text is not one."""
    match = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)([smh]?)", text.strip())
    return float(match[1]) * SECONDS_OF[match[2]] if match else None


def as_answered(plan: Plan, answers: Mapping[Workload, Checked]) -> Plan:
    """The plan with the rows, units and identities that the models themselves have.

    Groups that thereby become equal are one: a function without a parameter named batch defines its batch.
    """
    known = {replace(workload, phase="train"): answer for workload, answer in answers.items()}
    groups: dict[Group, None] = {}
    for group in plan.groups:
        cells = [replace(cell, workload=_as_answered(cell.workload, known)) for cell in group.cells]
        groups[Group(tuple(cells))] = None
    unique = {
        tuple(replace(cell, workload=replace(cell.workload, asked=None)) for cell in group.cells): group
        for group in reversed(groups)
    }
    identities = {
        (workload.model, answer.inputs): Identity(workload.model, answer.parameters, answer.sha256, answer.inputs)
        for workload, answer in answers.items()
    }
    return replace(plan, groups=tuple(reversed(unique.values())), identities=tuple(identities.values()))


def _as_answered(workload: Workload, known: Mapping[Workload, Checked]) -> Workload:
    answer = known.get(replace(workload, phase="train"))
    if answer is None or answer.rows is None:
        return workload
    asked = workload.asked or workload.batch
    other = asked if answer.rows != asked else None
    return replace(workload, batch=answer.rows, unit=answer.unit, asked=other)


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
            "hf:gpt2, timm:resnet50, or your own model as path/to/file.py:function."
        )
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    hint = (
        f"did you mean {' or '.join(near)}?"
        if near
        else f"torchvision has {len(known)} models, such as {', '.join(SIX)}."
    )
    raise UsageError(f"Unknown torchvision model {name!r}: {hint}")


def check_own_files(models: Sequence[str], weights: Weights) -> None:
    """Make sure that a user's own model is not given options that only torchvision's models have.

    Raises:
        UsageError: for a name that is not printable, and for weights with a model that has its own.
    """
    for model in models:
        if not (model.isprintable() and len(model) <= LONGEST_NAME):
            raise UsageError(f"Invalid model name {model!a:.80}: use at most {LONGEST_NAME} printable characters.")
        if is_own_file(model) and weights != "random":
            raise UsageError(f"--weights does not apply to {model}, which creates its own weights: omit it.")


def check_counting(options: Options) -> None:
    """Make sure that what a batch counts as can be meant, where the user says it beside the model.

    Raises:
        UsageError: for other models than the user's own, for a number that cannot be that of every batch, and for a
            unit that is no word.
    """
    items, unit = options.items, options.unit
    if items is None and not unit:
        return
    other = [model for model in options.models or (f"suite {options.suite}",) if not is_own_file(model)]
    if other:
        raise UsageError(f"--items and --unit are for your own models, but {other[0]} counts for itself: omit them.")
    if items is not None and not 1 <= items <= MOST_ITEMS:
        raise UsageError(f"Invalid number of items {items}: use a whole number from 1 to {MOST_ITEMS}.")
    if items is not None and len(options.batches or ()) > 1:
        raise UsageError(
            f"--items {items} is the number in one batch, but --batch names {len(options.batches or ())} batch sizes: "
            "use one batch size, or return the number from your function as {'items': ...}."
        )
    if not (unit.isprintable() and unit == unit.strip() and len(unit) <= LONGEST_UNIT):
        raise UsageError(f"Invalid unit {unit!a:.80}: use a plural noun, such as tokens.")


def groups(workloads: Sequence[Workload], recipes: Sequence[Recipe], devices: Sequence[str]) -> tuple[Group, ...]:
    """One group a workload, of every device in every recipe that it supports; the first cell is the baseline.

    Raises:
        UsageError: for a device that supports none of the recipes, or for more than a run file can hold.
    """
    ways = [(device, recipe) for device in devices for recipe in recipes if not lacks(device, recipe)]
    left_out = [device for device in devices if device not in dict(ways)]
    if left_out:
        recipe = recipes[0]
        raise UsageError(
            f"{lacks(left_out[0], recipe)}, not on {left_out[0]}: add a recipe that works there, such as --recipe "
            f"fp32,{recipe}, or select only the GPU with --devices."
        )
    if len(workloads) > MOST_GROUPS or len(ways) > MOST_CELLS:
        raise UsageError(
            f"{len(workloads)} workloads in {len(ways)} variants are too many for one run: the limits are "
            f"{MOST_GROUPS} workloads and {MOST_CELLS} variants of each."
        )
    return tuple(Group(tuple(Cell(workload, recipe, device) for device, recipe in ways)) for workload in workloads)


def arm_groups(
    workloads: Sequence[Workload], recipes: Sequence[Recipe], devices: Sequence[str], arms: Sequence[Arm]
) -> tuple[Group, ...]:
    """One group a workload, recipe and device, of every arm; the first is the baseline.

    Raises:
        UsageError: for several recipes beside those of arms, or what `groups` refuses.
    """
    if len(recipes) > 1 and any(arm.recipe for arm in arms):
        raise UsageError("Some arms have a recipe of their own: give --recipe at most one.")
    found = []
    for recipe in recipes:
        chosen = {arm.name: replace(arm.recipe, workers=recipe.workers) if arm.recipe else recipe for arm in arms}
        for group in groups(workloads, tuple(dict.fromkeys(chosen.values())), devices):
            workload = group.cells[0].workload
            for device in dict.fromkeys(cell.device for cell in group.cells):
                cells = [Cell(workload, way, device, name) for name, way in chosen.items() if not lacks(device, way)]
                if len(cells) == len(arms):
                    found.append(Group(tuple(cells)))
    if not found:
        missing = next(
            filter(None, (lacks(device, arm.recipe) for device in devices for arm in arms if arm.recipe)), ""
        )
        raise UsageError(f"No device supports the recipe of every arm: {missing}.")
    if len(found) > MOST_GROUPS:
        raise UsageError(f"{len(found)} comparisons are too many for one run: the limit is {MOST_GROUPS}.")
    return tuple(found)


def lacks(device: str, recipe: Recipe) -> str:
    """What a recipe needs that this kind of device never has, as the beginning of a sentence; empty if nothing."""
    if recipe.graph and device in ("cpu", "mps"):
        return "Steps can be captured only on GPUs with graphs, such as NVIDIA's"
    needed = {
        "TF32 exists": recipe.precision == "tf32",
        "cuDNN exists": recipe.cudnn_benchmark,
        "CUDA graphs exist": recipe.compile_mode in WITH_GRAPHS,
    }
    missing = [what for what, is_needed in needed.items() if is_needed and not device.startswith("cuda")]
    return f"{missing[0]} only on NVIDIA GPUs" if missing else ""
