"""The operator suite: small calls of the kinds that users have reported as wrong.

Each call runs in several types and layouts. The numbers are issues of pytorch/pytorch.
"""

from collections.abc import Callable

import torch
from msgspec import Struct
from torch import Tensor
from torch.nn import functional

Function = Callable[..., Tensor]
DTYPES = (torch.float32, torch.bfloat16, torch.float16)


class Call(Struct, frozen=True):
    """A function, and the shapes of its inputs.

    Attributes:
        layouts: of the first input.
        issue: where it was reported as wrong.
        large: part of the thorough suite only.
    """

    name: str
    function: Function
    shapes: tuple[tuple[int, ...], ...]
    layouts: tuple[str, ...] = ("contiguous", "transposed", "sliced", "strided")
    issue: str = ""
    large: bool = False


def _attention(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    return functional.scaled_dot_product_attention(query, key, value, is_causal=query.shape[-2] > 1)


def _norm(images: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return functional.batch_norm(images, None, None, weight, bias, training=True)


def _slice_of_weight(images: Tensor, weight: Tensor) -> Tensor:
    return functional.conv2d(images, weight[:, :, 1])


IMAGES = ("contiguous", "channels_last", "sliced", "sliced channels_last")
CALLS = (
    *(
        Call(name, function, ((1, 7, 4, 3),), (*IMAGES, "transposed"), "#175188")
        for name, function in (
            ("tanh", torch.tanh),
            ("sigmoid", torch.sigmoid),
            ("silu", functional.silu),
            ("gelu", functional.gelu),
            ("relu", torch.relu),
            ("hardswish", functional.hardswish),
            ("exp", torch.exp),
        )
    ),
    Call("batch_norm", _norm, ((4, 3, 8, 8), (3,), (3,)), IMAGES, "#175189, #174345"),
    Call("avg_pool2d", lambda x: functional.avg_pool2d(x, 2), ((4, 3, 8, 8),), IMAGES, "#174345"),
    Call("max_pool2d", lambda x: functional.max_pool2d(x, 3, 2), ((4, 3, 9, 9),), IMAGES),
    Call("adaptive_avg_pool2d", lambda x: functional.adaptive_avg_pool2d(x, 3), ((4, 3, 8, 8),), IMAGES),
    Call("group_norm", lambda x: functional.group_norm(x, 2), ((4, 4, 8, 8),), IMAGES),
    Call("conv2d", lambda x, w: functional.conv2d(x, w, padding=1), ((4, 3, 8, 8), (5, 3, 3, 3)), IMAGES),
    Call("depthwise conv2d", lambda x, w: functional.conv2d(x, w, groups=4), ((4, 4, 8, 8), (4, 1, 3, 3)), IMAGES),
    Call("conv2d, sliced weight", _slice_of_weight, ((4, 3, 8, 8), (5, 3, 2, 3, 3)), IMAGES, "#192212"),
    Call("conv_transpose2d", functional.conv_transpose2d, ((4, 3, 8, 8), (3, 5, 3, 3)), IMAGES),
    Call("conv1d", functional.conv1d, ((64, 3, 16), (5, 3, 3)), issue="#96225"),
    *(
        Call(f"linear, batch {rows}", functional.linear, ((rows, 64), (48, 64), (48,)), issue="#109457")
        for rows in (1, 4, 9, 64)
    ),
    Call("linear, 3-D", functional.linear, ((3, 64, 64), (48, 64), (48,)), issue="#177116, #189495"),
    Call("mm", torch.mm, ((64, 65), (65, 33)), issue="#180201"),
    Call("bmm", torch.bmm, ((3, 16, 129), (3, 129, 16)), issue="#195163"),
    Call("einsum", lambda a, b: torch.einsum("bik,bkj->bij", a, b), ((2, 16, 65), (2, 65, 16)), issue="#195163"),
    Call("attention, causal", _attention, ((1, 4, 64, 64),) * 3, ("contiguous", "sliced"), "#195910"),
    Call("attention, one query", _attention, ((1, 4, 1, 64), (1, 4, 1024, 64), (1, 4, 1024, 64)), issue="#174861"),
    Call("softmax", lambda x: functional.softmax(x, -1), ((9, 65),)),
    Call("log_softmax", lambda x: functional.log_softmax(x, -1), ((9, 65),)),
    Call("layer_norm", lambda x, w, b: functional.layer_norm(x, (65,), w, b), ((9, 65), (65,), (65,))),
    Call("sum", lambda x: x.sum(-1), ((64, 65),), issue="#180236"),
    Call("mean", lambda x: x.mean(0), ((64, 65),)),
    Call("var", lambda x: x.var(-1), ((64, 65),)),
    Call("cumsum", lambda x: x.cumsum(-1), ((9, 65),)),
    Call("cat", lambda a, b: torch.cat([a, b], 1), ((4, 9), (4, 5))),
    Call("addcmul", torch.addcmul, ((64, 65),) * 3, issue="#118115"),
    Call("addcdiv", lambda a, b, c: torch.addcdiv(a, b, c.abs() + 1), ((64, 65),) * 3, issue="#118115"),
    Call("where", lambda a, b: torch.where(a > b, a, b), ((64, 65),) * 2),
    Call(
        "linear, 32,769 rows", functional.linear, ((32769, 64), (16, 64), (16,)), ("contiguous",), "#177116", large=True
    ),
    Call(
        "linear, 3-D batch of 65,537",
        functional.linear,
        ((65537, 1, 32), (16, 32), (16,)),
        ("contiguous",),
        "#189495",
        large=True,
    ),
    Call(
        "linear, 50,304 outputs",
        functional.linear,
        ((9, 64), (50304, 64), (50304,)),
        ("contiguous",),
        "#109457",
        large=True,
    ),
    Call("bmm, 32,769 products", torch.bmm, ((1, 16, 32769), (1, 32769, 16)), ("contiguous",), "#195163", large=True),
    Call(
        "conv1d, minibatch 65,537", functional.conv1d, ((65537, 1, 8), (2, 1, 3)), ("contiguous",), "#96225", large=True
    ),
    Call(
        "conv2d, minibatch 65,537",
        functional.conv2d,
        ((65537, 1, 4, 4), (2, 1, 3, 3)),
        ("contiguous",),
        "#96225",
        large=True,
    ),
)
