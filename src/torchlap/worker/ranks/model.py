"""A model as several ranks train it: replicated by DDP, or sharded by FSDP2."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

import torch
from torch import distributed, nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.nn.parallel import DistributedDataParallel

from torchlap.schema.recipe import Recipe
from torchlap.worker.cell.bench import FORMATS, Bench
from torchlap.worker.cell.step import Step
from torchlap.worker.errors import RefusedError

NORMS = (nn.modules.batchnorm._BatchNorm,)  # noqa: SLF001  the one base class of all batch norms
DROPOUTS = (nn.modules.dropout._DropoutNd,)  # noqa: SLF001  likewise

DEFAULT_BUCKET = 25
"""MB: DDP's own default."""


def step_of(bench: Bench, ranks: int) -> tuple[Step, nn.Module]:
    """The step of a cell as one of several ranks runs it, and the module that it trains.

    Raises:
        RefusedError: for what ranks cannot do together.
    """
    module = wrapped(bench, ranks)
    step = bench.step(bench.layout, wrapped=module)
    if ranks > 1:
        step.unsynchronized = lambda: unsynchronized(module)
        if bench.cell.recipe.static_graph:
            step.without_update()  # DDP must see a synchronized pass first (an assertion in reducer.cpp otherwise)
    return step, module


def wrapped(bench: Bench, ranks: int) -> nn.Module:
    """The module of a cell, with the parameters of rank 0, so that its gradients are the mean of all ranks'.

    Raises:
        RefusedError: for a model that torchlap cannot wrap.
    """
    recipe, module = bench.cell.recipe, bench.module
    module.to(memory_format=FORMATS[bench.layout])
    if bench.subject.step is not None:
        raise RefusedError(
            "A training step of your own cannot be scaled, because it uses the module itself instead of DDP's: return "
            "the module, the batch and the loss, and torchlap makes the step."
        )
    if ranks == 1:
        return module
    share_state(module)
    if recipe.shard:
        return _sharded(module, init_device_mesh(bench.device.type, (ranks,)))
    return _replicated(module, bench.device, recipe)


def share_state(module: nn.Module) -> None:
    """Give every rank the parameters and buffers of rank 0."""
    with torch.no_grad():
        for tensor in (*module.parameters(), *module.buffers()):
            shared = tensor.contiguous()  # no backend sends anything else
            distributed.broadcast(shared, 0)
            tensor.copy_(shared)


def _replicated(module: nn.Module, device: torch.device, recipe: Recipe) -> nn.Module:
    return DistributedDataParallel(
        module,
        device_ids=None if device.type == "cpu" else [device.index],
        bucket_cap_mb=recipe.bucket or DEFAULT_BUCKET,
        static_graph=recipe.static_graph,
    )


def _sharded(module: nn.Module, mesh: DeviceMesh) -> nn.Module:
    """Shard each block that a model repeats, then what is left, so that a block's parameters are gathered at a time."""
    for parent in list(module.modules()):
        if isinstance(parent, nn.ModuleList | nn.Sequential):
            for child in parent.children():
                if any(True for _ in child.children()) and any(True for _ in child.parameters()):
                    fully_shard(child, mesh=mesh)
    fully_shard(module, mesh=mesh)
    return module


def unsynchronized(module: nn.Module) -> AbstractContextManager[None]:
    """Leave each rank its own gradients."""
    return module.no_sync() if isinstance(module, DistributedDataParallel) else _without_reduction(module)


@contextmanager
def _without_reduction(module: nn.Module) -> Iterator[None]:
    if not isinstance(module, FSDPModule):
        yield
        return
    module.set_requires_gradient_sync(requires_gradient_sync=False)
    try:
        yield
    finally:
        module.set_requires_gradient_sync(requires_gradient_sync=True)


def gradient_bytes(module: nn.Module) -> int:
    """What ranks exchange of the gradients in a step."""
    return sum(each.numel() * each.element_size() for each in module.parameters() if each.requires_grad)


def has(module: nn.Module, kinds: tuple[type[nn.Module], ...]) -> bool:
    """Whether the module has layers of these kinds; a dropout that drops nothing does not count."""
    return any(isinstance(each, kinds) and getattr(each, "p", 1) for each in module.modules())
