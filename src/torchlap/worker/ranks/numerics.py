"""Whether ranks together compute what one device would: gradients of one step, and parameters after some."""

import hashlib
from collections.abc import Callable
from typing import Any

import torch
from msgspec.structs import replace
from torch import Tensor, distributed, nn
from torch.utils import _pytree

from torchlap.schema.ranks import RankNumerics
from torchlap.schema.recipe import Precision
from torchlap.schema.requests import Build
from torchlap.worker.cell.bench import FORMATS, Bench
from torchlap.worker.cell.calls import rows_of
from torchlap.worker.cell.engaged import autocast
from torchlap.worker.cell.sources import Part
from torchlap.worker.ranks.model import DROPOUTS, NORMS, has, share_state, step_of, wrapped
from torchlap.worker.ranks.together import Together

LIMITS: dict[Precision, float] = {"fp32": 1e-3, "tf32": 1e-2, "bf16": 5e-2, "fp16": 5e-2}
"""Of the relative error of all gradients together. The kernels are the same ones on both sides, so that rounding
differs only by the order of sums; a gradient that is not synchronized, or divided by another number, is off by 0.3 and
more. The errors that were seen are in docs/scale.md."""

AGAIN_FACTOR = 4.0
"""A computation that differs from itself by this much less may differ from another one by as much more."""

MOST_NAMES = 10
Batch = Any
Gradients = dict[str, Tensor]
"""On the CPU, in float32."""


class Checker:
    """One model in two ways: as the recipe has it on several ranks, and on one device for all of their batches."""

    def __init__(self, build: Build, part: Part, together: Together) -> None:
        self._build, self._part, self._together = build, part, together
        self._bench = Bench(build, part)
        self.module = self._bench.module.to(memory_format=FORMATS[self._bench.layout])
        if together.ranks > 1:
            share_state(self.module)
        self._names = [name for name, each in self.module.named_parameters() if each.requires_grad]
        source = self._bench.source()
        self._mine: Batch = source.place(source.fetch())
        if self._bench.subject.batch is not None:  # it may be the same on all ranks, and so would be its gradients
            self._mine = _some_rows(self._mine, part.number + 1)

    def gradients_of(self, module: nn.Module, batch: Batch, seed: int) -> Gradients:
        """Of one batch; the random numbers of dropout follow the seed, so that both ways drop the same elements."""
        bench = self._bench
        inputs, targets = _pytree.tree_map(self._to_device, batch)
        torch.manual_seed(seed)
        module.zero_grad(set_to_none=True)
        with autocast(bench.cell.recipe.precision, bench.device)():
            loss = bench.subject.loss(bench.subject.call(module, inputs), targets)
        torch.autograd.backward(loss)
        found = {}
        for name, each in zip(self._names, (each for each in module.parameters() if each.requires_grad), strict=True):
            if each.grad is not None:
                full = each.grad.full_tensor() if hasattr(each.grad, "full_tensor") else each.grad
                found[name] = full.detach().float().cpu().clone()
        module.zero_grad(set_to_none=True)
        return found

    def _to_device(self, leaf: object) -> object:
        return leaf.to(self._bench.device) if isinstance(leaf, Tensor) else leaf

    def batches(self) -> list[Batch]:
        """The batches of all ranks, on rank 0; elsewhere none."""
        batch = _pytree.tree_map(lambda leaf: leaf.cpu() if isinstance(leaf, Tensor) else leaf, self._mine)
        gathered: list[Batch] | None = [None] * self._together.ranks if self._part.number == 0 else None
        distributed.gather_object(batch, gathered)
        return gathered or []

    def on_one_device(self, batches: list[Batch]) -> Gradients:
        """The mean of the gradients of each rank's batch, computed by this rank one after another."""
        total: Gradients = {}
        for rank, batch in enumerate(batches):
            for name, gradient in self.gradients_of(self.module, batch, rank).items():
                total[name] = total[name] + gradient if name in total else gradient
        return {name: gradient / len(batches) for name, gradient in total.items()}

    def whole(self, batches: list[Batch]) -> tuple[Gradients | None, str]:
        """The gradients of all ranks' batches as one; None with the reason where there are none."""
        try:
            return self.gradients_of(self.module, _joined(batches), 0), ""
        except torch.OutOfMemoryError:
            return None, "one device has too little memory for the whole batch"
        except (RuntimeError, ValueError, TypeError) as error:
            return None, f"the batches cannot be joined ({type(error).__name__})"

    def on_all_ranks(self) -> Gradients:
        """The gradients as the ranks synchronize them; the module is then wrapped."""
        return self.gradients_of(wrapped(self._bench, self._together.ranks), self._mine, self._part.number)


