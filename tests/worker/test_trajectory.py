"""The losses of a cell's first steps, by which a faster recipe is compared with the plain step."""

from functools import partial
from typing import Any

import pytest
import torch
from support import own

from torchlap.runs.tuning import LOWER_ROUNDING, ROUNDING, astray
from torchlap.schema.recipe import parse_recipe
from torchlap.schema.requests import Build, Follow
from torchlap.schema.tuning import TRAJECTORY_STEPS, Trajectory
from torchlap.schema.workload import Cell, Workload
from torchlap.worker.cell.bench import Bench
from torchlap.worker.numerics.trajectory import follow

PLAIN = ((0, 0.0), (1, ROUNDING), (2, ROUNDING))


def bench(model: str, recipe: str = "fp32", phase: str = "train") -> Bench:
    cell = Cell(Workload(model, 8, phase=phase), parse_recipe(recipe), "cpu")  # type: ignore[arg-type]  # a phase's name
    build = Build(slot=0, cell=cell, data="mnist-1k", weights="random", threads=1, threads_reason="a test")
    return Bench(build)


def trajectory(model: str, recipe: str = "fp32", seed: int = 0, perturbation: float = 0.0, **more: Any) -> Trajectory:
    request = Follow(slot=0, seed=seed, perturbation=perturbation)
    return follow(bench(model, recipe, **more), request, lambda _: None)


def plain(model: str, *others: tuple[int, float]) -> list[Trajectory]:
    return [trajectory(model, seed=seed, perturbation=size) for seed, size in (*PLAIN, *others)]


@pytest.mark.parametrize("model", ["layered", "digits_network", "small"])
def test_the_same_recipe_has_the_same_losses(model: str) -> None:
    first, second = trajectory(own(model)), trajectory(own(model))
    assert first == second
    assert len(first.losses) == TRAJECTORY_STEPS
    assert first.moved == first.parameters


@pytest.mark.parametrize("model", ["layered", "digits_network", "small"])
@pytest.mark.parametrize("recipe", ["channels_last", "foreach", "fused"])
def test_a_recipe_of_the_same_arithmetic_passes_with_dropout_and_batch_norm(model: str, recipe: str) -> None:
    assert not astray(trajectory(own(model), recipe), plain(own(model)))


def test_lower_precision_passes_beside_plain_runs_with_its_rounding() -> None:
    others = ((3, LOWER_ROUNDING), (4, LOWER_ROUNDING))
    assert not astray(trajectory(own("digits_network"), "bf16"), plain(own("digits_network"), *others))


def twice_as_fast(adam: Any, parameters: Any, *, lr: float, **settings: Any) -> Any:
    """Adam with twice the learning rate."""
    return adam(parameters, lr=2 * lr, **settings)


def test_an_optimizer_that_does_nothing_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    known = plain(own("digits_network"))
    monkeypatch.setattr(torch.optim.Adam, "step", lambda *_: None)
    assert "parameters do not change" in astray(trajectory(own("digits_network"), "fused"), known)


def test_a_learning_rate_that_is_twice_as_large_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    known = plain(own("digits_network"))
    monkeypatch.setattr(torch.optim, "Adam", partial(twice_as_fast, torch.optim.Adam))
    assert "its loss is off" in astray(trajectory(own("digits_network"), "fused"), known)


def test_gradients_that_are_never_zeroed_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    known = plain(own("digits_network"))
    monkeypatch.setattr(torch.optim.Adam, "zero_grad", lambda *_, **__: None)
    assert "its loss is off" in astray(trajectory(own("digits_network"), "fused"), known)


def test_a_loss_that_is_not_finite_ends_it() -> None:
    assert not trajectory(own("nan")).losses


def test_evaluation_has_no_trajectory() -> None:
    assert trajectory(own("small"), phase="eval").reason == "evaluation does not train"
