"""Models as people have them: how they take their inputs, where the loss comes from, and how many rows a batch has."""

from pathlib import Path
from typing import Any

import pytest
import torch
from msgspec.structs import replace
from support import TESTS

from torchlap.schema.recipe import Recipe, parse_recipe
from torchlap.schema.replies import Checked
from torchlap.schema.requests import Build, Check
from torchlap.schema.workload import Cell, Workload
from torchlap.worker.cell.bench import Bench
from torchlap.worker.cell.check import check
from torchlap.worker.cell.step import Step
from torchlap.worker.errors import ModelError, RefusedError, failure

FOLDER = TESTS / "scripts" / "models"


def named(function: str, file: str = "own_inputs.py") -> str:
    return f"{FOLDER / file}:{function}"


def checked(
    function: str, batch: int = 8, file: str = "own_inputs.py", *, strict: bool = True, **counting: Any
) -> Checked:
    return check(Check(named(function, file), batch, "random", "mnist-1k", strict, **counting))


def built(function: str, batch: int = 8, *, file: str = "own_inputs.py", recipe: str = "fp32", **more: Any) -> Step:
    counting = {name: more.pop(name) for name in ("items", "unit") if name in more}
    workload = Workload(named(function, file), batch, **more)
    cell = Cell(workload, parse_recipe(recipe) if recipe else Recipe(), "cpu")
    request = Build(slot=0, cell=cell, data="mnist-1k", weights="random", threads=1, threads_reason="a test")
    return Bench(replace(request, **counting)).step("contiguous")


@pytest.mark.parametrize("phase", ["train", "eval"])
@pytest.mark.parametrize(
    "function",
    [
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
    ],
)
def test_a_model_as_people_have_it_is_trained_and_evaluated(function: str, phase: str) -> None:
    assert checked(function).rows == 8
    step = built(function, phase=phase)
    step()
    first = step.loss()
    for _ in range(20):
        step()
    assert step.loss() < first if phase == "train" else step.loss() == first


def test_sequence_first_inputs_have_as_many_rows_as_the_targets() -> None:
    assert checked("seq_first", 3).rows == 3


def test_a_function_without_a_batch_parameter_defines_its_batch() -> None:
    assert checked("defines_its_batch", 64, strict=False).rows == 5
    with pytest.raises(ModelError, match=r"returned 5 rows, but the batch size is 64.*line"):
        checked("defines_its_batch", 64)


@pytest.mark.parametrize("function", ["dictionary_of_four", "list_of_four"])
def test_rows_that_do_not_exist_are_refused_with_both_numbers(function: str) -> None:
    file = "batches_by_tokens.py"
    assert checked(function, 64, file, strict=False).rows == 4
    with pytest.raises(ModelError, match="returned 4 rows, but the batch size is 64"):
        checked(function, 64, file)
    with pytest.raises(ModelError, match="4 rows"):
        built(function, 64, file=file)


def test_a_loader_of_batches_by_tokens_counts_the_rows_that_it_delivers() -> None:
    file = "batches_by_tokens.py"
    assert checked("by_tokens", 64, file, strict=False).rows == 3
    with pytest.raises(ModelError, match="batches of 2 to 32 rows, not 64"):
        checked("by_tokens", 64, file)
    step = built("by_tokens", 3, file=file, asked=64)
    for _ in range(3):
        step()
    assert step.items_of_lap(2) == 32 + 25  # of sentences with 4 words, and with 4 or 5, in 128 words
    step()
    assert step.items_of_lap(1) == 25


def test_tokens_are_counted_where_the_unit_says_so() -> None:
    answer = checked("token_ids")
    assert (answer.unit, answer.rows, answer.inputs[0]) == ("tokens", 8, "8x12 int64")
    step = built("token_ids")
    step()
    assert step.items_of_lap(10) == 10 * 8 * 12


def test_rows_need_no_count_of_their_own() -> None:
    step = built("twins")
    step()
    assert step.items_of_lap(10) is None


def test_items_and_unit_may_be_given_beside_the_model() -> None:
    assert (checked("twins").unit, checked("twins", unit="pairs", items=4).unit) == ("samples", "pairs")
    step = built("twins", unit="pairs", items=4)
    step()
    assert step.items_of_lap(10) == 10 * 4
    words = built("language", unit="tokens")
    words()
    assert words.items_of_lap(10) == 10 * 8 * 12


def test_items_of_a_loader_are_those_that_were_given() -> None:
    for more in ({}, {"unit": "tokens"}):
        step = built("by_three", 3, file="batches_by_tokens.py", items=30, **more)
        for _ in range(2):
            step()
        assert step.items_of_lap(2) == 60


def test_a_batch_without_common_rows_needs_the_number_of_its_items() -> None:
    with pytest.raises(ModelError, match=r"without a common number of rows .*--items"):
        checked("packed")
    assert checked("packed", items=24).rows == 8
    assert checked("packed", strict=False, items=24).rows == 24
    step = built("packed", items=24)
    step()
    assert step.items_of_lap(10) == 10 * 24


@pytest.mark.parametrize(
    ("function", "counting", "said"),
    [
        ("twins", {"items": 12}, "12 items in a batch of 8 rows are not a whole number per row"),
        ("states_its_items", {"items": 16}, "has 24 items in a batch, but --items is 16"),
        ("token_ids", {"unit": "words"}, "counts tokens, but --unit is words"),
        ("twins", {"unit": "tokens"}, "counts tokens, but no input is an integer tensor: add the number with --items"),
    ],
)
def test_a_count_that_contradicts_the_model_is_refused_with_both_numbers(
    function: str, counting: dict[str, Any], said: str
) -> None:
    with pytest.raises(ModelError, match=f"{said}.*"):
        checked(function, **counting)


