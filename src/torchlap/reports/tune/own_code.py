"""The code of a user's own model: what its function returned, put together as torchlap does."""

from collections.abc import Iterator
from pathlib import PurePath

from torchlap.reports.tune.data_code import ENDLESS, arguments
from torchlap.schema.own import OwnModel, Role
from torchlap.schema.recipe import Recipe
from torchlap.schema.workload import Workload

NAMES: dict[Role, str] = {
    "loss": "loss_function",
    "optimizer": "own_optimizer",
    "scheduler": "own_scheduler",
    "step": "own_step",
    "options": "options",
}

IMPORT = """\
import sys
sys.path.insert(0, {folder!r})
from {file} import {function}
model, data{others} = {function}({batch})"""

TREES = "from torch.utils._pytree import tree_leaves, tree_map_only"
COPY = "tree_map_only(torch.Tensor, torch.clone, next_batch())"
LEAVES = "tree_leaves(static), tree_leaves(batch)"

ON_DEVICE = """\
def on_device(values):
    return tree_map_only(torch.Tensor, lambda tensor: tensor.to(device{copy}{layout}), values)"""

CAPTURABLE = """\
for group in optimizer.param_groups:  # a graph needs what changes to be on the device
    if "capturable" in group:
        group["capturable"] = True"""

RATE = """\
    group["lr"] = torch.tensor(group["lr"], device=device)"""


def model(workload: Workload, recipe: Recipe, own: OwnModel) -> str:
    """Call the user's function, and name what it returned."""
    path, _, function = workload.model.rpartition(":")
    place = PurePath(path)
    asked = (workload.asked or workload.batch) * recipe.accumulate
    others = "".join(f", {NAMES[role]}" for role in own.others)
    batch = f"batch={asked}" if own.has_batch else ""
    lines = [IMPORT.format(folder=str(place.parent), file=place.stem, function=function, others=others, batch=batch)]
    lines += [f"{NAMES[role]} = options[{role!r}]" for role in NAMES if role in own.options]
    if own.loss == "cross_entropy":
        lines.append("loss_function = nn.functional.cross_entropy")
    elif "loss" in (*own.others, *own.options) and "loss" not in own.made:
        lines.append("loss_function = loss_function()")
    return "\n".join(lines)


def optimizer(own: OwnModel, recipe: Recipe, usual: str) -> Iterator[str]:
    """The optimizer, the usual one if the function returned none, and the scheduler; an own step has its own."""
    if has_step(own):
        return
    given = (*own.others, *own.options)
    if "optimizer" not in given:
        yield usual
    elif "optimizer" in own.made:
        yield "optimizer = own_optimizer"
    else:
        yield "optimizer = own_optimizer(list(model.parameters()))"
    if "scheduler" in given:
        yield "scheduler = own_scheduler" + ("" if "scheduler" in own.made else "(optimizer)")
    if recipe.graph and given:
        yield CAPTURABLE + ("\n" + RATE if "scheduler" in given else "")


def has_step(own: OwnModel) -> bool:
    """Whether the function returned a training step."""
    return "step" in (*own.others, *own.options)


def next_batch(own: OwnModel, recipe: Recipe, *, channels_last: bool) -> str:
    """A batch on the device: always the same one, or the loader's next."""
    copy = ", non_blocking=True" if recipe.pinned else ""
    layout = ", memory_format=torch.channels_last" if channels_last else ""
    move = "{}.to(device" + copy + layout + ")" if own.tensors else "on_device({})"
    lines = [] if own.tensors else [TREES, ON_DEVICE.format(copy=copy, layout=_layout(channels_last=channels_last)), ""]
    unpacked = "inputs, targets = {}" if own.pair else "inputs, targets = {}, None"
    if own.batches != "one":
        lines += [_loader(own, recipe), ENDLESS, ""]
    else:
        lines += [unpacked.format("data"), ""]
    lines += ["def next_batch():" + ("" if own.batches != "one" else "  # your data instead")]
    lines += ["    " + unpacked.format("next(endless)")] if own.batches != "one" else []
    targets = move.format("targets") if own.pair else "None"
    moved = move.format("dict(inputs)" if own.called == "**inputs" else "inputs")
    return "\n".join([*lines, f"    return {moved}, {targets}"])


def _layout(*, channels_last: bool) -> str:
    if not channels_last:
        return ""
    return ", memory_format=torch.channels_last if tensor.dim() == 4 else torch.preserve_format"


def _loader(own: OwnModel, recipe: Recipe) -> str:
    """The user's loader, or one like it with the processes that the recipe names."""
    if not recipe.of_loader:
        return "loader = data"
    batches = {
        "loader": "batch_size=data.batch_size, sampler=data.sampler, drop_last=True",
        "batch_sampler": "batch_sampler=data.batch_sampler",
    }.get(own.batches, "batch_size=data.batch_size, drop_last=data.drop_last")
    words = arguments(recipe.workers, recipe.prefetch, pinned=recipe.pinned, persistent=recipe.persistent)
    lines = ["from torch.utils.data import DataLoader"]
    lines.append(f"loader = DataLoader(data.dataset, {batches}, collate_fn=data.collate_fn{words})")
    return "\n".join(lines)


def forward(own: OwnModel, *, trains: bool) -> list[str]:
    """The lines from a batch to the loss."""
    if has_step(own) and trains:
        batch = "(inputs, targets)" if own.pair else "inputs"
        given = {"": "", "batch": batch, "model, batch": f"model, {batch}"}.get(own.step_takes, own.step_takes)
        return [f"loss = own_step({given})"]
    outputs = f"network({own.called})"
    simple = own.read == "outputs"
    read = outputs if simple else own.read
    loss = {"own": read, "of_outputs": f"loss_function({read})"}.get(own.loss, f"loss_function({read}, targets)")
    return [f"loss = {loss}"] if simple else [f"outputs = {outputs}", f"loss = {loss}"]


def after_backward(own: OwnModel, recipe: Recipe) -> list[str]:
    """Clip the gradients, if the options say so."""
    if "clip" not in own.options:
        return []
    unscale = ["scaler.unscale_(optimizer)"] if recipe.precision == "fp16" else []
    return [*unscale, "nn.utils.clip_grad_norm_(model.parameters(), options['clip'])"]


def schedule(own: OwnModel) -> str:
    """The scheduler's step after each update; empty without one."""
    return "scheduler.step()" if "scheduler" in (*own.others, *own.options) and not has_step(own) else ""
