"""The code that `torchlap tune` prints: a training loop in plain PyTorch that sets exactly a recipe.

It is put together from pieces of text, so that what is printed can be read here. torchlap runs it before it prints it.
"""

from collections.abc import Iterator
from math import ceil
from pathlib import PurePath

from torchlap.reports.kit.text import clean
from torchlap.schema.events import Preparation
from torchlap.schema.hugging_face import CAUSAL, KNOWN, VISION
from torchlap.schema.recipe import VOCABULARY_MULTIPLE, Recipe
from torchlap.schema.workload import Cell, Plan, Workload, is_hugging_face, is_own_file, is_timm

MARK = "# Written by torchlap tune:"
"""How such a file is recognized."""

LAPS = 6
LAP_SECONDS = 0.5
IMPORTS = ("import ", "from torch ", "from torchvision")
"""Of lines, that belong to the top; a user's file is imported below them."""

DTYPES = {"bf16": "torch.bfloat16", "fp16": "torch.float16"}

TORCHVISION = """\
from torchvision.models import get_model
model = get_model({name!r}, weights=None, num_classes=10)"""

TIMM = """\
import timm
model = timm.create_model({name!r}, num_classes=10)"""

HUGGING_FACE = """\
import transformers
configuration = transformers.{configuration}({settings})
model = transformers.{task}.from_config(configuration)
model.config.use_cache = False"""

PADDING = f"model.resize_token_embeddings(pad_to_multiple_of={VOCABULARY_MULTIPLE}, mean_resizing=False)"

OWN = """\
import sys
sys.path.insert(0, {folder!r})
from {file} import {function}
model, (inputs, targets), *loss = {function}({batch})
loss_function = loss[0] if loss else nn.functional.cross_entropy"""

IMAGES = """\
def next_batch():  # your data instead
    images = torch.randn({shape}, device=device){layout}
    return images, torch.randint(10, ({batch},), device=device)"""

TOKENS = """\
def next_batch():  # your data instead
    ids = torch.randint(configuration.vocab_size, ({batch}, {seq}), device=device)
    return ids, {labels}"""

OWN_BATCH = """\
def next_batch():  # your data instead
    return inputs.to(device){layout}, targets.to(device)"""

GLIBC = """\
import ctypes
ctypes.CDLL(None).mallopt(-4, 0)  # glibc keeps freed memory for the next step
ctypes.CDLL(None).mallopt(-1, -1)"""

ACCUMULATE = """\
def step(all_inputs, all_targets):
    optimizer.zero_grad(set_to_none=True)
    for inputs, targets in zip(all_inputs.chunk({parts}), all_targets.chunk({parts})):
        {autocast}loss = {loss}
        {backward}
    {update}
    return loss.detach()"""

TRAIN = """\
def step({names}):
    optimizer.zero_grad(set_to_none=True)
    {autocast}loss = {loss}
    {backward}
    {update}
    return loss.detach()"""

EVALUATE = """\
@torch.inference_mode()
def step({names}):
    {autocast}loss = {loss}
    return loss"""

SCALED_UPDATE = """\
scaler.step(optimizer)
    scaler.update()"""

CAPTURE = """\
static = [tensor.clone() for tensor in next_batch()]  # the graph reads its batch here
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
    for old, new in zip(static, batch):
        old.copy_(new)
    graph.replay()
    return static_loss"""

LOOP = """\
batches = [next_batch() for _ in range(4)]
for lap in range({laps}):
    begun = time.perf_counter()
    for count in range({steps}):
        loss = train(*batches[count % 4]){synchronize}
    rate = {items} * {steps} / (time.perf_counter() - begun)
    print(f"{{rate:.6g}} {unit}/s, loss {{float(loss.float().mean()):.4f}}{{'' if lap else ' (warm-up)'}}")"""


def code_of(plan: Plan, cell: Cell, prepared: Preparation) -> str:
    """The code for a cell; empty where torchlap cannot write it: for a recipe with a loader, and a local folder.

    Args:
        plan: says whether the weights are pretrained.
        cell: the workload, recipe and device.
        prepared: the shape of its inputs, and what was chosen on the device.
    """
    workload, recipe = cell.workload, cell.recipe
    name = workload.model.removeprefix("hf:")
    if recipe.workers is not None or (is_hugging_face(workload.model) and name not in KNOWN):
        return ""
    if plan.weights != "random":
        return ""
    title = f"{MARK} {clean(str(cell))}"
    lines = "\n".join(_lines(cell, prepared)).splitlines()
    imports = [line for line in lines if line.startswith(IMPORTS)]
    others = "\n".join(line for line in lines if line not in imports).strip("\n")
    return "\n".join([title, *sorted(imports, key=lambda line: "torch" in line), "", others]) + "\n"