def check(build: Build, part: Part, together: Together, steps: int, report: Callable[[str], None]) -> RankNumerics:
    """Compare gradients of one step with one device's, and the parameters of all ranks after some steps.

    Every rank takes part; the reply of rank 0 counts.
    """
    found = _check_gradients(build, part, together, report)
    report(f"running {steps} steps")
    differing = _after_steps(build, part, together, steps)
    return replace(found, steps=steps, differing=differing, sharded=build.cell.recipe.shard)


def _check_gradients(build: Build, part: Part, together: Together, report: Callable[[str], None]) -> RankNumerics:
    """The gradients of one step in both ways; the model that they need is then gone."""
    checker = Checker(build, part, together)
    report("computing gradients on one device")
    batches, module = checker.batches(), checker.module
    norm, dropout = has(module, NORMS), has(module, DROPOUTS)
    alone: Gradients = {}
    again: Gradients = {}
    whole, why = None, ""
    if part.number == 0:
        alone, again = checker.on_one_device(batches), checker.on_one_device(batches)
        whole, why = checker.whole(batches)
    report("computing gradients on all ranks")
    together.wait()
    shared = checker.on_all_ranks()
    again_error = error_of(again, alone)
    return RankNumerics(
        gradient_error=error_of(shared, alone),
        again_error=again_error,
        whole_error=error_of(shared, whole) if whole else None,
        whole_reason=why,
        limit=max(LIMITS[build.cell.recipe.precision], AGAIN_FACTOR * again_error),
        worst=_worst(shared, alone),
        batch_norm=norm,
        dropout=dropout,
    )


def error_of(found: Gradients, expected: Gradients) -> float:
    """The norm of the difference over the norm of what was expected; 0 where both are nothing."""
    difference = sum(
        float((_of(found, name, value) - value).double().square().sum()) for name, value in expected.items()
    )
    size = sum(float(value.double().square().sum()) for value in expected.values())
    return float((difference / size) ** 0.5) if size else 0.0


def _of(found: Gradients, name: str, like: Tensor) -> Tensor:
    return found.get(name, torch.zeros_like(like))


def _worst(found: Gradients, expected: Gradients) -> str:
    """The parameter whose gradient has the largest error of its own."""
    errors = {name: error_of(found, {name: value}) for name, value in expected.items()}
    return max(errors, key=lambda name: errors[name]) if errors else ""


def _some_rows(batch: Batch, times: int) -> Batch:
    """A batch of the first rows of another one, each `times` times."""
    rows = rows_of(*batch)
    if rows is None:
        return batch
    chosen = torch.arange(rows) // times

    def take(leaf: object) -> object:
        has_rows = isinstance(leaf, Tensor) and leaf.dim() and len(leaf) == rows
        return leaf[chosen.to(leaf.device)] if has_rows else leaf  # type: ignore[index, attr-defined]  # a tensor

    return _pytree.tree_map(take, batch)


def _joined(batches: list[Batch]) -> Batch:
    """The batches of all ranks as one: tensors with rows one after another.

    Raises:
        ValueError: where rows cannot be told.
    """
    if any(rows_of(*batch) is None for batch in batches):
        raise ValueError("no rows")
    leaves, shapes = zip(*(_pytree.tree_flatten(batch) for batch in batches), strict=True)
    joined = [
        torch.cat(each) if isinstance(each[0], Tensor) and each[0].dim() else each[0]
        for each in zip(*leaves, strict=True)
    ]
    return _pytree.tree_unflatten(joined, shapes[0])


def _after_steps(build: Build, part: Part, together: Together, steps: int) -> tuple[str, ...]:
    """Parameters that are not the same, bit by bit, on all ranks after some steps."""
    step, module = step_of(Bench(build, part), together.ranks)
    for _ in range(steps):
        step()
    step.loss()
    if build.cell.recipe.shard:
        return ()
    hashes = {name: _hash(each) for name, each in module.named_parameters()}
    gathered: list[dict[str, str]] = [{}] * together.ranks
    distributed.all_gather_object(gathered, hashes)
    differing = [name for name, value in gathered[0].items() if any(other.get(name) != value for other in gathered)]
    return tuple(name.removeprefix("module.") for name in differing[:MOST_NAMES])


def _hash(tensor: Tensor) -> str:
    content = tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes()
    return hashlib.sha256(content).hexdigest()
