"""The code for models of a user's own, by the form that a step saw: it runs, and trains exactly as the step does."""

import re
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from msgspec.structs import replace
from support import TESTS

from torchlap.reports.tune.code import code_of
from torchlap.schema.events import Preparation
from torchlap.schema.recipe import parse_recipe
from torchlap.schema.requests import Build
from torchlap.schema.workload import Cell, Group, Phase, Plan, Workload
from torchlap.worker.cell.bench import Bench
from torchlap.worker.cell.data import SEED
from torchlap.worker.cell.step import Step

FILES = {"own_inputs.py": TESTS / "scripts" / "models" / "own_inputs.py", "captured.py": TESTS / "own" / "captured.py"}
PREPARED = Preparation(
    first_step_seconds=1.0,
    warm_up_steps=3,
    warm_up_seconds=1.0,
    steady=True,
    step_seconds=10.0,
    optimizer_seconds=0.0,
    synchronize_seconds=0.0,
    first_loss=2.3,
    memory_format="contiguous",
    threads=1,
    input_shape=(8,),
    parameters=10,
)
OF_INPUTS = (
    "twins",
    "language",
    "no_targets",
    "wrapped",
    "tuple_out",
    "seq_first",
    "loss_class",
    "optimizer_instance",
    "optimizer_class",
    "optimizer_factory",
    "own_step",
    "token_ids",
    "flattened_targets",
)


def step_of(file: Path, function: str, recipe: str, phase: Phase) -> tuple[Cell, Step]:
    cell = Cell(Workload(f"{file}:{function}", 8, phase), parse_recipe(recipe), "cpu")
    request = Build(slot=0, cell=cell, data="mnist-1k", weights="random", threads=1, threads_reason="a test")
    return cell, Bench(replace(request, seed=SEED)).step("contiguous")


Same = Callable[..., None]


@pytest.fixture
def same(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Same:
    """Compare the losses that the code prints, run in this process, with those of the step."""

    def compare(file: str, function: str, recipe: str = "fp32", phase: Phase = "train") -> None:
        monkeypatch.setattr(sys, "path", list(sys.path))
        torch.manual_seed(1)
        cell, step = step_of(FILES[file], function, recipe, phase)
        expected = []
        for _ in range(6):
            step()
            expected.append(step.loss())
        text, why_not = code_of(Plan(suite="tune", groups=(Group((cell,)),)), cell, replace(PREPARED, own=step.own))
        assert not why_not
        exec(compile(text, "code", "exec"), {"__name__": "code"})
        found = [float(loss) for loss in re.findall(r"loss (-?[0-9.]+)", capsys.readouterr().out)]
        assert found == pytest.approx(expected, abs=2e-4), text

    return compare


@pytest.mark.parametrize("phase", ["train", "eval"])
@pytest.mark.parametrize("function", OF_INPUTS)
def test_the_code_trains_as_the_step_does(function: str, phase: Phase, same: Same) -> None:
    same("own_inputs.py", function, phase=phase)


@pytest.mark.parametrize("function", ["with_sgd", "with_scheduler", "clipped", "through_a_loader", "own_step"])
def test_optimizers_schedulers_and_loaders_are_those_of_the_function(function: str, same: Same) -> None:
    same("captured.py", function)


def test_the_words_of_a_loader_are_set(same: Same) -> None:
    same("captured.py", "through_a_loader", "workers:1+prefetch:3+persistent")


def test_words_without_a_number_of_workers_keep_that_of_the_loader() -> None:
    cell, step = step_of(FILES["captured.py"], "through_a_loader", "fp32", "train")
    step()
    step.loss()
    more = replace(cell, recipe=parse_recipe("prefetch:3+persistent"))
    text, _ = code_of(Plan(suite="tune", groups=(Group((more,)),)), more, replace(PREPARED, own=step.own))
    assert "num_workers=data.num_workers, persistent_workers=True, prefetch_factor=3)" in text


def test_a_graph_of_the_users_optimizer_keeps_its_numbers_on_the_device() -> None:
    cell, step = step_of(FILES["captured.py"], "with_scheduler", "fp32", "train")
    step()
    step.loss()
    graph = replace(cell, recipe=parse_recipe("graph"), device="cuda:0")
    text, _ = code_of(Plan(suite="tune", groups=(Group((graph,)),)), graph, replace(PREPARED, own=step.own))
    update = text.index('group["capturable"] = True'), text.index("torch.cuda.CUDAGraph()")
    assert update[0] < update[1]
    assert "graph.replay()\n    scheduler.step()" in text
    assert text.count("scheduler.step()") == 1


def test_a_graph_copies_the_leaves_of_a_structure() -> None:
    cell, step = step_of(FILES["own_inputs.py"], "twins", "fp32", "train")
    step()
    step.loss()
    graph = replace(cell, recipe=parse_recipe("graph"), device="cuda:0")
    text, _ = code_of(Plan(suite="tune", groups=(Group((graph,)),)), graph, replace(PREPARED, own=step.own))
    assert "zip(tree_leaves(static), tree_leaves(batch))" in text
