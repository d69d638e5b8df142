"""The words of a recipe: each changes the step as it says, or is refused with the reason."""

from collections.abc import Callable, Iterator
from copy import deepcopy
from math import inf
from pathlib import Path
from typing import Any

import pytest
import torch
from simulated_accelerator import Graph, queue
from support import TESTS
from torch import Tensor

from torchlap.schema.recipe import parse_recipe
from torchlap.schema.requests import Build, Verify
from torchlap.schema.workload import Cell, Workload
from torchlap.worker.breakdown.phases import time_phases
from torchlap.worker.cell import captured
from torchlap.worker.cell.bench import Bench
from torchlap.worker.cell.engaged import Compilations
from torchlap.worker.cell.step import Step
from torchlap.worker.errors import RefusedError, failure
from torchlap.worker.numerics import whole_step
from torchlap.worker.numerics.step import verify

MODELS = TESTS / "own" / "captured.py"


@pytest.fixture(autouse=True)
def no_cost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queue, "cost", 0.0)


def bench(function: str, recipe: str, device: str = "sim:0", phase: str = "train") -> Bench:
    cell = Cell(Workload(f"{MODELS}:{function}", 4, phase=phase), parse_recipe(recipe), device)  # type: ignore[arg-type]
    build = Build(slot=0, cell=cell, data="mnist-1k", weights="random", threads=1, threads_reason="a test")
    return Bench(build)


