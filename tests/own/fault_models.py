"""Models of `more_faults.py`, and what its faults compute."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from planted import SEEN, Run, images, in_bfloat16, sequences, words
from torch import Tensor, nn
from torch.nn import functional

ATEN = torch.ops.aten
Model = Callable[[int], Any]


def of_images(*layers: nn.Module, bfloat16: bool = False) -> Model:
    """A network of these layers for small images."""

    def built(batch: int) -> Any:
        inputs, targets = images(batch)
        network = nn.Sequential(*layers, nn.Flatten(), nn.LazyLinear(10))
        network(inputs)
        return network, (inputs, targets)

    return in_bfloat16(built) if bfloat16 else built


def fresh(make: Callable[[], Sequence[nn.Module]], *, bfloat16: bool = False) -> Model:
    """As `of_images`, with new layers each time."""

    def built(batch: int) -> Any:
        return of_images(*make(), bfloat16=bfloat16)(batch)

    return built


def trained_by(optimizer: Any, **more: Any) -> Model:
    """A small network with that optimizer."""

    def built(batch: int) -> Any:
        inputs, targets = sequences(batch)
        network = nn.Sequential(nn.Linear(32, 64), nn.Tanh(), nn.Linear(64, 10))
        return network, (inputs.mean(1), targets), {"optimizer": optimizer, **more}

    return built


def changed_result(number: int, change: Callable[[Tensor], object]) -> Any:
    """A fault of one result."""

    def fault(_: Any, run: Run) -> Any:
        out = run()
        results = list(out) if isinstance(out, tuple | list) else [out]
        if results[number] is not None:
            changed = change(results[number])
            results[number] = changed if isinstance(changed, Tensor) else results[number]
        return tuple(results) if isinstance(out, tuple | list) else results[0]

    return fault


def zero(*index: Any) -> Callable[[Tensor], None]:
    def change(values: Tensor) -> None:
        values[index] = 0

    return change


def scaled(index: Any, factor: float) -> Callable[[Tensor], None]:
    def change(values: Tensor) -> None:
        values[index] *= factor

    return change


def half_padded(args: Any, run: Run) -> Any:
    """A convolution that ignores its dilation."""
    if args[5] == [1, 1]:
        return run()
    return ATEN.convolution(*args[:4], [1, 1], [1, 1], *args[6:])


def unsorted_add(args: Any, _: Run) -> Tensor:
    """Of equal positions, the last one counts."""
    result: Tensor = args[0].scatter(args[1], args[2], args[3])
    return result


def repeats(args: Any, run: Run) -> Any:
    """The first mask of a shape comes again and again."""
    _, mask = run()
    mask = SEEN.setdefault(str(mask.shape), mask)
    return args[0] * mask / (1 - args[1]), mask


def of_padding(args: Any, _: Run) -> Any:
    return ATEN.embedding_dense_backward(args[0], args[1], args[2], -1, args[4])


def first_of_list(args: Any, run: Run) -> Any:
    """The last tensor of a list is left as it was."""
    kept = args[0][-1].clone()
    run()
    args[0][-1].copy_(kept)


def rolled_groups(_: Any, run: Run) -> Any:
    grad, weight, bias = run()
    return grad, weight.roll(1, 0), bias


def recomputed(_: Any, run: Run) -> Any:
    """Right in the forward pass; off by 2% when it is computed again."""
    SEEN["calls"] = SEEN.get("calls", 0) + 1
    return run() if SEEN["calls"] == 1 else run() * 1.02


def of_strided(args: Any, run: Run) -> Any:
    """Wrong for an argument that is not contiguous."""
    return run() if all(value.is_contiguous() for value in args if isinstance(value, Tensor)) else run() * 1.1


def nothing_in_place(args: Any, run: Run) -> Any:
    """Does nothing to a view."""
    return run() if args[0].is_contiguous() else args[0]


def only_new(args: Any, _: Run) -> Any:
    """Forgets the value before: right in a first step, where that is 0."""
    return args[0].copy_(args[1] * args[2])


def padded_words(batch: int) -> Any:
    module = nn.Sequential(nn.Embedding(50, 32, padding_idx=0), nn.Flatten(), nn.Linear(12 * 32, 10))
    ids, targets = words(batch)
    ids[:, -3:] = 0
    return module, (ids, targets)


def bags(batch: int) -> Any:
    return nn.Sequential(nn.EmbeddingBag(50, 32, mode="mean"), nn.Linear(32, 10)), words(batch)


def recurrent(_: Any, hidden: Tensor) -> Tensor:
    """The gates of an LSTM."""
    state = torch.zeros_like(hidden[:, 0, :8])
    states = []
    for inputs in hidden.unbind(1):
        enter, forget, leave, new = inputs.chunk(4, -1)
        state = forget.sigmoid() * state + enter.sigmoid() * new.tanh()
        states.append(torch.cat([leave.sigmoid() * state.tanh()] * 4, -1))
    return torch.stack(states, 1)


def attending(_: Any, hidden: Tensor) -> Tensor:
    return (hidden @ hidden.transpose(1, 2)).softmax(-1) @ hidden


def scattered(_: Any, hidden: Tensor) -> Tensor:
    places = torch.arange(32, device=hidden.device) % 8
    return torch.zeros_like(hidden).scatter_add(2, places.expand_as(hidden), hidden)


def picked(_: Any, hidden: Tensor) -> Tensor:
    places = torch.arange(32, device=hidden.device) % 4
    return hidden.gather(2, places.expand_as(hidden))


def bucketed(module: Any, hidden: Tensor) -> Any:
    borders = torch.linspace(-2, 2, 20, device=hidden.device)
    return hidden + module.table[torch.bucketize(hidden.detach(), borders)[..., 0]]


def ranked(module: Any, hidden: Tensor) -> Any:
    return hidden + module.table[hidden.detach()[..., 0].argsort(dim=1, stable=True)]


def chosen(_: Any, hidden: Tensor) -> Tensor:
    return torch.where(hidden > 0, hidden, 0.1 * hidden)


class Again(torch.autograd.Function):
    """Computes its forward pass again in the backward pass, as a checkpoint does."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor) -> Tensor:
        ctx.save_for_backward(hidden)
        return functional.gelu(hidden)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        hidden = ctx.saved_tensors[0].detach().requires_grad_()
        with torch.enable_grad():
            out = functional.gelu(hidden)
        return torch.autograd.grad(out, hidden, grad)[0]


