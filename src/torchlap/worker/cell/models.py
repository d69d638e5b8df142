"""A model's name to a module: torchvision's classification models, or a function in a file of the user's own."""

import inspect
import sys
from collections.abc import Callable
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from traceback import extract_tb
from types import ModuleType
from typing import Any

import torch
import torchvision
from msgspec import Struct
from torch import Tensor, nn
from torch.utils.data import DataLoader
from torchvision.models import get_model, get_model_weights, list_models

from torchlap.schema.workload import Weights

CLASSES = 10
IMAGENET_CLASSES = 1000
IMAGE_SIZE = 224
WITH_AUXILIARY_HEADS = ("googlenet", "inception_v3")
"""Their extra heads return a tuple in training; torchvision builds them without when asked."""

MODULE_AND_BATCH = 2
MODULE_BATCH_AND_LOSS = 3


class ModelError(Exception):
    """The model cannot be built; one sentence with its remedy."""


class Subject(Struct, frozen=True):
    """What is trained: with digits of `image_size`, with its own fixed `batch`, or with what its own `loader` gives."""

    module: nn.Module
    loss: Callable[[Any, Any], Tensor]
    image_size: int | None = None
    batch: tuple[Any, Any] | None = None
    loader: DataLoader[Any] | None = None


def known() -> tuple[str, ...]:
    """The names of torchvision's classification models."""
    return tuple(list_models(module=torchvision.models))


def build(model: str, batch: int, weights: Weights) -> Subject:
    """Build a model with a head for ten classes.

    Raises:
        ModelError: when it cannot be built.
    """
    if model.endswith(".py") or ".py:" in model:
        return _from_file(model, batch)
    module = _pretrained(model) if weights == "pretrained" else _random(model)
    return Subject(module, nn.functional.cross_entropy, image_size=_image_size(model, module))


def _random(model: str) -> nn.Module:
    options = {"aux_logits": False, "init_weights": True} if model in WITH_AUXILIARY_HEADS else {}
    module: nn.Module = get_model(model, weights=None, num_classes=CLASSES, **options)
    return module


