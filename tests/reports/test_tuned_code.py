"""The code that `torchlap tune` prints: it sets the recipe, and it runs."""

import ast

import pytest
from msgspec.structs import replace
from support import own

from torchlap.processes.script import run_code
from torchlap.reports.tune.code import MARK, code_of
from torchlap.schema.events import Preparation
from torchlap.schema.own import OwnModel
from torchlap.schema.recipe import Recipe, parse_recipe
from torchlap.schema.workload import Cell, Group, Phase, Plan, Workload

PREPARED = Preparation(
    first_step_seconds=1.0,
    warm_up_steps=3,
    warm_up_seconds=1.0,
    steady=True,
    step_seconds=0.1,
    optimizer_seconds=0.0,
    synchronize_seconds=0.0,
    first_loss=2.3,
    memory_format="contiguous",
    threads=2,
    input_shape=(4, 3, 224, 224),
    parameters=10,
)


def code(
    recipe: str, device: str = "cuda:0", model: str = "resnet18", phase: Phase = "train", **changes: object
) -> str:
    unit = "tokens" if model.startswith("hf:") else "images"
    cell = Cell(Workload(model, 4, phase, unit), parse_recipe(recipe), device)
    prepared = Preparation(**{name: getattr(PREPARED, name) for name in PREPARED.__struct_fields__} | changes)
    text, why_not = code_of(Plan(suite="tune", groups=(Group((cell,)),)), cell, prepared)
    assert bool(text) != bool(why_not)
    return text


@pytest.mark.parametrize(
    ("recipe", "lines"),
    [
        ("fp32", ['fp32_precision = "ieee"']),
        ("tf32", ['fp32_precision = "tf32"']),
        ("bf16", ["with torch.autocast('cuda', dtype=torch.bfloat16):"]),
        ("fp16", ["scaler = torch.amp.GradScaler('cuda')", "scaler.step(optimizer)"]),
        ("compile", ["network = torch.compile(model)"]),
        ("compile:max-autotune", ["network = torch.compile(model, mode='max-autotune')"]),
        ("fused", ["lr=1e-4, fused=True)"]),
        ("foreach", ["lr=1e-4, foreach=True)"]),
        ("cudnn_benchmark", ["torch.backends.cudnn.benchmark = True"]),
        ("graph", ["capturable=True", "torch.cuda.CUDAGraph()", "graph.replay()", "stream.wait_stream("]),
        ("bf16+accumulate:2", ["cycle(range(0, 993, 8))", "all_inputs.chunk(2)", "(loss / 2).backward()", "8 * "]),
        ("fp16+accumulate:2", ["scaler.scale(loss / 2).backward()", "scaler.update()"]),
        ("compile+layout_opt_off", ["torch._inductor.config.layout_optimization = False"]),
    ],
)
def test_each_word_is_set(recipe: str, lines: list[str]) -> None:
    text = code(recipe)
    assert all(line in text for line in lines), text
    assert text.startswith(MARK)
    ast.parse(text)


def test_the_memory_format_is_that_which_was_measured() -> None:
    text = code("channels_last", memory_format="channels_last")
    assert text.count("memory_format=torch.channels_last") == 2
    assert "channels_last" not in code("fp32").partition("\n")[2]


def test_the_cpu_has_its_threads_and_no_synchronization() -> None:
    text = code("fp32", "cpu", choices=("Memory allocator: keeps freed memory for the next step (mallopt)",))
    assert "torch.set_num_threads(2)" in text
    assert "mallopt" in text
    assert "synchronize" not in text


@pytest.mark.parametrize("model", ["hf:gpt2", "hf:bert-base", "hf:vit", "timm:resnet50", "resnet18"])
@pytest.mark.parametrize("phase", ["train", "eval"])
@pytest.mark.parametrize(
    "recipe", ["fp32", "bf16+compile+graph+fused", "fp16+channels_last", "bf16+graph+accumulate:4+pad_vocab"]
)
def test_the_code_of_every_source_of_models_is_python(model: str, phase: Phase, recipe: str) -> None:
    ast.parse(code(recipe, model=model, phase=phase))


@pytest.mark.parametrize(
    ("model", "own", "reason"),
    [
        ("hf:./folder", None, "there is no code for a local folder of transformers"),
        ("net.py:tiny", None, "the form of the model is unknown"),
        ("net.py:tiny", OwnModel(lightning=True), "there is no code for a Lightning module"),
    ],
)
def test_there_is_no_code_that_could_not_be_run(model: str, own: OwnModel | None, reason: str) -> None:
    cell = Cell(Workload(model, 4), Recipe(), "cpu")
    text, why_not = code_of(Plan(suite="tune", groups=(Group((cell,)),)), cell, replace(PREPARED, own=own))
    assert not text
    assert why_not.startswith(reason)


def test_a_loader_is_as_the_recipe_says() -> None:
    text = code("workers:4+prefetch:3+channels_last", memory_format="channels_last")
    arguments = "num_workers=4, pin_memory=True, persistent_workers=True, prefetch_factor=3"
    assert f"DataLoader(Pictures(), batch_size=4, shuffle=True, drop_last=True, {arguments}" in text
    assert "loss = train(*next_batch())" in text
    assert text.count("memory_format=torch.channels_last") == 2
    ast.parse(text)


def test_a_function_is_imported_from_its_folder() -> None:
    text = code("fp32", "cpu", "nets/net.py:tiny", own=OwnModel(others=("loss",), loss="of_both", made=("loss",)))
    assert "sys.path.insert(0, 'nets')\nfrom net import tiny\nmodel, data, loss_function = tiny(batch=4)\n" in text


@pytest.mark.long
@pytest.mark.parametrize("recipe", ["fp32", "bf16+fused", "foreach", "bf16+accumulate:2"])
def test_the_code_runs_and_prints_its_rates(recipe: str) -> None:
    text = code(recipe, "cpu", own("digits_network"), own=OwnModel())
    rates, reason = run_code(text, 120.0)
    assert not reason
    assert len(rates) == 5


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("raise ValueError('no such model')", "ValueError: no such model"),
        ("import time; time.sleep(60)", "it did not end within 2 s"),
        ("pass", "it printed no rate"),
        ("import os; os.abort()", "SIGABRT"),
    ],
)
def test_code_that_fails_says_why(text: str, reason: str) -> None:
    assert run_code(text, 2.0) == ((), reason)


def test_the_warm_up_is_no_lap() -> None:
    printed = (
        "print('1 images/s, loss 2.3 (warm-up)'); print('12.5 images/s, loss 2.2'); print('1.2e+06 tokens/s, loss 2.1')"
    )
    assert run_code(printed, 60.0) == ((12.5, 1.2e6), "")