def in_checkpoint(_: Any, hidden: Tensor) -> Tensor:
    result: Tensor = Again.apply(hidden)
    return result


def changed_views(_: Any, hidden: Tensor) -> Tensor:
    changed = hidden.clone()
    changed[:, :, 3:20].mul_(2.0)
    return changed


def none_chosen(_: Any, hidden: Tensor) -> Tensor:
    return hidden + hidden[:0].sum()


def transposed(_: Any, hidden: Tensor) -> Tensor:
    return hidden @ hidden.transpose(1, 2) @ hidden


def log_of_zero(_: Any, hidden: Tensor) -> Tensor:
    return hidden + hidden.detach().relu().log().exp()


def root_mean_square(_: Any, hidden: Tensor) -> Tensor:
    return functional.rms_norm(hidden, (32,), eps=1e-2)


def rolled(_: Any, hidden: Tensor) -> Tensor:
    return hidden + hidden.roll(3, 1)


def sums_to(_: Any, hidden: Tensor) -> Tensor:
    return hidden + hidden.cumsum(1) / 16


def complex_product(module: Any, hidden: Tensor) -> Tensor:
    left = torch.complex(hidden, hidden.flip(1))
    right = torch.complex(module.table[:32], module.table[32:])
    return (left @ right).abs()


def largest_of_tail(_: Any, run: Run) -> Any:
    values, places = run()
    return values, places.roll(1, -1)
