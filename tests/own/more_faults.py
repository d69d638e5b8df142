"""More faults of single operators, planted as in `planted.py`: of layers, of optimizers, and of random numbers.

PYTHONPATH=tests/simulated torchlap verify tests/own/more_faults.py:pool_edge --devices sim:0 --batch 16
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import planted
import torch
from planted import SEEN, Planted, Run, images, in_bfloat16, of_sequences, overwrites, sequences, words
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


def bucketed(module: Any, hidden: Tensor) -> Tensor:
    borders = torch.linspace(-2, 2, 20, device=hidden.device)
    return hidden + module.table[torch.bucketize(hidden.detach(), borders)[..., 0]]


def ranked(module: Any, hidden: Tensor) -> Tensor:
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
    def backward(ctx: Any, grad: Tensor) -> Tensor:  # type: ignore[override]
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


CONVOLUTION, GRADIENTS = "aten.convolution.default", "aten.convolution_backward.default"
ADAM = partial(torch.optim.Adam, lr=1e-3)
SEPARATE = fresh(lambda: (nn.Conv2d(3, 6, 3), nn.Conv2d(6, 12, 3, groups=6)))
FAULTS: dict[str, Planted] = {
    "transposed_edge": Planted(
        (CONVOLUTION,),
        lambda args, run: changed_result(0, zero(..., -1))(args, run) if args[6] else run(),
        fresh(lambda: (nn.ConvTranspose2d(3, 6, 3, stride=2, output_padding=1),)),
        "the last column of a transposed convolution",
    ),
    "dilation": Planted(
        (CONVOLUTION,), half_padded, fresh(lambda: (nn.Conv2d(3, 8, 3, padding=2, dilation=2),)), "dilation is ignored"
    ),
    "groups_mixed": Planted((GRADIENTS,), rolled_groups, SEPARATE, "the weight gradients of groups are exchanged"),
    "one_channel": Planted(
        (CONVOLUTION,),
        changed_result(0, scaled((slice(None), 5), 1.01)),
        fresh(lambda: (nn.Conv2d(3, 8, 3),)),
        "one channel off by 1%",
    ),
    "pool_edge": Planted(
        ("aten.max_pool2d_with_indices.default",),
        changed_result(0, zero(..., -1)),
        fresh(lambda: (nn.Conv2d(3, 8, 3), nn.MaxPool2d(3, 2, ceil_mode=True))),
        "ceil_mode: the last column",
    ),
    "pool_indices": Planted(
        ("aten.max_pool2d_with_indices.default",),
        largest_of_tail,
        fresh(lambda: (nn.Conv2d(3, 8, 3), nn.MaxPool2d(2))),
        "the indices of a pooling",
    ),
    "pool_padding": Planted(
        ("aten.avg_pool2d.default",),
        lambda args, run: ATEN.avg_pool2d(*args[:4], False, False),
        fresh(lambda: (nn.Conv2d(3, 8, 3), nn.AvgPool2d(3, 2, padding=1))),
        "an average without the padding",
    ),
    "adaptive_pool": Planted(
        ("aten._adaptive_avg_pool2d_backward.default",),
        changed_result(0, lambda values: values.roll(1, -1)),
        fresh(lambda: (nn.Conv2d(3, 8, 3), nn.AdaptiveAvgPool2d(5))),
        "the gradient of an uneven pooling",
    ),
    "group_norm_gradient": Planted(
        ("aten.native_group_norm_backward.default",),
        changed_result(1, zero(slice(4, None))),
        fresh(lambda: (nn.Conv2d(3, 8, 3), nn.GroupNorm(2, 8))),
        "GroupNorm's weight gradient of the last group",
    ),
    "layer_norm_bias": Planted(
        ("aten.native_layer_norm_backward.default",),
        lambda args, run: (*run()[:2], args[0].reshape(-1, 64)[:-1].sum(0)),
        planted.normed,
        "LayerNorm's bias gradient without the last row",
    ),
    "layer_norm_weight_bfloat16": Planted(
        ("aten.native_layer_norm_backward.default",),
        changed_result(1, scaled(3, 1.5)),
        in_bfloat16(planted.normed),
        "LayerNorm's weight gradient of one column, in bfloat16",
    ),
    "rms_norm": Planted(
        ("aten.rsqrt.default", "aten._fused_rms_norm.default"),
        changed_result(0, lambda values: values * (1 + 2e-4)),
        of_sequences(root_mean_square),
        "RMSNorm off by 0.02%",
    ),
    "bag": Planted(("aten._embedding_bag.default",), changed_result(0, zero(-1)), bags, "the last bag of embeddings"),
    "padding_has_gradient": Planted(
        ("aten.embedding_dense_backward.default",), of_padding, padded_words, "the gradient of padding"
    ),
    "scatter_add": Planted(
        ("aten.scatter_add.default",), unsorted_add, of_sequences(scattered), "scatter_add, where positions repeat"
    ),
    "gather_gradient": Planted(
        ("aten.scatter_add.default", "aten.scatter_add_.default"),
        lambda args, run: args[0].scatter_(args[1], args[2], args[3]),
        of_sequences(picked),
        "the gradient of gather, where positions repeat",
    ),
    "bucket": Planted(
        ("aten.bucketize.Tensor",), lambda args, run: (run() - 1).clamp(0), of_sequences(bucketed), "bucketize"
    ),
    "order": Planted(("aten.sort.stable",), largest_of_tail, of_sequences(ranked), "the indices of sort"),
    "condition": Planted(
        ("aten.gt.Scalar",), lambda args, run: args[0] >= -0.01, of_sequences(chosen), "a comparison's border"
    ),
    "where_bfloat16": Planted(
        ("aten.where.ScalarOther", "aten.where.self"),
        changed_result(0, scaled(-1, 1.02)),
        in_bfloat16(of_sequences(chosen)),
        "where, the last row in bfloat16",
    ),
    "computed_again": Planted(
        ("aten.gelu.default",), recomputed, of_sequences(in_checkpoint), "an operator that is computed again"
    ),
    "views": Planted(
        ("aten.mul_.Tensor", "aten.mul_.Scalar"), nothing_in_place, of_sequences(changed_views), "in-place on a view"
    ),
    "empty": Planted(
        ("aten.sum.default",),
        lambda args, run: run() if args[0].numel() else run() + 1,
        of_sequences(none_chosen),
        "the sum of no elements",
    ),
    "strided": Planted(("aten.bmm.default",), of_strided, of_sequences(transposed), "bmm of a transposed matrix"),
    "not_a_number": Planted(
        ("aten.log.default",), lambda args, run: run().nan_to_num(neginf=-100.0), of_sequences(log_of_zero), "log of 0"
    ),
    "roll": Planted(
        ("aten.roll.default",), lambda args, run: args[0].roll(-3, 1), of_sequences(rolled), "roll the other way"
    ),
    "cumulated_bfloat16": Planted(
        ("aten.cumsum.default",),
        changed_result(0, scaled((slice(None), -1), 1.03)),
        in_bfloat16(of_sequences(sums_to)),
        "the end of a cumsum, in bfloat16",
    ),
    "imaginary": Planted(
        ("aten.mm.default", "aten.bmm.default"),
        lambda args, run: run().conj().resolve_conj() if args[0].is_complex() else run(),
        of_sequences(complex_product),
        "the sign of an imaginary part",
    ),
    "lstm": Planted(
        ("aten.sigmoid_backward.default",), overwrites(0), of_sequences(recurrent), "an LSTM's gradient overwrites"
    ),
    "lstm_bfloat16": Planted(
        ("aten.tanh_backward.default",),
        lambda args, run: run() * 1.02,
        in_bfloat16(of_sequences(recurrent)),
        "an LSTM's gradient off by 2%, in bfloat16",
    ),
    "softmax_bfloat16": Planted(
        ("aten._softmax_backward_data.default",),
        lambda args, run: run() * 0.98,
        in_bfloat16(of_sequences(attending)),
        "the gradient of softmax off by 2%, in bfloat16",
    ),
    "mask_repeats": Planted(("aten.native_dropout.default",), repeats, planted.normed, "Dropout's mask repeats"),
    "weight_decay": Planted(
        ("aten.add.Tensor",),
        lambda args, run: args[0].clone(),
        trained_by(partial(torch.optim.Adam, lr=1e-3, weight_decay=1e-2)),
        "Adam without weight decay",
    ),
    "weight_decay_small": Planted(
        ("aten.mul_.Tensor",),
        lambda args, run: args[0] if isinstance(args[1], float) and args[1] > 0.9999 else run(),
        trained_by(partial(torch.optim.AdamW, lr=1e-4, weight_decay=1e-2)),
        "AdamW without weight decay of a millionth",
    ),
    "momentum_forgotten": Planted(
        ("aten.mul_.Tensor",),
        lambda args, run: args[0].zero_() if args[1] == 0.9 else run(),
        trained_by(partial(torch.optim.SGD, lr=1e-2, momentum=0.9)),
        "SGD forgets its momentum",
    ),
    "moments_forgotten": Planted(
        ("aten.lerp_.Scalar",), only_new, trained_by(ADAM), "Adam forgets its first moment from the second step on"
    ),
    "last_of_list": Planted(
        ("aten._foreach_addcdiv_.ScalarList",),
        first_of_list,
        trained_by(partial(torch.optim.Adam, lr=1e-3, foreach=True)),
        "the last parameter of a list",
    ),
    "clipped": Planted(
        ("aten.linalg_vector_norm.default", "aten._foreach_norm.Scalar"),
        changed_result(0, lambda values: values * 0.9),
        trained_by(ADAM, clip=0.01),
        "the norm by which gradients are clipped",
    ),
    "smoothed_labels": Planted(
        ("aten._log_softmax_backward_data.default",),
        changed_result(0, lambda values: values + 1e-3),
        lambda batch: (*planted.normed(batch), partial(functional.cross_entropy, label_smoothing=0.1)),
        "the gradient of a loss with smoothed labels",
    ),
    "infinite_scores": Planted(
        ("aten._softmax.default",),
        lambda args, run: run() if not bool(torch.isinf(args[0]).any()) else args[0].clamp(min=-5.0).softmax(-1),
        of_sequences(planted.attention),
        "softmax takes -inf for a number",
    ),
    "resized": Planted(
        ("aten.upsample_bilinear2d_backward.default",),
        changed_result(0, zero(..., -1, slice(None))),
        fresh(lambda: (nn.Conv2d(3, 8, 3), nn.Upsample(scale_factor=2, mode="bilinear"), nn.AvgPool2d(2))),
        "the last row of a resized image's gradient",
    ),
}


def __getattr__(name: str) -> Any:
    """A function that breaks the accelerator and builds the model."""
    if name not in FAULTS:
        raise AttributeError(name)
    return planted.build(FAULTS[name])
