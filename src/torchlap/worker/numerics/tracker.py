"""In which part of a step, and for which module, the current operator runs."""

from typing import Any, Self

import torch
from torch import nn
from torch.optim.optimizer import register_optimizer_step_post_hook, register_optimizer_step_pre_hook

from torchlap.worker.numerics.faults import Where


class Tracker:
    """Follows a step while it is entered.

    In the backward pass, an operator belongs to the module whose forward pass created its autograd node: autograd
    numbers the nodes in order.
    """

    def __init__(self, module: nn.Module) -> None:
        self._names = {child: name or "the model" for name, child in module.named_modules()}
        self._stack: list[tuple[str, int]] = []
        self._spans: list[tuple[int, int, str]] = []
        self._in_optimizer = False
        self._handles: list[Any] = []

    def __enter__(self) -> Self:
        for module in self._names:
            self._handles.append(module.register_forward_pre_hook(self._begin))
            self._handles.append(module.register_forward_hook(self._end, always_call=True))
        self._handles.append(register_optimizer_step_pre_hook(self._begin_optimizer))
        self._handles.append(register_optimizer_step_post_hook(self._end_optimizer))
        return self

    def __exit__(self, *_: object) -> None:
        for handle in self._handles:
            handle.remove()

    def _begin(self, module: nn.Module, _: Any) -> None:
        self._stack.append((f"{self._names.get(module, '')} ({type(module).__name__})", _next_node()))

    def _end(self, _module: nn.Module, _: Any, __: Any) -> None:
        if self._stack:
            name, first = self._stack.pop()
            self._spans.append((first, _next_node(), name))

    def _begin_optimizer(self, *_: Any) -> None:
        self._in_optimizer = True

    def _end_optimizer(self, *_: Any) -> None:
        self._in_optimizer = False

    def where(self) -> Where:
        """Where the current operator belongs."""
        node = torch._C._current_autograd_node()  # noqa: SLF001  there is no public name
        if node is not None:
            number = node._sequence_nr()  # noqa: SLF001  there is no public name
            around = [span for span in self._spans if span[0] <= number < span[1]]
            innermost = min(around, key=lambda span: span[1] - span[0], default=(0, 0, "the loss"))
            return Where("backward", innermost[2])
        if self._in_optimizer:
            return Where("optimizer", "")
        return Where("forward", self._stack[-1][0] if self._stack else "")


def _next_node() -> int:
    """The number of the next autograd node."""
    return torch._C._autograd._get_sequence_nr()  # noqa: SLF001  there is no public name
