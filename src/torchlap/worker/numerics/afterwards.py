"""What is checked after a step: whether draws repeat, and attention with dropout, once more without it."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from msgspec import Struct
from torch import Tensor
from torch.nn import functional
from torch.utils import _pytree

from torchlap.worker.numerics import draws
from torchlap.worker.numerics.attention import FORWARD, HEADS
from torchlap.worker.numerics.faults import Where
from torchlap.worker.numerics.operator_calls import Operator, arguments_by_name

MOST_CALLS = 4
"""Of attention with different shapes: each keeps its operands until the step has ended."""

SEED = 13


class Again(Struct, frozen=True):
    """A call to make again: the operator's name, where in the step it was first made, and the call."""

    name: str
    where: Where
    call: Callable[[], Any]


class Afterwards(Struct):
    """Calls of a step that are made again after it.

    Attributes:
        has_begun: the step has ended.
    """

    has_begun: bool = False
    _draws: dict[str, Again] = {}
    _attention: dict[str, Again] = {}

    def keep(self, func: Operator, args: Any, kwargs: Any, where: Where) -> None:
        """Remember a call that draws random numbers, if a second one says more."""
        name = func.overloadpacket.__name__
        shapes = [tuple(leaf.shape) for leaf in _pytree.tree_leaves(args) if isinstance(leaf, Tensor)]
        key = f"{name} {shapes}"
        if name in FORWARD and len(self._attention) < MOST_CALLS:
            given = arguments_by_name(func, args, kwargs)
            self._attention.setdefault(key, Again(name, where, partial(attend_without_dropout, given)))
        elif where.phase == "forward" and draws.is_known(name, args):
            places = [_place(leaf) for leaf in _pytree.tree_leaves((args, kwargs))]
            spec = _pytree.tree_structure((args, kwargs))
            self._draws.setdefault(key, Again(name, where, partial(_draw, func, places, spec)))

    def calls(self) -> Iterator[Again]:
        """The calls to make; they are forgotten."""
        found = [*self._draws.values(), *self._attention.values()]
        self._draws.clear()
        self._attention.clear()
        yield from found


class Place(Struct, frozen=True):
    """A tensor without its values."""

    shape: tuple[int, ...]
    dtype: torch.dtype
    device: torch.device


def _place(leaf: Any) -> Any:
    return Place(tuple(leaf.shape), leaf.dtype, leaf.device) if isinstance(leaf, Tensor) else leaf


def _draw(func: Operator, places: list[Any], spec: Any) -> Any:
    """Make a call that draws again, for ones instead of its values."""
    leaves = [
        torch.ones(leaf.shape, dtype=leaf.dtype, device=leaf.device) if isinstance(leaf, Place) else leaf
        for leaf in places
    ]
    args, kwargs = _pytree.tree_unflatten(leaves, spec)
    with torch.no_grad():
        return func(*args, **kwargs)


def attend_without_dropout(given: dict[str, Any]) -> None:
    """Call attention and its gradient on the operands of a call with dropout, but without it."""
    query, key, value = (given[name].detach().clone().requires_grad_() for name in ("query", "key", "value"))
    mask = given.get("attn_bias", given.get("attn_mask"))
    grouped = query.shape[HEADS] != key.shape[HEADS]
    with torch.enable_grad():
        out = functional.scaled_dot_product_attention(
            query,
            key,
            value,
            attn_mask=None if mask is None else mask.detach(),
            is_causal=bool(given.get("is_causal", False)),
            scale=given.get("scale"),
            enable_gqa=grouped,
        )
    gradient = torch.randn(out.shape, generator=torch.Generator().manual_seed(SEED))
    torch.autograd.backward(out, gradient.to(out.dtype).to(out.device))
