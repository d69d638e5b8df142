"""More faults of single operators, planted as in `planted.py`: of layers, of optimizers, and of random numbers.

PYTHONPATH=tests/simulated torchlap verify tests/own/more_faults.py:pool_edge --devices sim:0 --batch 16
"""

from functools import partial
from typing import Any

import planted
import torch
from fault_models import (
    ATEN,
    attending,
    bags,
    bucketed,
    changed_result,
    changed_views,
    chosen,
    complex_product,
    first_of_list,
    fresh,
    half_padded,
    in_checkpoint,
    largest_of_tail,
    log_of_zero,
    none_chosen,
    nothing_in_place,
    of_padding,
    of_strided,
    only_new,
    padded_words,
    picked,
    ranked,
    recomputed,
    recurrent,
    repeats,
    rolled,
    rolled_groups,
    root_mean_square,
    scaled,
    scattered,
    sums_to,
    trained_by,
    transposed,
    unsorted_add,
    zero,
)
from planted import Planted, in_bfloat16, of_sequences, overwrites
from torch import nn
from torch.nn import functional

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
