"""Fused attention in plain operators, so that each device's kernel has a reference; without dropout."""

from math import inf, sqrt
from typing import Any

import torch
from torch import Tensor

from torchlap.worker.numerics.axes import Arguments, Piece, axis
from torchlap.worker.numerics.operator_calls import Operator, arguments_by_name

FORWARD = (
    "_scaled_dot_product_flash_attention",
    "_scaled_dot_product_flash_attention_for_cpu",
    "_scaled_dot_product_efficient_attention",
    "_scaled_dot_product_cudnn_attention",
    "_scaled_dot_product_fused_attention_overrideable",
    "_scaled_dot_product_attention_math_for_mps",
)
BACKWARD = tuple(f"{name}_backward" for name in FORWARD if not name.endswith("mps"))
ATTENTION = {*FORWARD, *BACKWARD}
BIAS = 3
"""The position of a bias or mask among the arguments of a forward pass, where it has one there."""

HEADS, GRADIENTS = 1, 3


def attention(func: Operator, args: Any, kwargs: Any) -> tuple[Tensor | None, ...]:
    """The results of a call of fused attention: of a forward pass the output, of a backward pass the gradients.

    Args:
        func: the operator's overload, one of `ATTENTION`.
        args: its arguments, on the CPU.
        kwargs: its arguments by name.
    """
    given = arguments_by_name(func, args, kwargs)
    bias = given.get("attn_bias", given.get("attn_mask"))
    query, key, value = given["query"], given["key"], given["value"]
    groups = query.shape[HEADS] // key.shape[HEADS]
    if groups > 1:  # fewer heads of keys than of queries
        key, value = key.repeat_interleave(groups, HEADS), value.repeat_interleave(groups, HEADS)
    scale = given.get("scale")
    scale = 1 / sqrt(query.shape[-1]) if scale is None else scale
    weights = _weights(query @ key.transpose(-1, -2) * scale, bias, causal=bool(given.get("is_causal", False)))
    count = len(func._schema.returns)  # noqa: SLF001  there is no public name
    gradient = given.get("grad_out", given.get("grad_out_"))
    if gradient is None:
        return (weights @ value, *[None] * (count - 1))
    of_weights = gradient @ value.transpose(-1, -2)
    of_scores = weights * (of_weights - (of_weights * weights).sum(-1, keepdim=True))
    of_keys = _together(of_scores.transpose(-1, -2) @ query * scale, groups)
    of_values = _together(weights.transpose(-1, -2) @ gradient, groups)
    return (of_scores @ key * scale, of_keys, of_values, *[None] * (count - GRADIENTS))


def _weights(scores: Tensor, bias: Tensor | None, *, causal: bool) -> Tensor:
    """Softmax of the scores; 0 for a query that attends to nothing."""
    if bias is not None:
        scores = scores.masked_fill(~bias, -inf) if bias.dtype == torch.bool else scores + bias
    if causal:
        scores = scores.masked_fill(torch.ones(scores.shape[-2:], dtype=torch.bool).triu(1), -inf)
    nothing = (scores == -inf).all(-1, keepdim=True)
    return scores.masked_fill(nothing, 0.0).softmax(-1).masked_fill(nothing, 0.0)


def _together(gradients: Tensor, groups: int) -> Tensor:
    """The gradient of a head that several heads of queries share."""
    return (
        gradients.reshape(gradients.shape[0], -1, groups, *gradients.shape[2:]).sum(HEADS + 1)
        if groups > 1
        else gradients
    )


def pieces_of_forward(args: Arguments) -> tuple[Piece, ...]:
    """Items of the batch, and heads if keys have as many as queries."""
    return _pieces(args, 0, (0,))


def pieces_of_backward(args: Arguments) -> tuple[Piece, ...]:
    """As of the forward pass, for three gradients."""
    return _pieces(args, 1, (0, 1, 2))


def _pieces(args: Arguments, first: int, results: tuple[int, ...]) -> tuple[Piece, ...]:
    query, key = args[first], args[first + 1]
    bias = next((place for place, value in enumerate(args) if place >= first + BIAS and _is_bias(value, query, key)), 0)
    places = [*range(first + 3), *([bias] if bias else [])]
    axes = [axis(args, dict.fromkeys(places, 0), dict.fromkeys(results, 0))]
    if query.shape[HEADS] == key.shape[HEADS]:
        axes.append(axis(args, dict.fromkeys(places, HEADS), dict.fromkeys(results, HEADS)))
    return (Piece(tuple(axes), results),)


def _is_bias(value: Any, query: Tensor, key: Tensor) -> bool:
    return isinstance(value, Tensor) and value.shape[-2:] == (query.shape[-2], key.shape[-2])
