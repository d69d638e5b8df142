"""Right but unusual models: a check must not accuse them."""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint
from torchvision.models import VisionTransformer

Batch = tuple[Tensor, Tensor]
Built = tuple[nn.Module, Batch]
Forward = Callable[["Model", Tensor], Tensor]
WIDTH, LENGTH, CLASSES, WORDS = 32, 12, 10, 50


class Model(nn.Module):
    """Modules, a table of parameters, and a function that uses them."""

    def __init__(self, forward: Forward, *modules: nn.Module) -> None:
        super().__init__()
        self.parts, self.function = nn.ModuleList(modules), forward
        self.table = nn.Parameter(torch.randn(WIDTH, CLASSES) / math.sqrt(WIDTH))

    def forward(self, inputs: Tensor) -> Tensor:
        hidden = self.function(self, inputs)
        return hidden.flatten(1)[:, :WIDTH] @ self.table


def sequences(batch: int) -> Batch:
    return torch.randn(batch, LENGTH, WIDTH), torch.arange(batch) % CLASSES


def images(batch: int) -> Batch:
    return torch.randn(batch, 3, 24, 24), torch.arange(batch) % CLASSES


def words(batch: int) -> Batch:
    return torch.randint(0, WORDS, (batch, LENGTH)), torch.arange(batch) % CLASSES


def through_blocks(model: Model, ids: Tensor) -> Tensor:
    enter, blocks, norm = model.parts
    mask = nn.Transformer.generate_square_subsequent_mask(LENGTH, device=ids.device)
    hidden: Tensor = norm(blocks(enter(ids), mask=mask)).mean(1)
    return hidden


def layer() -> nn.TransformerEncoderLayer:
    return nn.TransformerEncoderLayer(WIDTH, 4, 64, dropout=0.1, batch_first=True, norm_first=True)


def through_attention(model: Model, inputs: Tensor) -> Tensor:
    query, key, value = model.parts[0](inputs).view(*inputs.shape[:2], 3, 4, 8).permute(2, 0, 3, 1, 4)
    attended = functional.scaled_dot_product_attention(query, key, value, is_causal=True)
    return attended.transpose(1, 2).flatten(2).mean(1)


def changed_in_place(model: Model, inputs: Tensor) -> Tensor:
    hidden: Tensor = model.parts[0](inputs[:, 0]).clone()
    hidden.mul_(2).add_(1)
    hidden[:, :5] = 0
    return hidden


def through_scatter(model: Model, inputs: Tensor) -> Tensor:
    hidden = model.parts[0](inputs[:, 0])
    index = torch.arange(WIDTH, device=hidden.device).flip(0).expand_as(hidden)
    result: Tensor = torch.zeros_like(hidden).scatter_add(1, index, hidden) + hidden.gather(1, index)
    return result


def through_sorts(model: Model, inputs: Tensor) -> Tensor:
    hidden = model.parts[0](inputs[:, 0]).relu()  # many ties
    result: Tensor = hidden.sort(-1)[0] + hidden.topk(WIDTH)[0] + hidden.gather(1, hidden.argsort(-1))
    return result


def through_a_mask(model: Model, inputs: Tensor) -> Tensor:
    scores = model.parts[0](inputs) @ inputs.transpose(1, 2)
    mask = torch.full(scores.shape[-2:], -math.inf, device=scores.device).triu(1)
    result: Tensor = ((scores + mask).softmax(-1) @ inputs).mean(1)
    return result


def through_a_spectrum(_: Model, inputs: Tensor) -> Tensor:
    result: Tensor = torch.fft.irfft(torch.fft.rfft(inputs, dim=1) * 0.5, dim=1).mean(1)
    return result


def through_tied_weights(model: Model, inputs: Tensor) -> Tensor:
    (enter,) = model.parts
    assert isinstance(enter, nn.Linear)
    return functional.linear(torch.tanh(enter(inputs[:, 0])), enter.weight.t())