def _lines(cell: Cell, prepared: Preparation) -> Iterator[str]:
    recipe, workload = cell.recipe, cell.workload
    kind = cell.device.partition(":")[0]
    channels_last = prepared.memory_format == "channels_last"
    yield "import time\nimport torch\nfrom torch import nn"
    yield from _settings(recipe, kind, prepared)
    yield f"\ntorch.manual_seed(1)\ndevice = torch.device({cell.device!r})"
    yield _model(workload, recipe)
    layout = ", memory_format=torch.channels_last" if channels_last else ""
    yield f"model = model.to(device{layout}){'' if workload.phase == 'train' else '.eval()'}"
    yield f"network = {_network(recipe)}"
    if workload.phase == "train":
        yield f"optimizer = torch.optim.Adam(model.parameters(), lr=1e-4{_optimizer(recipe)})"
        if recipe.precision == "fp16":
            yield f"scaler = torch.amp.GradScaler({kind!r})"
    yield "\n" + _batch(workload, prepared, recipe.accumulate, channels_last=channels_last) + "\n"
    yield _step(workload, recipe, kind) + "\n"
    yield (CAPTURE.format(kind=kind, graph=kind.upper()) if recipe.graph else "train = step") + "\n"
    yield LOOP.format(
        laps=LAPS,
        steps=max(1, ceil(LAP_SECONDS / prepared.step_seconds)),
        synchronize="" if kind == "cpu" else "\n    torch.accelerator.synchronize()",
        items=workload.batch * recipe.accumulate * (_seq(workload) if workload.unit == "tokens" else 1),
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


def _model(workload: Workload, recipe: Recipe) -> str:
    name = workload.model
    if is_own_file(name):
        path, _, function = name.rpartition(":")
        place = PurePath(path)
        asked = (workload.asked or workload.batch) * recipe.accumulate
        return OWN.format(folder=str(place.parent), file=place.stem, function=function, batch=f"batch={asked}")
    if is_timm(name):
        return TIMM.format(name=name.removeprefix("timm:")) + "\nloss_function = nn.functional.cross_entropy"
    if is_hugging_face(name):
        known = KNOWN[name.removeprefix("hf:")]
        settings = known.settings | ({} if known.task == CAUSAL else {"num_labels": 10})
        text = ", ".join(f"{key}={value!r}" for key, value in settings.items())
        padding = "\n" + PADDING if recipe.pad_vocab else ""
        return HUGGING_FACE.format(configuration=known.configuration, settings=text, task=known.task) + padding
    return TORCHVISION.format(name=name) + "\nloss_function = nn.functional.cross_entropy"


def _network(recipe: Recipe) -> str:
    if not recipe.compile:
        return "model"
    mode = f", mode={recipe.compile_mode!r}" if recipe.compile_mode != "default" else ""
    return f"torch.compile(model{mode})"


def _optimizer(recipe: Recipe) -> str:
    words = {"fused": recipe.fused, "foreach": recipe.foreach, "capturable": recipe.graph}
    return "".join(f", {word}=True" for word, is_set in words.items() if is_set)


def _seq(workload: Workload) -> int:
    """Tokens of a sequence."""
    if workload.seq is not None:
        return workload.seq
    known = KNOWN.get(workload.model.removeprefix("hf:"))
    return 1024 if known and known.task == CAUSAL else 128


def _batch(workload: Workload, prepared: Preparation, parts: int, *, channels_last: bool) -> str:
    layout = ".contiguous(memory_format=torch.channels_last)" if channels_last else ""
    batch = parts * workload.batch
    if is_own_file(workload.model):
        return OWN_BATCH.format(layout=layout)
    if not is_hugging_face(workload.model):
        shape = ", ".join(map(str, (batch, *prepared.input_shape[1:])))
        return IMAGES.format(shape=shape, batch=batch, layout=layout)
    task = KNOWN[workload.model.removeprefix("hf:")].task
    if task == VISION:
        size = "configuration.num_channels, configuration.image_size, configuration.image_size"
        return IMAGES.format(shape=f"{batch}, {size}", batch=batch, layout=layout)
    labels = "ids" if task == CAUSAL else f"torch.randint(10, ({batch},), device=device)"
    return TOKENS.format(batch=batch, seq=_seq(workload), labels=labels)


def _step(workload: Workload, recipe: Recipe, kind: str) -> str:
    names, loss = "inputs, targets", "loss_function(network(inputs), targets)"
    if is_hugging_face(workload.model):
        argument = "pixel_values" if KNOWN[workload.model.removeprefix("hf:")].task == VISION else "input_ids"
        loss = f"network({argument}=inputs, labels=targets).loss"
    dtype = DTYPES.get(recipe.precision)
    parts = recipe.accumulate
    indent = " " * (8 if parts == 1 else 12)
    autocast = f"with torch.autocast({kind!r}, dtype={dtype}):\n{indent}" if dtype else ""
    if workload.phase != "train":
        return EVALUATE.format(names=names, autocast=autocast, loss=loss)
    is_scaled = recipe.precision == "fp16"
    part = "loss" if parts == 1 else f"(loss / {parts})"
    backward = f"scaler.scale({part.strip('()')}).backward()" if is_scaled else f"{part}.backward()"
    text = TRAIN if parts == 1 else ACCUMULATE
    update = SCALED_UPDATE if is_scaled else "optimizer.step()"
    return text.format(names=names, autocast=autocast, loss=loss, backward=backward, update=update, parts=parts)
