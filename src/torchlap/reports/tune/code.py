"""The code that `torchlap tune` prints: a training loop in plain PyTorch that sets exactly a recipe.

It is put together from pieces of text, so that what is printed can be read here. torchlap runs it before it prints it.
"""

from collections.abc import Iterator, Sequence
from math import ceil

from torchlap.reports.kit.text import clean
from torchlap.reports.tune import data_code, own_code
from torchlap.schema.events import Preparation
from torchlap.schema.hugging_face import CAUSAL, KNOWN, VISION
from torchlap.schema.own import OwnModel
from torchlap.schema.recipe import VOCABULARY_MULTIPLE, Recipe
from torchlap.schema.workload import WITH_AUXILIARY_HEADS, Cell, Plan, Workload, is_hugging_face, is_own_file, is_timm

MARK = "# Written by torchlap tune:"
"""How such a file is recognized."""

DIGITS_CNN = "digits_cnn"
LAPS = 6
LAP_SECONDS = 0.5
IMPORTS = ("import ", "from itertools ", "from torch ", "from torch.utils", "from torchvision")
"""Of lines, that belong to the top; a user's file is imported below them."""

DTYPES = {"bf16": "torch.bfloat16", "fp16": "torch.float16"}

TORCHVISION = """\
from torchvision.models import get_model
model = get_model({name!r}, weights=None, num_classes=10{more})"""

TIMM = """\
import timm
model = timm.create_model({name!r}, num_classes=10)"""

HUGGING_FACE = """\
import transformers
configuration = transformers.{configuration}({settings})
model = transformers.{task}.from_config(configuration)
model.config.use_cache = False"""

PADDING = f"model.resize_token_embeddings(pad_to_multiple_of={VOCABULARY_MULTIPLE}, mean_resizing=False)"

GLIBC = """\
import ctypes
ctypes.CDLL(None).mallopt(-4, 0)  # glibc keeps freed memory for the next step
ctypes.CDLL(None).mallopt(-1, -1)"""

CAPTURE = """\
static = {copy}  # the graph reads its batch here
stream = torch.{kind}.Stream()
stream.wait_stream(torch.{kind}.current_stream())
with torch.{kind}.stream(stream):  # steps before the capture: torch chooses algorithms and allocates
    for _ in range(11):
        step(*static)
torch.{kind}.current_stream().wait_stream(stream)
graph = torch.{kind}.{graph}Graph()
with torch.{kind}.graph(graph):
    static_loss = step(*static)

def train(*batch):
    for old, new in zip({leaves}):
        old.copy_(new)
    graph.replay(){after}
    return static_loss"""

LOOP = """\
{batches}for lap in range({laps}):
    begun = time.perf_counter()
    for count in range({steps}):
        loss = train(*{batch}){synchronize}
    rate = {items} * {steps} / (time.perf_counter() - begun)
    print(f"{{rate:.6g}} {unit}/s, loss {{float(loss.float().mean()):.4f}}{{'' if lap else ' (warm-up)'}}")"""

KEPT = "batches = [next_batch() for _ in range(4)]\n"


def code_of(plan: Plan, cell: Cell, prepared: Preparation) -> tuple[str, str]:
    """The code for a cell; where torchlap cannot write it, an empty text and the reason.

    Args:
        plan: says whether the weights are pretrained.
        cell: the workload, recipe and device.
        prepared: the shape of its inputs, and what was chosen on the device.
    """
    if why_not := _why_no_code(plan, cell, prepared):
        return "", why_not
    title = f"{MARK} {clean(str(cell))}"
    lines = "\n".join(_lines(cell, prepared)).splitlines()
    imports = [line for line in lines if line.startswith(IMPORTS)]
    others = "\n".join(line for line in lines if line not in imports).strip("\n")
    return "\n".join([title, *sorted(imports, key=lambda line: "torch" in line), "", others]) + "\n", ""


def _why_no_code(plan: Plan, cell: Cell, prepared: Preparation) -> str:
    model = cell.workload.model
    if plan.weights != "random":
        return "there is no code for pretrained weights"
    if is_hugging_face(model) and model.removeprefix("hf:") not in KNOWN:
        return "there is no code for a local folder of transformers"
    if model == DIGITS_CNN:
        return "there is no code for torchlap's own small network"
    if is_own_file(model) and prepared.own is None:
        return "the form of the model is unknown: an older torchlap wrote the file"
    if prepared.own and prepared.own.lightning:
        return "there is no code for a Lightning module: its trainer sets the recipe"
    return ""


