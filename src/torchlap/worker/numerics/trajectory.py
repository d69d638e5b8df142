"""The losses of a cell's first training steps, and which parameters they moved."""

from collections.abc import Callable
from copy import deepcopy

import torch
from msgspec.structs import replace
from torch.nn.parameter import is_lazy

from torchlap.schema.requests import Follow
from torchlap.schema.tuning import Trajectory
from torchlap.worker.cell.bench import SEED, Bench
from torchlap.worker.cell.timing import Beat
from torchlap.worker.errors import NotFiniteError
from torchlap.worker.numerics.whole_step import perturb

MOST_NAMES = 20


def follow(bench: Bench, request: Follow, report: Callable[[str], None]) -> Trajectory:
    """Train a cell that was just built for some steps.

    Nothing is restored: the optimizer of a user's own step keeps its state, so the cell must be built again for
    another trajectory.
    """
    found = Trajectory(seed=request.seed, perturbation=request.perturbation)
    if bench.cell.workload.phase != "train":
        return replace(found, reason="evaluation does not train")
    if request.perturbation:
        perturb(bench, request.perturbation, request.seed)
    before = {name: value.detach().clone() for name, value in bench.module.named_parameters() if not is_lazy(value)}
    step = bench.step(bench.layout, same_batch=bench.has_loader)
    if bench.cell.recipe.precision == "fp16":
        untouched = deepcopy(bench.module.state_dict())
        step.find_scale()
        bench.module.load_state_dict(untouched)
        bench.module.zero_grad(set_to_none=True)
    torch.manual_seed(SEED + request.seed)
    beat, losses = Beat(lambda count: report(f"following the loss, {count} steps")), list[float]()
    for count in range(request.steps):
        step()
        try:
            losses.append(step.loss())
        except NotFiniteError:
            break
        beat(count)
    after = dict(bench.module.named_parameters())
    still = [name for name, value in before.items() if torch.equal(value, after[name])]
    return replace(
        found,
        losses=tuple(losses),
        moved=len(before) - len(still),
        parameters=len(before),
        still=tuple(name[:500] for name in still[:MOST_NAMES]),
    )
