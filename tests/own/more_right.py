"""More right but unusual models, as in `right.py`: a check must not accuse them."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from right import CLASSES, LENGTH, WIDTH, WORDS, Built, Model, images, sequences, words
from torch import Tensor, nn
from torch.nn import functional


def of_sequences(batch: int, function: Callable[[Model, Tensor], Tensor], *modules: nn.Module) -> Built:
    return Model(function, *(modules or (nn.Linear(WIDTH, WIDTH),))), sequences(batch)


class Reversed(torch.autograd.Function):
    """Reverses the gradient, as adversarial training does."""

    @staticmethod
    def forward(ctx: Any, inputs: Tensor) -> Tensor:
        return inputs.view_as(inputs)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return -grad


def with_a_hook(model: Model, inputs: Tensor) -> Tensor:
    hidden = model.parts[0](inputs[:, 0])
    hidden.register_hook(lambda gradient: 0.5 * gradient)
    return torch.tanh(hidden)


def through_views(model: Model, inputs: Tensor) -> Any:
    hidden = model.parts[0](inputs)
    changed = hidden.clone()
    changed.transpose(0, 1)[2:5].mul_(2.0)
    changed[:, ::2].add_(1.0)
    changed.view(-1)[::7] = 0.0
    return changed.mean(1)


def through_nothing(model: Model, inputs: Tensor) -> Any:
    hidden = model.parts[0](inputs[:, 0])
    none = hidden[hidden[:, 0] > 1e9]
    return hidden + none.sum(0) + torch.cat([none, hidden]).mean(0)


def turned(model: Model, inputs: Tensor) -> Tensor:
    """Rotary positions by complex numbers."""
    pairs = torch.view_as_complex(model.parts[0](inputs).reshape(*inputs.shape[:2], WIDTH // 2, 2))
    angles = torch.outer(torch.arange(LENGTH, device=inputs.device), 0.1 ** torch.linspace(0, 4, WIDTH // 2).to(inputs))
    return torch.view_as_real(pairs * torch.polar(torch.ones_like(angles), angles)).flatten(2).mean(1)


def gated(model: Model, inputs: Tensor) -> Any:
    left, right = model.parts[0](inputs).chunk(2, -1)
    return (functional.silu(left) * right).mean(1)


def balanced(model: Model, inputs: Tensor) -> Any:
    """Sinkhorn's iterations."""
    scores = model.parts[0](inputs) @ inputs.transpose(1, 2)
    for _ in range(3):
        scores = scores - scores.logsumexp(-1, keepdim=True)
        scores = scores - scores.logsumexp(-2, keepdim=True)
    return (scores.exp() @ inputs).mean(1)


def to_experts(model: Model, inputs: Tensor) -> Tensor:
    """Some experts have no item."""
    hidden = inputs[:, 0]
    chosen = model.parts[0](hidden)[:, :8].argmax(-1)
    out = torch.zeros_like(hidden)
    for number, expert in enumerate(model.parts[1:]):
        places = (chosen == number).nonzero()[:, 0]
        out = out.index_add(0, places, torch.tanh(expert(hidden[places])))
    return out + hidden


def penalized(model: Model, inputs: Tensor) -> Tensor:
    hidden = inputs[:, 0].detach().requires_grad_()
    (gradient,) = torch.autograd.grad(torch.tanh(model.parts[0](hidden)).sum(), hidden, create_graph=True)
    result: Tensor = gradient + hidden
    return result


def expanded(model: Model, inputs: Tensor) -> Any:
    hidden = model.parts[0](inputs[:, 0])
    return hidden + hidden.mean(0).expand(16, WIDTH).t().expand(LENGTH, WIDTH, 16).sum((0, 2))


def nearest(model: Model, inputs: Tensor) -> Any:
    hidden = model.parts[0](inputs[:, 0])
    codes = model.table.t()[:, :WIDTH]
    code = codes[torch.cdist(hidden, codes).argmin(-1)]
    return hidden + (code - hidden).detach() + 0.1 * code


def quantiles(model: Model, inputs: Tensor) -> Any:
    hidden = model.parts[0](inputs)
    return hidden.median(1)[0] + hidden.kthvalue(3, 1)[0] + hidden.quantile(0.3, 1)


def padded_attention(model: Model, inputs: Tensor) -> Any:
    padding = torch.arange(LENGTH, device=inputs.device).expand(len(inputs), LENGTH) > LENGTH - 4
    return model.parts[0](inputs, inputs, inputs, key_padding_mask=padding)[0].mean(1)


def by_cells(model: Model, inputs: Tensor) -> Tensor:
    state = inputs.new_zeros(len(inputs), WIDTH)
    for step in inputs.unbind(1):
        state = model.parts[0](step, state)
    return state


def in_bfloat16_inside(model: Model, inputs: Tensor) -> Any:
    return model.parts[0](inputs).bfloat16().softmax(-1).float().mean(1)


