"""A script for a bug report: one operator's call with torch alone, on random values of the same shapes and layouts."""

from math import isfinite
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree

MOST_WRITTEN_OUT = 64
MOST_ARGUMENTS = 200

TEMPLATE = '''"""{operator} on {device}: {description}.

Needs torch alone: runs the same call on the device and, in float64, on the CPU. Prints the relative error of every
result; exits with 1 if one exceeds the limit.
"""

import sys

import torch
from torch.utils import _pytree

DEVICE, LIMIT = "{device}", {limit:.1e}


def make(shape, stride, dtype, mean, deviation):
    values = torch.randn(shape, dtype=torch.float64) * deviation + mean
    size = 1 + sum((length - 1) * step for length, step in zip(shape, stride))
    return torch.zeros(size, dtype=dtype).as_strided(shape, stride).copy_(values)


def to_device(leaf):
    if not isinstance(leaf, torch.Tensor):
        return leaf
    moved = torch.empty_strided(leaf.shape, leaf.stride(), dtype=leaf.dtype, device=DEVICE)
    return moved.copy_(leaf)


def to_float64(leaf):
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
expected = results(*_pytree.tree_map(to_float64, (args, kwargs)))
actual = results(*_pytree.tree_map(to_device, (args, kwargs)))
worst = 0.0
for number, (value, right) in enumerate(zip(actual, expected)):
    error = float((value.cpu().double() - right).norm() / right.norm().clamp(min=1e-300))
    error = error if error == error else float("inf")
    worst = max(worst, error)
    print(f"result {{number}}, {{tuple(right.shape)}}: relative error {{error:.1e}}")
print("torch", torch.__version__, "on", DEVICE, "wrong" if worst > LIMIT else "correct")
sys.exit(worst > LIMIT)
'''


def script(func: Any, call: Any, device: str, description: str, limit: float) -> str:
    """The text of the script; empty if an argument cannot be written as Python.

    Args:
        func: the operator's overload.
        call: its arguments: args and kwargs.
        device: where its result is wrong.
        description: how far off it is, in a few words.
        limit: the largest relative error of a correct result.
    """
    args, kwargs = call
    if len(_pytree.tree_leaves(call)) > MOST_ARGUMENTS:
        return ""
    texts = (_written(list(args)), _written(dict(kwargs)))
    if not all(texts):
        return ""
    return TEMPLATE.format(
        operator=str(func), device=device, description=description, limit=limit, args=texts[0], kwargs=texts[1]
    )


def _written(value: Any) -> str:
    """A value as Python; empty if it has no such form."""
    match value:
        case Tensor():
            return _tensor(value)
        case list() | tuple():
            texts = [_written(item) for item in value]
            return f"[{', '.join(texts)}]" if all(texts) else ""
        case dict():
            pairs = {key: _written(item) for key, item in value.items()}
            listed = ", ".join(f"{key!r}: {text}" for key, text in pairs.items())
            return f"{{{listed}}}" if all(pairs.values()) else ""
        case _:
            return _scalar(value)


def _scalar(value: Any) -> str:
    match value:
        case torch.device():
            return "DEVICE"
        case float():
            return repr(value) if isfinite(value) else f"float('{value}')"
        case None | bool() | int() | str() | torch.dtype():
            return repr(value)
        case _:
            return ""


def _tensor(value: Tensor) -> str:
    """A tensor of random values with the same mean and deviation; integers as they are, or zeros if they are many."""
    if not value.is_floating_point():
        if value.numel() > MOST_WRITTEN_OUT:
            return f"torch.zeros({list(value.shape)}, dtype={value.dtype})"
        return f"torch.tensor({value.cpu().tolist()}, dtype={value.dtype})"
    values = value.detach().cpu().double()
    finite = values[torch.isfinite(values)]
    mean = float(finite.mean()) if finite.numel() else 0.0
    deviation = float(finite.std()) if finite.numel() > 1 else 0.0
    place = f"{list(value.shape)}, {list(value.stride())}, {value.dtype}"
    return f"make({place}, {mean:.4g}, {deviation:.4g})"