def half_of_it(graph: Graph) -> None:
    """Replay the forward pass, and little more."""
    whole, graph.recorded = graph.recorded, graph.recorded[: len(graph.recorded) // 2]
    replay(graph)
    graph.recorded = whole


replay = Graph.replay


def without_compilation(fresh: Callable[..., Step]) -> Callable[..., Step]:
    """A step that should be compiled is not."""
    return lambda bench, untouched, *, plain: fresh(bench, untouched, plain=True)


def checked_whole(made: Bench, limit_seconds: float = 60.0) -> dict[str, Any]:
    return whole_step.check_whole(made, deepcopy(made.module.state_dict()), lambda _: None, limit_seconds, inf)


def losses(made: Bench, steps: int, **more: Any) -> list[float]:
    step = made.step("contiguous", **more)
    return [value for _ in range(steps) for value in [_next(step)]]


def _next(step: Step) -> float:
    step()
    return step.loss()


@pytest.mark.parametrize(
    "function", ["plain", "normalized", "own_step", "with_sgd", "with_scheduler", "clipped", "through_a_loader"]
)
@pytest.mark.parametrize("phase", ["train", "eval"])
def test_a_captured_step_learns_exactly_as_a_plain_one(function: str, phase: str) -> None:
    made = bench(function, "graph", phase=phase)
    untouched = {name: value.clone() for name, value in made.module.state_dict().items()}
    torch.manual_seed(0)
    replayed = losses(made, 8)
    made.module.load_state_dict(untouched)
    torch.manual_seed(0)
    again = bench(function, "graph", phase=phase)
    torch.manual_seed(0)
    plain = losses(again, 8, plain=True)
    assert replayed == pytest.approx(plain, rel=1e-4)
    assert len(set(replayed)) > 1 or (phase == "eval" and function != "through_a_loader")


@pytest.mark.parametrize("function", ["plain", "normalized", "with_sgd", "clipped"])
@pytest.mark.parametrize("word", ["", "+graph"])
def test_gradients_of_equal_batches_add_up_to_those_of_one(function: str, word: str) -> None:
    torch.manual_seed(0)
    once = losses(bench(function, "fp32"), 6)
    torch.manual_seed(0)
    assert losses(bench(function, f"accumulate:3{word}"), 6) == pytest.approx(once, rel=1e-4)


def test_a_captured_step_accumulates_the_batches_of_a_loader() -> None:
    torch.manual_seed(0)
    plain = losses(bench("through_a_loader", "accumulate:2"), 8)
    torch.manual_seed(0)
    assert losses(bench("through_a_loader", "accumulate:2+graph"), 8) == pytest.approx(plain, rel=1e-4)
    assert len(set(plain)) > 5


def test_accumulated_batches_count_and_have_one_value_a_phase() -> None:
    made = bench("through_a_loader", "accumulate:3", "cpu")
    phases = time_phases(made, made.step("contiguous"), 6)
    assert {len(values) for values in phases.phases.values()} == {3}
    assert len(phases.steps) == 3


@pytest.mark.parametrize(
    ("function", "phase", "message"),
    [
        ("plain", "eval", "accumulate adds gradients, and evaluation has none"),
        ("own_step", "train", "accumulate cannot be added to your own step"),
    ],
)
def test_gradients_that_cannot_be_accumulated_are_refused(function: str, phase: str, message: str) -> None:
    with pytest.raises(RefusedError, match=message):
        bench(function, "accumulate:2", "cpu", phase).step("contiguous")


def test_a_captured_step_is_recorded_once_and_its_seconds_are_kept() -> None:
    step = bench("plain", "graph").step("contiguous")
    assert step.captured is not None
    step()
    step()
    assert step.captured.seconds is None
    step()
    recorded = step.captured.seconds
    step()
    assert recorded is not None
    assert step.captured.seconds == recorded


@pytest.mark.parametrize(
    ("function", "message"),
    [
        ("waits", r"The step cannot be captured as a graph at captured\.py, line \d+ \(SIM error"),
        ("host_counter", "A graph cannot capture Adagrad, which counts its steps on the host"),
        ("sizes", "A graph needs batches of one size, but the loader's vary"),
        ("shapes", r"A graph needs batches of one shape, but \(4, 6\) of torch.float32 came after \(4, 8\)"),
    ],
)
def test_what_cannot_be_captured_is_refused_with_the_reason(
    function: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(captured, "INSTALLED", (*captured.INSTALLED, str(TESTS / "simulated")))
    with pytest.raises(RefusedError, match=message):
        losses(bench(function, "graph"), 6)


def test_a_graph_that_does_nothing_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Graph, "record", lambda *_: None)
    with pytest.raises(RefusedError, match="does nothing when it is replayed"):
        losses(bench("plain", "graph"), 3)


def test_a_right_graph_is_right() -> None:
    found = verify(bench("normalized", "graph"), Verify(slot=0, limit_seconds=60.0), lambda _: None)
    assert found.faults == ()
    assert found.whole
    assert found.unchecked == ()


def test_a_graph_that_leaves_out_the_update_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Graph, "replay", half_of_it)
    found = verify(bench("normalized", "graph"), Verify(slot=0, limit_seconds=60.0), lambda _: None)
    assert {(fault.phase, fault.operator) for fault in found.faults} == {("captured", "the captured step")}
    assert all(fault.module.startswith("5 updates of ") for fault in found.faults)