def trained_by(optimizer: Any, **more: Any) -> Callable[[int], Any]:
    def built(batch: int) -> Any:
        inputs, targets = sequences(batch)
        module = nn.Sequential(nn.Linear(WIDTH, 64), nn.Tanh(), nn.Linear(64, CLASSES))
        return module, (inputs.mean(1), targets), {"optimizer": optimizer, **more}

    return built


OPTIM = torch.optim
MODELS: dict[str, Callable[[int], Any]] = {
    "reversed": lambda batch: of_sequences(batch, lambda m, x: torch.tanh(Reversed.apply(m.parts[0](x[:, 0])))),
    "hooked": lambda batch: of_sequences(batch, with_a_hook),
    "views": lambda batch: of_sequences(batch, through_views),
    "nothing_chosen": lambda batch: of_sequences(batch, through_nothing),
    "rotary": lambda batch: of_sequences(batch, turned),
    "glu": lambda batch: of_sequences(batch, gated, nn.Linear(WIDTH, 2 * WIDTH)),
    "sinkhorn": lambda batch: of_sequences(batch, balanced),
    "experts": lambda batch: of_sequences(batch, to_experts, *(nn.Linear(WIDTH, WIDTH) for _ in range(5))),
    "second_derivative": lambda batch: of_sequences(batch, penalized),
    "broadcast": lambda batch: of_sequences(batch, expanded),
    "codebook": lambda batch: of_sequences(batch, nearest),
    "ranks": lambda batch: of_sequences(batch, quantiles),
    "padded": lambda batch: of_sequences(batch, padded_attention, nn.MultiheadAttention(WIDTH, 4, batch_first=True)),
    "cells": lambda batch: of_sequences(batch, by_cells, nn.GRUCell(WIDTH, WIDTH)),
    "mixed_types": lambda batch: of_sequences(batch, in_bfloat16_inside),
    "rms_norm": lambda batch: of_sequences(batch, lambda m, x: m.parts[0](x * 100).mean(1), nn.RMSNorm(WIDTH)),
    "bag_weights": lambda batch: (
        Model(
            lambda m, x: m.parts[0](x, per_sample_weights=torch.linspace(0, 1, LENGTH).to(m.table).expand(x.shape)),
            nn.EmbeddingBag(WORDS, WIDTH, mode="sum"),
        ),
        words(batch),
    ),
    "volume": lambda batch: (
        Model(lambda m, x: m.parts[0](x.unsqueeze(2)), nn.Sequential(nn.Conv3d(3, 4, (1, 3, 3)), nn.BatchNorm3d(4))),
        images(batch),
    ),
    "resized": lambda batch: (
        Model(
            lambda m, x: functional.interpolate(m.parts[0](x), scale_factor=1.5, mode="bilinear"), nn.Conv2d(3, 4, 3)
        ),
        images(batch),
    ),
    "weight_norm": lambda batch: of_sequences(
        batch, lambda m, x: m.parts[0](x).mean(1), nn.utils.parametrizations.weight_norm(nn.Linear(WIDTH, WIDTH))
    ),
    "huge": lambda batch: of_sequences(batch, lambda m, x: m.parts[0](x * 1e15).mean(1) * 1e-15),
    "tiny": lambda batch: of_sequences(batch, lambda m, x: (m.parts[0](x * 1e-18) * 1e18).mean(1)),
    "sgd_momentum": trained_by(partial(OPTIM.SGD, lr=0.1, momentum=0.9, nesterov=True, weight_decay=1e-4)),
    "adamw_amsgrad": trained_by(partial(OPTIM.AdamW, lr=1e-4, amsgrad=True), clip=0.1),
    "rprop": trained_by(OPTIM.Rprop),
    "rmsprop": trained_by(partial(OPTIM.RMSprop, centered=True, momentum=0.5)),
    "adagrad": trained_by(OPTIM.Adagrad),
    "adadelta": trained_by(OPTIM.Adadelta),
    "nadam": trained_by(OPTIM.NAdam),
    "radam": trained_by(OPTIM.RAdam),
    "adamax": trained_by(OPTIM.Adamax),
    "asgd": trained_by(OPTIM.ASGD),
    "adafactor": trained_by(OPTIM.Adafactor),
    "tiny_rate": trained_by(partial(OPTIM.SGD, lr=1e-9)),
    "label_smoothing": lambda batch: (*of_sequences(batch, lambda m, x: m.parts[0](x[:, 0])), smoothed),
}
"""By name."""


def smoothed(outputs: Tensor, targets: Tensor) -> Tensor:
    ignored = torch.where(targets == 1, -100, targets)
    return functional.cross_entropy(outputs * math.pi, ignored, label_smoothing=0.1)


def __getattr__(name: str) -> Callable[[int], Any]:
    if name not in MODELS:
        raise AttributeError(name)
    return MODELS[name]