def _lines(cell: Cell, prepared: Preparation) -> Iterator[str]:
    recipe, workload, own = cell.recipe, cell.workload, prepared.own
    kind = cell.device.partition(":")[0]
    channels_last = prepared.memory_format == "channels_last"
    yield "import time\nimport torch\nfrom torch import nn"
    yield from _settings(recipe, kind, prepared)
    yield f"\ntorch.manual_seed(1)\ndevice = torch.device({cell.device!r})"
    yield _model(workload, recipe, prepared)
    layout = ", memory_format=torch.channels_last" if channels_last else ""
    yield f"model = model.to(device{layout}){'' if workload.phase == 'train' else '.eval()'}"
    yield f"network = {_network(recipe)}"
    if workload.phase == "train":
        yield from own_code.optimizer(own, recipe, _adam(recipe)) if own else [_adam(recipe)]
        if recipe.precision == "fp16":
            yield f"scaler = torch.amp.GradScaler({kind!r})"
    yield "\n" + _next_batch(cell, prepared) + "\n"
    yield "\n".join(_step(cell, prepared)) + "\n"
    yield _train(cell, own) + "\n"
    fresh = not is_hugging_face(workload.model) if own is None else own.batches != "one"
    yield LOOP.format(
        batches="" if fresh else KEPT,
        batch="next_batch()" if fresh else "batches[count % 4]",
        laps=LAPS,
        steps=max(1, ceil(LAP_SECONDS / prepared.step_seconds)),
        synchronize="" if kind == "cpu" else "\n    torch.accelerator.synchronize()",
        items=recipe.accumulate * _items(workload, prepared),
        unit=workload.unit,
    )


def _settings(recipe: Recipe, kind: str, prepared: Preparation) -> Iterator[str]:
    """What holds for the whole process."""
    if kind == "cpu":
        yield f"torch.set_num_threads({prepared.threads})"
        yield "torch.set_flush_denormal(True)"
        if any("(mallopt)" in choice for choice in prepared.choices):
            yield GLIBC
    if kind == "cuda":
        mode = "tf32" if recipe.precision == "tf32" else "ieee"
        yield f'torch.backends.cuda.matmul.fp32_precision = "{mode}"'
        yield f'torch.backends.cudnn.conv.fp32_precision = "{mode}"'
    if recipe.cudnn_benchmark:
        yield "torch.backends.cudnn.benchmark = True"
    if recipe.layout_opt_off:
        yield "import torch._inductor.config\ntorch._inductor.config.layout_optimization = False"


def _model(workload: Workload, recipe: Recipe, prepared: Preparation) -> str:
    name = workload.model
    if prepared.own:
        return own_code.model(workload, recipe, prepared.own)
    if is_timm(name):
        return TIMM.format(name=name.removeprefix("timm:")) + "\nloss_function = nn.functional.cross_entropy"
    if is_hugging_face(name):
        known = KNOWN[name.removeprefix("hf:")]
        settings = known.settings | ({} if known.task == CAUSAL else {"num_labels": 10})
        text = ", ".join(f"{key}={value!r}" for key, value in settings.items())
        padding = "\n" + PADDING if recipe.pad_vocab else ""
        return HUGGING_FACE.format(configuration=known.configuration, settings=text, task=known.task) + padding
    more = ", aux_logits=False, init_weights=True" if name in WITH_AUXILIARY_HEADS else ""
    return TORCHVISION.format(name=name, more=more) + "\nloss_function = nn.functional.cross_entropy"


def _network(recipe: Recipe) -> str:
    if not recipe.compile:
        return "model"
    mode = f", mode={recipe.compile_mode!r}" if recipe.compile_mode != "default" else ""
    return f"torch.compile(model{mode})"


def _adam(recipe: Recipe) -> str:
    words = {"fused": recipe.fused, "foreach": recipe.foreach, "capturable": recipe.graph}
    more = "".join(f", {word}=True" for word, is_set in words.items() if is_set)
    return f"optimizer = torch.optim.Adam(model.parameters(), lr=1e-4{more})"


def _items(workload: Workload, prepared: Preparation) -> int:
    """Of a batch."""
    if prepared.own and prepared.own.items:
        return prepared.own.items
    return workload.batch * (_seq(workload) if workload.unit == "tokens" else 1)


