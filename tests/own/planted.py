"""Models on a simulated accelerator that computes one operator wrongly, and the operator that has to be named.

PYTHONPATH=tests/simulated torchlap verify tests/own/planted.py:relu_last_row --devices sim:0 --batch 16
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

Built = tuple[nn.Module, tuple[Tensor, Tensor]]
Run = Callable[[], Any]
Change = Callable[[Any, Run], Any]
"""From an operator's arguments and a function that runs it, what the accelerator computes."""

SEEN: dict[str, Any] = {}


class Planted(NamedTuple):
    """A fault: the operators that have it, what they compute, the model, and what the fault is in words."""

    operators: tuple[str, ...]
    change: Change
    model: Callable[[int], Any]
    words: str


def images(batch: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(batch, 3, 24, 24, generator=generator), torch.arange(batch) % 10


def sequences(batch: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(batch, 16, 32, generator=generator), torch.arange(batch) % 10


def words(batch: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return torch.randint(0, 50, (batch, 12), generator=generator), torch.arange(batch) % 10


def network(batch: int) -> Built:
    layers = nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2)
    head = nn.Conv2d(8, 16, 3, padding=1), nn.Flatten(), nn.Linear(16 * 12 * 12, 10)
    return nn.Sequential(*layers, *head), images(batch)


def normed(batch: int) -> Built:
    head = nn.Linear(1728, 64), nn.LayerNorm(64), nn.GELU(), nn.Dropout(0.5), nn.Linear(64, 10)
    return nn.Sequential(nn.Flatten(), *head), images(batch)


def in_bfloat16(make: Callable[[int], Built]) -> Callable[[int], Built]:
    def made(batch: int) -> Built:
        module, (inputs, targets) = make(batch)
        return module.bfloat16(), (inputs.bfloat16(), targets)

    return made


class OfSequences(nn.Module):
    """A layer, the function under test, and a head."""

    def __init__(self, middle: Callable[["OfSequences", Tensor], Tensor]) -> None:
        super().__init__()
        self.enter, self.leave, self.middle = nn.Linear(32, 32), nn.Linear(32, 10), middle
        self.table = nn.Parameter(torch.linspace(-1, 1, 64 * 32).sin().reshape(64, 32))

    def forward(self, inputs: Tensor) -> Tensor:
        result: Tensor = self.leave(self.middle(self, self.enter(inputs)).mean(1))
        return result


def of_sequences(middle: Callable[[OfSequences, Tensor], Tensor]) -> Callable[[int], Built]:
    return lambda batch: (OfSequences(middle), sequences(batch))


def attention(module: OfSequences, hidden: Tensor) -> Tensor:
    scores = hidden @ hidden.transpose(1, 2) / math.sqrt(32)
    mask = torch.full(scores.shape[-2:], -math.inf, device=hidden.device).triu(1)
    return (scores + mask).softmax(-1) @ hidden


def looked_up(batch: int) -> Built:
    class LookedUp(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table, self.leave = nn.Embedding(50, 32), nn.Linear(32, 10)

        def forward(self, ids: Tensor) -> Tensor:
            result: Tensor = self.leave(self.table(ids).mean(1))
            return result

    return LookedUp(), words(batch)


def large_weights(batch: int) -> Built:
    module, data = looked_up(batch)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.mul_(10)
    return module, data


def with_a_faint_channel(batch: int) -> Built:
    module, data = network(batch)
    with torch.no_grad():
        module.get_submodule("6").weight.view(10, 16, 144)[:, 5] *= 1e-5  # type: ignore[operator]
    return module, data


def last_row(_: Any, run: Run) -> Any:
    out = run()
    out[-1] = 0
    return out


def negated_channel(_: Any, run: Run) -> Any:
    out = run()
    if out[1].shape[0] == 16:
        out[1][5] = -out[1][5]
    return out


def after(given: list[Any], position: int, value: Any, run: Callable[..., Any]) -> Any:
    changed = list(given)
    changed[position] = value
    return run(*changed)


def overwrites(position: int) -> Change:
    def change(args: Any, run: Run) -> Any:
        out = run()
        args[position].mul_(1.5)
        return out

    return change


def adds_to_the_last(_: Any, run: Run) -> Any:
    """The first call of each shape is right; later ones add the gradient of the weight before."""
    out = run()
    name = str(out[1].shape)
    last, SEEN[name] = SEEN.get(name), out[1].clone()
    if last is not None:
        out[1].add_(last)
    return out


def noisy_later(_: Any, run: Run) -> Any:
    SEEN["calls"] = SEEN.get("calls", 0) + 1
    out = run()
    return out if SEEN["calls"] <= 2 else out + 0.5 * out.std() * torch.rand(out.shape)


def truncated(_: Any, run: Run) -> Any:
    """Wider by float32, then cut off; here the smallest step towards 0 in all elements."""
    out = run()
    return torch.where(out == 0, out, (out.float() * (1 - 2.0**-8)).bfloat16())


def wraps(args: Any, run: Run) -> Any:
    return (
        args[0].to(torch.int8).cumsum(args[1], dtype=torch.int8).to(torch.int64)
        if args[0].dtype == torch.bool
        else run()
    )


def other_experts(_: Any, run: Run) -> Any:
    values, chosen = run()
    return values, (chosen + 1) % 32


def without_small(_: Any, run: Run) -> Any:
    out = run()
    return out.masked_fill_(out < 1e-5 * out.max(), 0)


def same_half(args: Any, _: Run) -> Any:
    half = args[0].numel() // 2
    keep = torch.cat([torch.zeros(half), torch.ones(half)]).reshape(args[0].shape)
    return args[0] * keep * 2, keep.bool()


def rounded(_: Any, run: Run) -> Any:
    out = run()
    return out.bfloat16().float() if out.dtype == torch.float32 else out


def positions(module: OfSequences, hidden: Tensor) -> Tensor:
    mask = torch.ones(hidden.shape[0], 180, dtype=torch.bool, device=hidden.device)
    return hidden.sum(1, keepdim=True) + module.table[mask.cumsum(1) % 64]


def experts(module: OfSequences, hidden: Tensor) -> Tensor:
    values, chosen = hidden.softmax(-1).topk(2)
    return hidden + (module.table[chosen] * values.unsqueeze(-1)).sum(2)


def nearest(module: OfSequences, hidden: Tensor) -> Tensor:
    return hidden + module.table[(hidden @ module.table.t()).argmax(-1)]


def scaled_by_item(_: OfSequences, hidden: Tensor) -> Tensor:
    result: Tensor = hidden / hidden.detach().norm().item()
    return result


def largest(_: OfSequences, hidden: Tensor) -> Tensor:
    return hidden + hidden.detach().amax(1, keepdim=True).mean(1, keepdim=True)


def with_noise(_: OfSequences, hidden: Tensor) -> Tensor:
    return hidden + torch.randn_like(hidden)


def spectrum(module: OfSequences, hidden: Tensor) -> Tensor:
    result: Tensor = torch.fft.irfft(torch.fft.rfft(hidden, dim=1) * module.table[:9], dim=1)
    return result


ADDITION, CONVOLUTION, BACKWARD = "aten.add.Tensor", "aten.convolution.default", "aten.convolution_backward.default"
PLANTED: dict[str, Planted] = {
    "relu_last_row": Planted(("aten.relu.default",), last_row, network, "the last row of a batch is 0"),
    "cumsum_of_bool": Planted(
        ("aten.cumsum.default",), wraps, of_sequences(positions), "cumsum of a mask wraps at 127"
    ),
    "topk_indices": Planted(
        ("aten.topk.default",),
        other_experts,
        of_sequences(experts),
        "topk's indices",
    ),
    "argmax_zero": Planted(
        ("aten.argmax.default",), lambda args, run: run() * 0, of_sequences(nearest), "argmax is always 0"
    ),
    "infinity_ignored": Planted(
        (ADDITION,),
        lambda args, run: args[0].clone() if bool(torch.isinf(args[1]).any()) else run(),
        of_sequences(attention),
        "a mask of -inf is ignored",
    ),
    "infinity_of_the_other_sign": Planted(
        (ADDITION,),
        lambda args, run: run().nan_to_num(neginf=math.inf),
        of_sequences(attention),
        "+inf instead of -inf",
    ),
    "empty_triangle": Planted(
        ("aten.triu.default",), lambda args, run: run() * 0, of_sequences(attention), "triu is empty"
    ),
    "layer_norm_overwrites": Planted(
        ("aten.native_layer_norm.default",), overwrites(0), normed, "LayerNorm overwrites its input"
    ),
    "convolution_overwrites": Planted((CONVOLUTION,), overwrites(1), network, "a convolution overwrites its weight"),
    "momentum_reversed": Planted(
        ("aten.native_batch_norm.default",),
        lambda args, run: after(args, 6, 0.9, torch.ops.aten.native_batch_norm),
        network,
        "BatchNorm's momentum, reversed",
    ),
    "batch_norm_without_epsilon": Planted(
        ("aten.native_batch_norm.default",),
        lambda args, run: after(args, 7, 0.0, torch.ops.aten.native_batch_norm),
        network,
        "BatchNorm without its epsilon",
    ),
    "layer_norm_without_epsilon": Planted(
        ("aten.native_layer_norm.default",),
        lambda args, run: after(args, 4, 0.0, torch.ops.aten.native_layer_norm),
        normed,
        "LayerNorm without its epsilon",
    ),
    "frozen_large_weights": Planted(
        ("aten.addcdiv_.default",), lambda args, run: args[0], large_weights, "Adam freezes large weights"
    ),
    "small_moments_lost": Planted(
        ("aten.addcmul_.default",),
        without_small,
        network,
        "Adam's small second moments are 0",
    ),
    "faint_channel": Planted(
        (BACKWARD,), negated_channel, with_a_faint_channel, "the sign of a faint channel's gradient"
    ),
    "adds_up": Planted((BACKWARD,), adds_to_the_last, network, "a gradient that adds to the last one"),
    "noise_later": Planted((CONVOLUTION,), noisy_later, network, "noise from the second step on"),
    "same_half_dropped": Planted(
        ("aten.native_dropout.default",),
        same_half,
        normed,
        "Dropout always drops the same half",
    ),
    "noise_is_zero": Planted(
        ("aten.randn_like.default",), lambda args, run: run() * 0, of_sequences(with_noise), "randn_like is 0"
    ),
    "spectrum_half_more": Planted(
        ("aten._fft_r2c.default",), lambda args, run: run() * 1.5, of_sequences(spectrum), "a complex spectrum"
    ),
    "item": Planted(
        ("aten._local_scalar_dense.default",), lambda args, run: run() * 3, of_sequences(scaled_by_item), ".item()"
    ),
    "rounded_transfer": Planted(
        ("aten._to_copy.default", "aten.copy_.default", "aten._copy_from.default"),
        rounded,
        network,
        "values are rounded on their way to the device",
    ),
    "repeated_ids": Planted(
        ("aten.embedding_dense_backward.default",),
        lambda args, run: torch.zeros(args[2], 32).index_put((args[1].reshape(-1),), args[0].reshape(-1, 32)),
        looked_up,
        "the gradient of an embedding whose ids repeat",
    ),
    "another_shape": Planted(
        ("aten.amax.default",),
        lambda args, run: torch.cat([run(), run()], 1),
        of_sequences(largest),
        "a result of another shape",
    ),
    "truncated_bfloat16": Planted(
        ("aten.gelu.default",), truncated, in_bfloat16(normed), "bfloat16 cut off instead of rounded"
    ),
    "norm_gradient_bfloat16": Planted(
        ("aten.native_layer_norm_backward.default",),
        lambda args, run: tuple(value * 1.01 for value in run()),
        in_bfloat16(normed),
        "a gradient off by 1% in bfloat16",
    ),
}


def build(fault: Planted) -> Callable[[int], Any]:
    """A function that breaks the accelerator and builds the model."""

    def built(batch: int) -> Any:
        import simulated_accelerator  # noqa: PLC0415  torch loads it first, as a device

        SEEN.clear()
        simulated_accelerator.FAULTY = ",".join(fault.operators)
        simulated_accelerator.PLANTED = lambda op, args, kwargs: fault.change(args, lambda: op(*args, **kwargs))
        torch.manual_seed(0)
        return fault.model(batch)

    return built


def __getattr__(name: str) -> Callable[[int], Any]:
    """A function that breaks the accelerator and builds the model."""
    if name not in PLANTED:
        raise AttributeError(name)
    return build(PLANTED[name])
