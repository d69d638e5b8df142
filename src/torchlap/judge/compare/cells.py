"""How two cells differ, although they are compared: another workload, or settings that may have changed the speed."""

from collections.abc import Iterator
from math import isclose

from torchlap.judge.arms import LOSS_TOLERANCE
from torchlap.judge.bottleneck import attention
from torchlap.judge.compare.pairs import Item
from torchlap.judge.measurement.conditions import not_idle, others_on_gpu
from torchlap.schema.arm import Arm
from torchlap.schema.events import Conditions
from torchlap.schema.workload import Identity


def workload_differences(before: Item, after: Item) -> Iterator[str]:
    """What makes it another workload; empty where a side does not say."""
    units = before.cell.cell.workload.unit, after.cell.cell.workload.unit
    if units[0] != units[1]:
        yield f"{units[0]} vs. {units[1]}"
    sequences = [item.cell.cell.workload.seq for item in (before, after)]
    if sequences[0] != sequences[1]:
        yield " vs. ".join(f"{seq} tokens" if seq else "the usual length" for seq in sequences)
    items = _items(before), _items(after)
    if before.named.run.header.plan.items != after.named.run.header.plan.items and items[0] != items[1]:
        yield f"{items[0]:g} vs. {items[1]:g} {units[0]} in a batch"
    old, new = before.cell.prepared, after.cell.prepared
    if old is None or new is None or before.named.run.header.published or after.named.run.header.published:
        return
    if old.input_shape != new.input_shape:
        yield f"input {_shape(old.input_shape)} vs. {_shape(new.input_shape)}"
    elif (inputs := [_inputs(item) for item in (before, after)]) and all(inputs) and inputs[0] != inputs[1]:
        yield f"inputs {' and '.join(inputs[0])} vs. {' and '.join(inputs[1])}"
    if old.parameters != new.parameters:
        yield f"{old.parameters:,} vs. {new.parameters:,} parameters"


def _inputs(item: Item) -> tuple[str, ...]:
    """Shape and type of each tensor of a batch of a model that brings its own; empty if that is not known."""
    identity = _identity(item)
    return identity.inputs if identity else ()


def _items(item: Item) -> float:
    """How many items a batch has."""
    laps, batch = item.cell.laps, item.cell.cell.workload.batch
    return (laps[-1].items or batch * laps[-1].steps) / laps[-1].steps if laps else batch


def _shape(sizes: tuple[int, ...]) -> str:
    return "x".join(map(str, sizes)) or "unknown"


def setting_differences(before: Item, after: Item) -> Iterator[str]:
    """What else may have changed the speed."""
    recipes = before.cell.cell.recipe, after.cell.cell.recipe
    ways = ["resident" if recipe.workers is None else f"workers:{recipe.workers}" for recipe in recipes]
    yield from _named("data", *ways)
    yield from _named("model file", *(_file_hash(item) for item in (before, after)))
    plans = before.named.run.header.plan, after.named.run.header.plan
    yield from _named("data", *(plan.data for plan in plans))
    yield from _named("weights", *(plan.weights for plan in plans))
    yield from _of_arms(before, after)
    yield from _named("power", *(_power(item.conditions) for item in (before, after)))
    yield from _named("GPU", *(_gpu_before(item) for item in (before, after)))
    kernels = [" + ".join(sorted(attention(item.cell.breakdown))) for item in (before, after)]
    if all(kernels):
        yield from _named("attention kernels", *kernels)
    old, new = before.cell.prepared, after.cell.prepared
    if old is None or new is None or before.cell.cell.device != after.cell.cell.device:
        return
    yield from _named("threads", str(old.threads), str(new.threads))
    if recipes[0].memory_format == recipes[1].memory_format:
        yield from _named("memory format", old.memory_format, new.memory_format)
    same_numbers = recipes[0].precision == recipes[1].precision and plans[0].weights == plans[1].weights
    if same_numbers and not isclose(old.first_loss, new.first_loss, rel_tol=LOSS_TOLERANCE):
        yield from _named("first loss", f"{old.first_loss:.4g}", f"{new.first_loss:.4g}")
    steady = ["steady" if preparation.steady else "cut short (TL203)" for preparation in (old, new)]
    yield from _named("warm-up", *steady)


def _of_arms(before: Item, after: Item) -> Iterator[str]:
    """What the arms of two runs, or of one run across something else, have for themselves."""
    arms = [_arm(item) for item in (before, after)]
    if arms[0] and arms[1] and before.named is not after.named:
        yield from _named("Python", arms[0].python or "unknown", arms[1].python or "unknown")
        for name in sorted({*arms[0].packages, *arms[1].packages}):
            yield from _named(name, *(arm.packages.get(name, "none") for arm in arms if arm))
        for name in sorted({*arms[0].environment, *arms[1].environment}):
            yield from _named(name, *(arm.environment.get(name, "unchanged") for arm in arms if arm))
        yield from _named("commit", *(arm.commit[:8] or "none" for arm in arms if arm))


def _arm(item: Item) -> Arm | None:
    return next((arm for arm in item.named.run.header.plan.arms if arm.name == item.cell.cell.arm), None)


def _power(conditions: Conditions | None) -> str:
    """Whether the machine saved power while the cell was measured."""
    if conditions is None or (conditions.on_battery is None and conditions.power_saving is None):
        return ""
    saving = conditions.on_battery or conditions.power_saving
    return "saving (TL211)" if saving else "not saving"


def _gpu_before(item: Item) -> str:
    """Whether something else used the cell's GPU before it was measured."""
    gpus = [gpu for gpu in item.conditions.gpus if gpu.device == item.cell.cell.device] if item.conditions else []
    if not gpus:
        return ""
    codes = [finding.code for finding in (*others_on_gpu(gpus[0], ""), *not_idle(gpus[0], ""))]
    return f"used by others ({', '.join(codes)})" if codes else "free"


def _identity(item: Item) -> Identity | None:
    """What the model's name stood for when it was measured."""
    model, arm = item.cell.cell.workload.model, item.cell.cell.arm
    prepared, batch = item.cell.prepared, item.cell.cell.workload.batch
    known = [one for one in item.named.run.header.plan.identities if (one.model, one.arm) == (model, arm)]
    own = [one for one in known if prepared and _starts_with(one, prepared.input_shape, batch)]
    return next(iter(own or known), None)


def _starts_with(identity: Identity, shape: tuple[int, ...], batch: int) -> bool:
    """Whether an identity is that of this batch; a model has one for each of its batches."""
    sizes = identity.inputs[0].partition(" ")[0] if identity.inputs else ""
    return sizes == "x".join(map(str, shape)) or sizes.partition("x")[0] == str(batch)


def _file_hash(item: Item) -> str:
    """The first digits of the hash of a user's file, as it was when its model was measured."""
    identity = _identity(item)
    return identity.sha256[:8] if identity and identity.sha256 else "unknown"


def _named(what: str, old: str, new: str) -> Iterator[str]:
    """What differs, unless a side does not say."""
    if old and new and old != new:
        yield f"{what} {old} vs. {new}"