def _seq(workload: Workload) -> int:
    """Tokens of a sequence."""
    known = KNOWN.get(workload.model.removeprefix("hf:"))
    if workload.seq is not None:
        return workload.seq
    return 1024 if known and known.task == CAUSAL else 128


def _next_batch(cell: Cell, prepared: Preparation) -> str:
    workload, recipe = cell.workload, cell.recipe
    channels_last = prepared.memory_format == "channels_last"
    if prepared.own:
        return own_code.next_batch(prepared.own, recipe, channels_last=channels_last)
    batch = cell.step_rows
    if recipe.workers is not None:
        kind = cell.device.partition(":")[0]
        return data_code.loader(batch, prepared.input_shape[-1], recipe, kind, channels_last=channels_last)
    if not is_hugging_face(workload.model):
        return data_code.digits(batch, prepared.input_shape[-1], channels_last=channels_last)
    task = KNOWN[workload.model.removeprefix("hf:")].task
    if task == VISION:
        size = "configuration.num_channels, configuration.image_size, configuration.image_size"
        return data_code.images((batch, size), channels_last=channels_last)
    return data_code.tokens(batch, _seq(workload), is_causal=task == CAUSAL)


def _step(cell: Cell, prepared: Preparation) -> Iterator[str]:
    """The lines of the function that trains on a batch, or evaluates it."""
    recipe, own, workload = cell.recipe, prepared.own, cell.workload
    trains = workload.phase == "train"
    forward = own_code.forward(own, trains=trains) if own else [f"loss = {_loss(workload)}"]
    if recipe.precision in DTYPES:
        kind = cell.device.partition(":")[0]
        forward = [f"with torch.autocast({kind!r}, dtype={DTYPES[recipe.precision]}):", *_indented(forward)]
    if not trains:
        yield from ["@torch.inference_mode()", "def step(inputs, targets):", *_indented([*forward, "return loss"])]
    elif own and own_code.has_step(own):
        yield from ["def step(inputs, targets):", *_indented([*forward, "return loss.detach()"])]
    else:
        yield from _training_step(forward, recipe, own_code.after_backward(own, recipe) if own else [])


def _training_step(forward: Sequence[str], recipe: Recipe, clipping: Sequence[str]) -> Iterator[str]:
    parts, is_scaled = recipe.accumulate, recipe.precision == "fp16"
    part = "loss" if parts == 1 else f"(loss / {parts})"
    backward = f"scaler.scale({part.strip('()')}).backward()" if is_scaled else f"{part}.backward()"
    lines = [*forward, backward]
    names = "inputs, targets"
    if parts > 1:
        names = "all_inputs, all_targets"
        loop = f"for inputs, targets in zip(all_inputs.chunk({parts}), all_targets.chunk({parts})):"
        lines = [loop, *_indented(lines)]
    update = ["scaler.step(optimizer)", "scaler.update()"] if is_scaled else ["optimizer.step()"]
    yield f"def step({names}):"
    yield from _indented(["optimizer.zero_grad(set_to_none=True)", *lines, *clipping, *update, "return loss.detach()"])


def _indented(lines: Sequence[str]) -> list[str]:
    return [f"    {line}" for line in lines]


def _loss(workload: Workload) -> str:
    if is_hugging_face(workload.model):
        argument = "pixel_values" if KNOWN[workload.model.removeprefix("hf:")].task == VISION else "input_ids"
        return f"network({argument}=inputs, labels=targets).loss"
    return "loss_function(network(inputs), targets)"


def _train(cell: Cell, own: OwnModel | None) -> str:
    """What the loop calls: the step, or its recording."""
    schedule = own_code.schedule(own) if own and cell.workload.phase == "train" else ""
    if cell.recipe.graph:
        kind = cell.device.partition(":")[0]
        is_plain = own is None or own.tensors
        copy = "[tensor.clone() for tensor in next_batch()]" if is_plain else own_code.COPY
        leaves = "static, batch" if is_plain else own_code.LEAVES
        after = f"\n    {schedule}" if schedule else ""
        return CAPTURE.format(kind=kind, graph=kind.upper(), copy=copy, leaves=leaves, after=after)
    if schedule:
        return f"def train(*batch):\n    loss = step(*batch)\n    {schedule}\n    return loss"
    return "train = step"