@pytest.mark.parametrize(("off", "count"), [(2.0**-9, 0), (0.1, 1)])
def test_a_compiled_step_may_round_other_values_than_eager(
    off: float, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The scores of a head of zeros depend on no parameter, so that perturbed ones show no rounding."""
    results, calls = whole_step.results_after, list[Step]()

    def slightly_off(made: Bench, step: Step, updates: int) -> Iterator[tuple[str, Tensor]]:
        calls.append(step)
        factor = 1.0 if len(calls) <= 1 + whole_step.PERTURBATIONS else 1.0 + off
        for name, value in results(made, step, updates):
            yield name, value * factor if name == "gradient of 3.bias" else value

    monkeypatch.setattr(whole_step, "fresh_step", without_compilation(whole_step.fresh_step))
    monkeypatch.setattr(whole_step, "results_after", slightly_off)
    found = checked_whole(bench("head_of_zeros", "bf16+compile", "cpu"))
    assert [fault.module for fault in found["faults"]] == ["gradient of 3.bias"] * count


@pytest.mark.parametrize(("function", "again"), [("plain", False), ("with_dropout", True)])
def test_only_a_step_that_draws_is_compiled_for_eager_draws(
    function: str, again: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(whole_step, "fresh_step", without_compilation(whole_step.fresh_step))
    with torch._inductor.config.patch(fallback_random=False):
        checked_whole(bench(function, "compile", "cpu"))
        assert torch._inductor.config.fallback_random == again


def test_without_time_for_five_updates_that_is_told() -> None:
    assert checked_whole(bench("plain", "graph"), 0.0)["unchecked"] == ("updates 2 to 5: more time (--budget)",)


def test_without_time_for_the_comparison_nothing_is_called_right() -> None:
    found = verify(bench("plain", "graph"), Verify(slot=0, limit_seconds=0.0), lambda _: None)
    assert found.reason == "out of time; raise --budget"


@pytest.mark.parametrize(
    ("recipe", "device", "message"),
    [
        ("graph", "cpu", "The recipe term graph needs a device that can capture its work, such as CUDA, not cpu"),
        ("compile:max-autotune", "cpu", "compile:max-autotune adds CUDA graphs, which cpu does not have"),
        ("cudnn_benchmark", "cpu", "cuDNN exists only on NVIDIA GPUs, not on cpu"),
        ("bf16", "sim:0", "bf16 autocast has no effect on sim"),
        ("tf32", "cpu", "TF32 exists only on NVIDIA GPUs"),
        ("pinned+workers:1", "cpu", "pinned has no effect on cpu"),
        ("prefetch:2", "cpu", "The recipe term prefetch needs a loader"),
        ("pad_vocab", "cpu", "pad_vocab needs a language model of transformers"),
    ],
)
def test_a_word_without_effect_on_this_device_is_refused(recipe: str, device: str, message: str) -> None:
    with pytest.raises(RefusedError, match=message):
        losses(bench("plain", recipe, device), 1)


def test_an_optimizer_that_torch_cannot_fuse_is_refused() -> None:
    with pytest.raises(RuntimeError, match="fused=True") as raised:
        losses(bench("complex_numbers", "fused", "cpu"), 1)
    assert failure(raised.value).kind == "refused"


def test_a_model_of_which_nothing_is_compiled_is_refused() -> None:
    made, count = bench("never_compiled", "compile", "cpu"), Compilations()
    losses(made, 1)
    with pytest.raises(RefusedError, match=r"torch\.compile compiled nothing of the model"):
        count.counted(made.cell.recipe)


@pytest.mark.long
@pytest.mark.filterwarnings("ignore:The .grad attribute")
def test_code_that_another_recipe_of_the_model_has_compiled_counts() -> None:
    first, count = bench("normalized", "compile", "cpu"), Compilations()
    losses(first, 2)
    found = count.counted(first.cell.recipe)
    again, same, alone = bench("normalized", "compile+foreach", "cpu"), Compilations(found), Compilations()
    losses(again, 2)
    with pytest.raises(RefusedError, match="compiled nothing"):
        alone.counted(again.cell.recipe)
    assert same.counted(again.cell.recipe) == found


@pytest.mark.filterwarnings("ignore:The .grad attribute")
def test_graph_breaks_and_recompilations_are_counted() -> None:
    made, count = bench("broken_in_two", "compile", "cpu"), Compilations()
    losses(made, 2)
    found = count.counted(made.cell.recipe)
    assert found is not None
    assert (found.graphs, found.breaks) == (2, 1)


def test_threads_are_the_cells_own(tmp_path: Path) -> None:
    one, two = bench("plain", "threads:1", "cpu"), bench("plain", "threads:2", "cpu")
    one.activate()
    assert torch.get_num_threads() == 1
    two.activate()
    assert torch.get_num_threads() == 2
    assert "Threads: 1 (the recipe); " in one.choices[0]
    torch.set_num_threads(1)


def test_the_words_of_a_loader_change_the_users_own() -> None:
    made = bench("through_a_loader", "workers:2+prefetch:3+persistent", "cpu")
    assert made.loader_workers == (2,)
    assert made.prefetched == 6
    assert len(losses(made, 4)) == 4