class Complex(nn.Module):
    """A product with a complex weight."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(WIDTH, WIDTH, dtype=torch.complex64) / WIDTH)

    def forward(self, inputs: Tensor) -> Tensor:
        return torch.view_as_real(inputs[:, 0].to(torch.complex64) @ self.weight).flatten(1)


MODELS: dict[str, Callable[[int], Built]] = {
    "gpt": lambda batch: (
        Model(
            through_blocks,
            nn.Embedding(WORDS, WIDTH),
            nn.TransformerEncoder(layer(), 1, enable_nested_tensor=False),
            nn.LayerNorm(WIDTH),
        ),
        words(batch),
    ),
    "lstm": lambda batch: (
        Model(lambda m, x: m.parts[0](x)[0][:, -1], nn.LSTM(WIDTH, WIDTH, 2, batch_first=True)),
        sequences(batch),
    ),
    "gru": lambda batch: (
        Model(lambda m, x: m.parts[0](x)[0][:, -1], nn.GRU(WIDTH, WIDTH, batch_first=True)),
        sequences(batch),
    ),
    "attention": lambda batch: (Model(through_attention, nn.Linear(WIDTH, 3 * WIDTH)), sequences(batch)),
    "masked": lambda batch: (Model(through_a_mask, nn.Linear(WIDTH, WIDTH)), sequences(batch)),
    "group_norm": lambda batch: (
        Model(lambda m, x: m.parts[0](x), nn.Sequential(nn.Conv2d(3, 8, 3), nn.GroupNorm(2, 8), nn.SiLU())),
        images(batch),
    ),
    "checkpointed": lambda batch: (
        Model(
            lambda m, x: checkpoint(m.parts[0], x[:, 0], use_reentrant=False),
            nn.Sequential(nn.Linear(WIDTH, 64), nn.GELU(), nn.Linear(64, WIDTH)),
        ),
        sequences(batch),
    ),
    "embedding": lambda batch: (Model(lambda m, x: m.parts[0](x).mean(1), nn.Embedding(WORDS, WIDTH)), words(batch)),
    "spectral": lambda batch: (Model(through_a_spectrum), sequences(batch)),
    "scattered": lambda batch: (Model(through_scatter, nn.Linear(WIDTH, WIDTH)), sequences(batch)),
    "ordered": lambda batch: (Model(through_sorts, nn.Linear(WIDTH, WIDTH)), sequences(batch)),
    "in_place": lambda batch: (Model(changed_in_place, nn.Linear(WIDTH, WIDTH)), sequences(batch)),
    "einsum": lambda batch: (
        Model(lambda _, x: torch.einsum("bti,btj->bij", x, x).mean(1)),
        sequences(batch),
    ),
    "dropouts": lambda batch: (
        Model(
            lambda m, x: m.parts[0](x),
            nn.Sequential(nn.Conv2d(3, 8, 3), nn.Dropout2d(0.3), nn.AlphaDropout(0.2), nn.Dropout(0.5)),
        ),
        images(batch),
    ),
    "transposed": lambda batch: (
        Model(
            lambda m, x: m.parts[0](x),
            nn.Sequential(
                nn.Conv2d(3, 6, 3, stride=2, dilation=2, groups=3, padding=2), nn.ConvTranspose2d(6, 4, 3, stride=2)
            ),
        ),
        images(batch),
    ),
    "large_mean": lambda batch: (
        Model(lambda m, x: m.parts[0](x + 1000), nn.Sequential(nn.BatchNorm2d(3), nn.Conv2d(3, 8, 3))),
        images(batch),
    ),
    "tied": lambda batch: (Model(through_tied_weights, nn.Linear(WIDTH, 2 * WIDTH)), sequences(batch)),
    "complex_weight": lambda batch: (Model(lambda m, x: m.parts[0](x), Complex()), sequences(batch)),
    "small_vit": lambda batch: (
        VisionTransformer(24, 8, 1, 4, WIDTH, 2 * WIDTH, dropout=0.1, num_classes=CLASSES),
        images(batch),
    ),
}
"""By name."""


def __getattr__(name: str) -> Callable[[int], Built]:
    if name not in MODELS:
        raise AttributeError(name)
    return MODELS[name]
