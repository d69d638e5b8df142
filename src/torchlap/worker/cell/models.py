"""From a model's name to the module: a function for each source of models."""

from importlib import import_module
from importlib.util import find_spec
from typing import Any

import torch
import torchvision
from torch import nn
from torchvision.models import get_model, get_model_weights, list_models

from torchlap.schema.workload import WITH_AUXILIARY_HEADS, Weights, is_hugging_face, is_own_file, is_timm
from torchlap.worker import devices
from torchlap.worker.cell import digits_cnn, hugging_face, own_file
from torchlap.worker.cell.hub import check_reachable
from torchlap.worker.cell.subject import Subject
from torchlap.worker.errors import ModelError, cannot_load, first_line

CLASSES = 10
IMAGENET_CLASSES = 1000
IMAGE_SIZE = 224


def known_models() -> tuple[str, ...]:
    """The names of torchvision's classification models, and torchlap's own small one."""
    return (*list_models(module=torchvision.models), digits_cnn.NAME)


def build(
    model: str, batch: int, weights: Weights, device: torch.device | None = None, *, seq: int | None = None
) -> Subject:
    """Build a model on the CPU, or with its random weights already on a device that can make them.

    Raises:
        ModelError: when it cannot be built.
    """
    if is_own_file(model):
        return own_file.build(model, batch)
    if is_hugging_face(model):
        return hugging_face.build(model, batch, weights, seq, device or torch.device("cpu"))
    if is_timm(model):
        return _timm(model, weights, device or torch.device("cpu"))
    return _torchvision(model, weights, device or torch.device("cpu"))


def _timm(model: str, weights: Weights, device: torch.device) -> Subject:
    """A model of the package timm with a head for ten classes.

    Raises:
        ModelError: without the package, for an unknown name, and for weights that cannot be loaded.
    """
    if find_spec("timm") is None:
        raise ModelError(f"{model} needs the package timm: pip install 'torchlap[timm]'.")
    timm: Any = import_module("timm")
    name = model.removeprefix("timm:")
    if not timm.is_model(name):
        near = ", ".join(timm.list_models(f"*{name[:6]}*")[:3])
        hint = f"similar names are {near}" if near else "timm.list_models() lists all names"
        raise ModelError(f"timm has no model {name!r}: {hint}.")
    source = (timm.get_pretrained_cfg(name).hf_hub_id or "") if weights == "pretrained" else ""
    try:
        if source:
            check_reachable(source)
        with devices.initialization(device):
            module: nn.Module = timm.create_model(name, pretrained=weights == "pretrained", num_classes=CLASSES)
    except Exception as error:  # noqa: BLE001  a download fails in many ways, also with errors of its HTTP library
        if weights == "pretrained":
            raise cannot_load(model, error) from None
        raise ModelError(f"timm cannot build {name}: {first_line(error).rstrip('.')}.") from None
    size: tuple[int, ...] = module.pretrained_cfg["input_size"]  # type: ignore[index, assignment]  # timm's own attribute
    return Subject(module=module, loss=nn.functional.cross_entropy, image_size=int(size[-1]))


def _torchvision(model: str, weights: Weights, device: torch.device) -> Subject:
    """A classification model of torchvision with a head for ten classes, or torchlap's own.

    Raises:
        ModelError: for pretrained weights that do not exist.
    """
    if model == digits_cnn.NAME:
        return _digits_cnn(weights, device)
    with devices.initialization(device):
        module = _pretrained(model) if weights == "pretrained" else _random(model)
    return Subject(module=module, loss=nn.functional.cross_entropy, image_size=_image_size(model, module))


def _digits_cnn(weights: Weights, device: torch.device) -> Subject:
    if weights == "pretrained":
        raise ModelError(f"{digits_cnn.NAME} has no pretrained weights: omit --weights.")
    with devices.initialization(device):
        module = digits_cnn.build()
    return Subject(module=module, loss=nn.functional.cross_entropy, image_size=digits_cnn.IMAGE_SIZE)


def _random(model: str) -> nn.Module:
    options = {"aux_logits": False, "init_weights": True} if model in WITH_AUXILIARY_HEADS else {}
    module: nn.Module = get_model(model, weights=None, num_classes=CLASSES, **options)
    return module


def _pretrained(model: str) -> nn.Module:
    try:
        module: nn.Module = get_model(model, weights="DEFAULT")
    except (OSError, RuntimeError) as error:
        raise cannot_load(model, error) from None
    if model in WITH_AUXILIARY_HEADS:
        module.aux_logits = False  # type: ignore[assignment]  # a plain flag of these two models
        for name in ("AuxLogits", "aux1", "aux2"):
            if hasattr(module, name):
                setattr(module, name, None)
    _replace_heads(module)
    return module


def _replace_heads(module: nn.Module) -> None:
    """Replace each layer of 1,000 outputs with one of ten of the same kind: squeezenet's head is a convolution."""
    for parent in list(module.modules()):
        for name, child in parent.named_children():
            if isinstance(child, nn.Linear) and child.out_features == IMAGENET_CLASSES:
                setattr(parent, name, nn.Linear(child.in_features, CLASSES, bias=child.bias is not None))
            elif isinstance(child, nn.Conv2d) and child.out_channels == IMAGENET_CLASSES:
                setattr(parent, name, nn.Conv2d(child.in_channels, CLASSES, kernel_size=_pair(child.kernel_size)))


def _pair(sizes: tuple[int, ...]) -> tuple[int, int]:
    return sizes[0], sizes[1]


def _image_size(model: str, module: nn.Module) -> int:
    """The image size that the model is built for, or was first published with."""
    built_for = getattr(module, "image_size", None)
    if isinstance(built_for, int):
        return built_for
    first = next(iter(get_model_weights(model)), None)
    size = first.transforms().crop_size if first else [IMAGE_SIZE]
    return int(size[0])
