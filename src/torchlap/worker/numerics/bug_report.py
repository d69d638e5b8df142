"""A script for a bug report: one operator's call with torch alone, on random values of the same shapes and layouts."""

from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree

MOST_WRITTEN_OUT = 64
MOST_ARGUMENTS = 200

TEMPLATE = '''"""{operator} on {device}: {said}.

Torch alone: the same call on the device and, in float64, on the CPU. Prints the relative error of every result; exits
with 1 where one is above the limit.
"""

import sys

import torch
from torch.utils import _pytree

DEVICE, LIMIT = "{device}", {limit:.1e}


def make(shape, stride, dtype, mean, deviation):
    values = torch.randn(shape, dtype=torch.float64) * deviation + mean
    size = 1 + sum((length - 1) * step for length, step in zip(shape, stride))
    return torch.zeros(size, dtype=dtype).as_strided(shape, stride).copy_(values)


def there(leaf):
    if not isinstance(leaf, torch.Tensor):
        return leaf
    moved = torch.empty_strided(leaf.shape, leaf.stride(), dtype=leaf.dtype, device=DEVICE)
    return moved.copy_(leaf)


def wide(leaf):
    return leaf.double() if isinstance(leaf, torch.Tensor) and leaf.is_floating_point() else leaf


def results(args, kwargs):
    out = operator(*args, **kwargs)
    leaves = _pytree.tree_leaves((out, args) if writes else out)
    return [leaf for leaf in leaves if isinstance(leaf, torch.Tensor) and leaf.is_floating_point()]


torch.manual_seed(0)
operator = torch.ops.{operator}
writes = any(a.alias_info is not None and a.alias_info.is_write for a in operator._schema.arguments)
args = {args}
kwargs = {kwargs}
right = results(*_pytree.tree_map(wide, (args, kwargs)))
got = results(*_pytree.tree_map(there, (args, kwargs)))
worst = 0.0
for number, (mine, its) in enumerate(zip(got, right)):
    error = float((mine.cpu().double() - its).norm() / its.norm().clamp(min=1e-300))
    error = error if error == error else float("inf")
    worst = max(worst, error)
    print(f"result {{number}}, {{tuple(its.shape)}}: relative error {{error:.1e}}")
print("torch", torch.__version__, "on", DEVICE, "wrong" if worst > LIMIT else "right")
sys.exit(worst > LIMIT)
'''


def script(func: Any, before: Any, device: str, said: str, limit: float) -> str:
    """The text of the script; empty where an argument cannot be written down.

    Args:
        func: the operator's overload.
        before: its arguments, on the CPU, before it ran.
        device: where it went wrong.
        said: what was seen, in a clause.
        limit: the relative error that is still right.
    """
    args, kwargs = before
    if len(_pytree.tree_leaves(before)) > MOST_ARGUMENTS:
        return ""
    words = (_written(list(args)), _written(dict(kwargs)))
    if not all(words):
        return ""
    return TEMPLATE.format(operator=str(func), device=device, said=said, limit=limit, args=words[0], kwargs=words[1])


def _written(value: Any) -> str:
    """An argument as Python; empty where it has no such form."""
    if isinstance(value, Tensor):
        return _tensor(value)
    if isinstance(value, list | tuple):
        words = [_written(each) for each in value]
        return f"[{', '.join(words)}]" if all(words) else ""
    if isinstance(value, dict):
        pairs = [(key, _written(each)) for key, each in value.items()]
        return (
            "{" + ", ".join(f"{key!r}: {each}" for key, each in pairs) + "}" if all(word for _, word in pairs) else ""
        )
    if value is None or isinstance(value, bool | int | float | str | torch.dtype):
        return f"float('{value}')" if isinstance(value, float) and value != value else repr(value)  # noqa: PLR0124  NaN
    return "DEVICE" if isinstance(value, torch.device) else ""


def _tensor(value: Tensor) -> str:
    if not value.is_floating_point():
        listed = value.tolist() if value.numel() <= MOST_WRITTEN_OUT else None
        if listed is None:
            return f"torch.zeros({list(value.shape)}, dtype={value.dtype})"
        return f"torch.tensor({listed}, dtype={value.dtype})"
    finite = value.double()[torch.isfinite(value)]
    mean = float(finite.mean()) if finite.numel() else 0.0
    deviation = float(finite.std()) if finite.numel() > 1 else 0.0
    place = f"{list(value.shape)}, {list(value.stride())}, {value.dtype}"
    return f"make({place}, {mean:.4g}, {deviation:.4g})"