def test_the_models_own_count_may_be_repeated() -> None:
    assert checked("states_its_items", items=24, unit="frames").unit == "frames"


def test_batches_of_several_sizes_cannot_all_have_as_many_items() -> None:
    with pytest.raises(ModelError, match="batches of 2 to 32 rows, which cannot all have 64 items"):
        checked("by_tokens", 64, "batches_by_tokens.py", strict=False, items=64)


def test_three_values_become_a_pair_by_nesting_the_inputs() -> None:
    with pytest.raises(ModelError, match=r"return \(\(x1, x2\), y\) instead of \(x1, x2, y\)"):
        checked("two_of_three")


def test_an_unknown_option_is_refused() -> None:
    with pytest.raises(ModelError, match="unknown option 'units': choose from loss, optimizer"):
        checked("unknown_option")


def test_the_users_optimizer_scheduler_and_clipping_are_used() -> None:
    step = built("optimizer_instance")
    step()
    assert isinstance(step._optimizer, torch.optim.SGD)
    assert step._optimizer.param_groups[0]["lr"] == pytest.approx(0.05)
    assert isinstance(built("optimizer_class")._optimizer, torch.optim.Adagrad)
    clipped = built("optimizer_factory")
    before = [parameter.detach().clone() for parameter in clipped._subject.module.parameters()]
    clipped()
    moved = [after - old for after, old in zip(clipped._subject.module.parameters(), before, strict=True)]
    assert torch.cat([part.flatten() for part in moved]).norm().item() == pytest.approx(0.001, rel=1e-3)


@pytest.mark.parametrize("recipe", ["fp16", "fused"])
def test_a_recipe_that_an_own_step_cannot_follow_is_refused(recipe: str) -> None:
    with pytest.raises(RefusedError):
        built("own_step", recipe=recipe)


def test_a_changed_file_has_another_hash(tmp_path: Path) -> None:
    file = tmp_path / "net.py"
    source = (FOLDER / "own_inputs.py").read_text()
    hashes = []
    for text in (source, source + "\n"):
        file.write_text(text)
        hashes.append(check(Check(f"{file}:twins", 8, "random", "mnist-1k")).sha256)
    assert len(set(hashes)) == 2


MORE = "more_inputs.py"


@pytest.mark.parametrize(
    ("function", "rows"),
    [
        ("iterable", 8),
        ("detection_loader", 4),
        ("list_of_images", 4),
        ("lazy", 8),
        ("one_cycle", 8),
        ("step_returns_a_dictionary", 8),
        ("step_returns_a_number", 8),
        ("as_a_list", 8),
    ],
)
def test_more_models_are_measured_with_their_true_rows(function: str, rows: int) -> None:
    assert checked(function, rows, MORE).rows == rows
    step = built(function, rows, file=MORE)
    for _ in range(8):
        step()
    assert step.loss() > 0
    assert step.items_of_lap(8) in (None, 8 * rows)


def test_a_dataset_that_makes_its_own_batches_loses_none_of_them() -> None:
    assert checked("iterable_that_makes_batches", 5, MORE, strict=False).rows == 5
    with pytest.raises(ModelError, match="batches of 4 to 6 rows, not 64"):
        checked("iterable_that_makes_batches", 64, MORE)
    step = built("iterable_that_makes_batches", 5, file=MORE, asked=64)
    for _ in range(3):
        step()
    assert step.items_of_lap(3) == 4 + 5 + 6


@pytest.mark.parametrize(
    ("function", "said"),
    [
        ("losses_in_a_dictionary", r"returned dict: .*sum\(losses.values\(\)\)"),
        ("loss_of_three", r"a loss of 3 values \(anchor, positive, negative\): .*lambda outputs, targets"),
        ("two_optimizers", r"returned 2 optimizers: return one, or return module, batch, step"),
        ("two_optimizers_after_the_loss", r"returned 2 optimizers"),
        ("step_returns_nothing", r"The step returned NoneType: it must return the loss"),
        ("half_module", r"different types .*inputs.float\(\)"),
        ("float64_inputs", r"different types .*inputs.float\(\)"),
        ("numpy_inputs", r"returned ndarray as inputs: return tensors, such as torch.from_numpy"),
        ("class_instead_of_module", r"returned a class instead of a module"),
        ("without_gradients", r"does not depend on anything that is trained: .*--phase eval"),
        ("plateau", r"ReduceLROnPlateau, which takes a metric once per epoch"),
        ("lbfgs", r"LBFGS needs a function .*optimizer.step\(closure\)"),
    ],
)
def test_what_cannot_be_trained_is_refused_with_the_line_and_a_remedy(function: str, said: str) -> None:
    with pytest.raises(ModelError, match=rf"(?s){said}.*\(more_inputs.py, line \d+\)"):
        built(function, file=MORE)()


def test_losses_in_a_dictionary_are_refused_in_evaluation_too() -> None:
    step = built("losses_in_a_dictionary", file=MORE, phase="eval")
    step()
    with pytest.raises(ModelError, match="returned dict"):
        step.loss()


def test_an_error_in_the_users_code_names_its_line() -> None:
    step = built("forward_raises", file=MORE)
    with pytest.raises(RuntimeError) as raised:
        step()
    lines = (FOLDER / MORE).read_text().splitlines()
    number = next(number for number, line in enumerate(lines, start=1) if "view(3, -1, 99)" in line)
    assert failure(raised.value).reason.endswith(f"(more_inputs.py, line {number})")


def test_the_weights_of_a_loss_go_to_the_device() -> None:
    step = built("weighted_loss", file=MORE)
    assert step._subject.loss.args[0].moved == ("cpu",)  # type: ignore[attr-defined]  # a partial of the loss