def _pretrained(model: str) -> nn.Module:
    try:
        module: nn.Module = get_model(model, weights="DEFAULT")
    except (OSError, RuntimeError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ModelError(
            f"The pretrained weights of {model} could not be loaded ({reason}): "
            "check the network, or leave out --weights pretrained."
        ) from None
    if model in WITH_AUXILIARY_HEADS:
        module.aux_logits = False  # type: ignore[assignment]  # a plain flag of these two models
        for name in ("AuxLogits", "aux1", "aux2"):
            if hasattr(module, name):
                setattr(module, name, None)
    _replace_heads(module)
    return module


def _replace_heads(module: nn.Module) -> None:
    """Give every layer with 1,000 outputs ten; its kind stays, so squeezenet's head stays the 1x1 convolution it is."""
    for parent in list(module.modules()):
        for name, child in parent.named_children():
            if isinstance(child, nn.Linear) and child.out_features == IMAGENET_CLASSES:
                setattr(parent, name, nn.Linear(child.in_features, CLASSES, bias=child.bias is not None))
            elif isinstance(child, nn.Conv2d) and child.out_channels == IMAGENET_CLASSES:
                setattr(parent, name, nn.Conv2d(child.in_channels, CLASSES, kernel_size=_pair(child.kernel_size)))


def _pair(sizes: tuple[int, ...]) -> tuple[int, int]:
    return sizes[0], sizes[1]


def _image_size(model: str, module: nn.Module) -> int:
    """The size the model is built for, or was first published with."""
    built_for = getattr(module, "image_size", None)
    if isinstance(built_for, int):
        return built_for
    first = next(iter(get_model_weights(model)), None)
    size = first.transforms().crop_size if first else [IMAGE_SIZE]
    return int(size[0])


def _from_file(model: str, batch: int) -> Subject:
    path_text, _, name = model.rpartition(":")
    if not name or not path_text.endswith(".py"):
        raise ModelError(f"{model} names no function: write path/to/file.py:function.")
    path = Path(path_text)
    if not path.is_file():
        raise ModelError(f"There is no file {path} in {Path.cwd()}: check the path, and the folder that you are in.")
    made = _call(path, name, batch)
    if not isinstance(made, tuple) or len(made) not in (MODULE_AND_BATCH, MODULE_BATCH_AND_LOSS):
        raise ModelError(
            f"{model} returned {_kind(made)}; it must return module, (inputs, targets) and perhaps a loss."
        )
    module, pair, loss = made if len(made) == MODULE_BATCH_AND_LOSS else (*made, nn.functional.cross_entropy)
    if not isinstance(module, nn.Module):
        raise ModelError(
            f"{model} returned {_kind(module)} where the module belongs: return module, (inputs, targets)."
        )
    has_loader = isinstance(pair, DataLoader)
    if not has_loader and not (isinstance(pair, tuple | list) and len(pair) == MODULE_AND_BATCH):
        raise ModelError(f"{model} returned {_kind(pair)} where (inputs, targets) or a DataLoader belongs.")
    if not callable(loss):
        raise ModelError(f"{model} returned {_kind(loss)} as loss: return a function of outputs and targets.")
    rows = pair.batch_size if isinstance(pair, DataLoader) else _rows(pair[0])
    if rows is not None and rows != batch:
        raise ModelError(
            f"{model} returned {'a loader of ' * has_loader}{rows} inputs where the batch is {batch}: "
            f"take a parameter named batch, or give --batch {rows}."
        )
    return Subject(module, loss, loader=pair) if has_loader else Subject(module, loss, batch=(pair[0], pair[1]))


def _call(path: Path, name: str, batch: int) -> object:
    """Call the user's function, with the batch size where it takes one."""
    try:
        function = getattr(_load(path), name, None)
    except BaseException as error:
        raise ModelError(f"{path} cannot be loaded: {_where(error, path)}.") from error
    if not callable(function):
        raise ModelError(f"{path} has no function {name!r}: check the name after the colon.")
    try:
        takes_batch = "batch" in inspect.signature(function).parameters
        result: object = function(batch=batch) if takes_batch else function()
    except BaseException as error:
        raise ModelError(f"{path}:{name} failed: {_where(error, path)}.") from error
    return result


def _load(path: Path) -> ModuleType:
    name = f"torchlap_own_{path.stem}"  # a file named torch.py or queue.py must not stand for that module
    spec = spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ModelError(f"{path} cannot be loaded as Python: check the file.")
    module = module_from_spec(spec)
    sys.path.insert(0, str(path.resolve().parent))  # the file may import its neighbours
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def printable(error: BaseException) -> str:
    """An error's own words, as far as they are text and it has any."""
    try:
        return str(error).strip().encode(errors="replace").decode()
    except Exception:  # noqa: BLE001  a user's exception may do anything
        return ""


def _where(error: BaseException, path: Path) -> str:
    """The error in one line, with the line of the user's file where it came from."""
    own = [frame.lineno for frame in extract_tb(error.__traceback__) if Path(frame.filename).name == path.name]
    line = own[-1] if own else getattr(error, "lineno", None)
    message = (printable(error).splitlines() or [""])[0][:300]
    place = f" at line {line}" if line else ""
    return f"{type(error).__name__}{place}{': ' if message else ''}{message}".rstrip(".")


def _kind(thing: object) -> str:
    return f"{len(thing)} values" if isinstance(thing, tuple) else type(thing).__name__


def _rows(inputs: object) -> int | None:
    """The size of the first dimension, where the inputs are a tensor."""
    return inputs.shape[0] if isinstance(inputs, Tensor) and inputs.dim() else None


def parameters(module: nn.Module) -> int:
    """How many numbers the module learns."""
    return sum(each.numel() for each in module.parameters() if not torch.nn.parameter.is_lazy(each))
