"""Watch the script's training steps: forward, backward, optimizer, synchronizations, and values that are read."""

from collections.abc import Callable
from functools import wraps
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.optimizer import register_optimizer_step_post_hook, register_optimizer_step_pre_hook

from torchlap.worker.tracing.learning import Learning, parameters_of
from torchlap.worker.tracing.log import Log, Original, Step, device_of, now

READS = ("item", "tolist", "numpy", "cpu", "__bool__", "__float__", "__int__", "__index__", "__format__", "__repr__")
"""Methods of a tensor that bring its values to the host, and so wait for the device."""


class Steps:
    """Records each part of each step."""

    def __init__(self, log: Log, learning: Learning) -> None:
        self.log, self.learning = log, learning
        self._depth = 0
        self._in_backward = False
        self._devices: WeakKeyDictionary[nn.Module, torch.device] = WeakKeyDictionary()

    def forward(self, original: Original, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> object:
        """Call a module, and record the call of an outermost one."""
        log = self.log
        if self._depth or not log.active:
            return original(module, *args, **kwargs)
        self._depth += 1
        start = now()
        try:
            outputs = original(module, *args, **kwargs)
        except Exception as error:
            self.learning.record_refusal(module, error)
            raise
        finally:
            self._depth -= 1
        if not isinstance(module, nn.modules.loss._Loss):  # noqa: SLF001  the base of all losses
            self._record_forward(module, args, outputs, start)
        return outputs

    def _record_forward(self, module: nn.Module, args: tuple[Any, ...], outputs: object, start: float) -> None:
        log = self.log
        place = log.place()
        self._record_device(module)
        if torch.is_grad_enabled():
            log.worked(start, place)
        elif not module.training and self.learning.trains(module):
            log.mark("evaluation", start, place)
            log.worked_at = now()
        self.learning.record_call(module, args, outputs, place)

    def _record_device(self, module: nn.Module) -> None:
        if module not in self._devices:
            device = device_of(module)
            if device is None:
                return
            self._devices[module] = device
            self.log.uses(device)

    def backward(self, original: Original, loss: object, args: tuple[Any, ...], kwargs: dict[str, Any]) -> object:
        """Compute gradients, and record it. `loss` may be several tensors."""
        log = self.log
        if not log.active or self._in_backward:  # Tensor.backward calls torch.autograd.backward
            return original(loss, *args, **kwargs)
        place = log.place()
        self.learning.before_backward(place)
        start = now()
        self._in_backward = True
        try:
            returned = original(loss, *args, **kwargs)
        finally:
            self._in_backward = False
        log.worked(start, place)
        self.learning.after_backward(loss if isinstance(loss, Tensor) else None, place)
        return returned

    def before_step(self, optimizer: Optimizer, _args: object, _kwargs: object) -> None:
        """Record that an optimizer is about to change its parameters."""
        if self.log.active:
            self._began = now()
            self.learning.before_step(optimizer)

    def after_step(self, optimizer: Optimizer, _args: object, _kwargs: object) -> None:
        """Record that an optimizer has changed its parameters."""
        log = self.log
        if not log.active:
            return
        place = log.place()
        log.worked(self._began, place)
        self.learning.after_step(optimizer, place)
        parameter = parameters_of(optimizer)[0]
        log.uses(parameter.device)
        size, batch = self.learning.size_of(optimizer), self.learning.batch
        log.add(log.steps, Step(log.worked_at, str(parameter.device), size, batch))


def install(log: Log, learning: Learning) -> None:
    """Watch every model, loss, optimizer and synchronization from here on."""
    steps = Steps(log, learning)
    _replace(
        nn.Module,
        "__call__",
        lambda original: lambda module, *args, **kwargs: steps.forward(original, module, args, kwargs),
    )
    for owner in (Tensor, torch.autograd):
        _replace(
            owner,
            "backward",
            lambda original: lambda loss, *args, **kwargs: steps.backward(original, loss, args, kwargs),
        )
    register_optimizer_step_pre_hook(steps.before_step)
    register_optimizer_step_post_hook(steps.after_step)
    _watch_creation(log, learning)
    _watch_zeroing(log, learning)
    _watch_waits(log)
    for name in READS:
        _watch_read(log, name)


def _replace(owner: object, name: str, wrapper: Callable[[Original], Original]) -> None:
    original = getattr(owner, name)
    setattr(owner, name, wraps(original)(wrapper(original)))


def _watch_creation(log: Log, learning: Learning) -> None:
    """Record where optimizers are created."""
    original: Original = Optimizer.__init__

    @wraps(original)
    def creating(self: Optimizer, *args: object, **kwargs: object) -> None:
        learning.record_optimizer(self, log.place())
        original(self, *args, **kwargs)

    Optimizer.__init__ = creating  # type: ignore[method-assign]


def _watch_zeroing(log: Log, learning: Learning) -> None:
    """Record that gradients are zeroed."""
    of_optimizer: Original = Optimizer.zero_grad
    of_module: Original = nn.Module.zero_grad

    @wraps(of_optimizer)
    def zeroing_optimizer(self: Optimizer, *args: object, **kwargs: object) -> None:
        if log.active:
            learning.record_zeroing(parameters_of(self))
        of_optimizer(self, *args, **kwargs)

    @wraps(of_module)
    def zeroing_module(self: nn.Module, *args: object, **kwargs: object) -> None:
        if log.active:
            learning.record_zeroing(list(self.parameters()))
        of_module(self, *args, **kwargs)

    Optimizer.zero_grad = zeroing_optimizer  # type: ignore[method-assign]
    nn.Module.zero_grad = zeroing_module  # type: ignore[method-assign]


def _watch_waits(log: Log) -> None:
    """Record synchronizations; methods of torch.Event and torch.Stream cannot be replaced, and are not seen."""
    third_party = getattr(torch, torch._C._get_privateuse1_backend_name(), None)  # noqa: SLF001  there is no public name
    owners = (torch.cuda, torch.mps, torch.xpu, torch.accelerator, third_party, torch.cuda.Event, torch.cuda.Stream)
    for owner in owners:
        if hasattr(owner, "synchronize"):
            _replace(owner, "synchronize", lambda original: _waiting(original, log))


def _waiting(original: Original, log: Log) -> Original:
    def waiting(*args: object, **kwargs: object) -> object:
        returned = original(*args, **kwargs)
        log.synced_at = now()
        return returned

    return waiting


def _watch_read(log: Log, name: str) -> None:
    """Record reads of values: each is a synchronization, and is counted if the script itself makes it."""
    original = getattr(Tensor, name)

    @wraps(original)
    def reading(self: Tensor, *args: object, **kwargs: object) -> object:
        if not log.active or self.device.type == "cpu":
            return original(self, *args, **kwargs)
        start = now()
        value = original(self, *args, **kwargs)
        log.synced_at = now()
        if log.is_direct():
            log.mark("value", start, log.place())
        return value

    setattr(Tensor, name, reading)
