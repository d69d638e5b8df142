"""The script's training steps: forward, backward and optimizer, waits for the device, and values read from it."""

from collections.abc import Callable
from functools import wraps
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.optimizer import register_optimizer_step_post_hook, register_optimizer_step_pre_hook

from torchlap.schema.trace import Place
from torchlap.worker.tracing.learning import Learning, parameters_of
from torchlap.worker.tracing.log import Log, Step, device_of, now

READS = ("item", "tolist", "numpy", "cpu", "__bool__", "__float__", "__int__", "__index__", "__format__", "__repr__")
"""What of a tensor brings its values to the host, and so waits for the device."""


class Steps:
    """Notes each part of each step."""

    def __init__(self, log: Log, learning: Learning) -> None:
        self.log, self.learning = log, learning
        self._depth = 0
        self._in_backward = False
        self._devices: WeakKeyDictionary[nn.Module, torch.device] = WeakKeyDictionary()

    def forward(self, original: Callable[..., Any], module: nn.Module, args: Any, kwargs: Any) -> Any:  # noqa: ANN401  a module takes and gives anything
        """A model is called; what it calls inside is its own affair."""
        log = self.log
        if self._depth or not log.active:
            return original(module, *args, **kwargs)
        self._depth += 1
        start = now()
        try:
            given = original(module, *args, **kwargs)
        except Exception as error:
            self.learning.refused(module, error)
            raise
        finally:
            self._depth -= 1
        if not isinstance(module, nn.modules.loss._Loss):  # noqa: SLF001  the base of all losses
            place = log.place()
            self._uses(module)
            if torch.is_grad_enabled():
                log.worked(start, place)
            elif not module.training and self.learning.trains(module):
                log.mark("evaluation", start, place)
                log.worked_at = now()
            self.learning.called(module, args, given, place)
        return given

    def _uses(self, module: nn.Module) -> None:
        if module not in self._devices:
            device = device_of(module)
            if device is None:
                return
            self._devices[module] = device
            self.log.uses(device)

    def backward(self, original: Callable[..., Any], loss: Any, args: Any, kwargs: Any) -> Any:  # noqa: ANN401  a tensor, or several
        """Gradients are computed."""
        log = self.log
        if not log.active or self._in_backward:  # one calls the other
            return original(loss, *args, **kwargs)
        place = log.place()
        self.learning.before_backward(place)
        start = now()
        self._in_backward = True
        try:
            given = original(loss, *args, **kwargs)
        finally:
            self._in_backward = False
        log.worked(start, place)
        self.learning.after_backward(loss if isinstance(loss, Tensor) else None, place)
        return given

    def before_step(self, optimizer: Optimizer, _args: Any, _kwargs: Any) -> None:  # noqa: ANN401  torch's own
        """An optimizer is about to change its parameters."""
        if self.log.active:
            self._began = now()
            self.learning.before_step(optimizer)

    def after_step(self, optimizer: Optimizer, _args: Any, _kwargs: Any) -> None:  # noqa: ANN401  torch's own
        """An optimizer has changed its parameters."""
        log = self.log
        if not log.active:
            return
        place = log.place()
        log.worked(self._began, place)
        self.learning.after_step(optimizer, place)
        parameter = parameters_of(optimizer)[0]
        log.uses(parameter.device)
        log.add(
            log.steps, Step(log.worked_at, str(parameter.device), self.learning.size_of(optimizer), self.learning.batch)
        )


def install(log: Log, learning: Learning) -> None:
    """Watch every model, loss, optimizer and wait from here on."""
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
    made = Optimizer.__init__

    @wraps(made)
    def making(self: Optimizer, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401  torch's own
        learning.made(self, log.place())
        made(self, *args, **kwargs)

    Optimizer.__init__ = making  # type: ignore[method-assign]  # to see where it is made
    _watch_zeroing(log, learning)
    _watch_waits(log)
    for name in READS:
        _watch_read(log, name)


def _replace(owner: Any, name: str, wrapper: Callable[[Callable[..., Any]], Callable[..., Any]]) -> None:  # noqa: ANN401  a class or a module
    original = getattr(owner, name)
    setattr(owner, name, wraps(original)(wrapper(original)))


def _watch_zeroing(log: Log, learning: Learning) -> None:
    optimizers, modules = Optimizer.zero_grad, nn.Module.zero_grad

    @wraps(optimizers)
    def of_optimizer(self: Optimizer, set_to_none: bool = True) -> None:  # noqa: FBT001, FBT002  torch's own
        if log.active:
            learning.zeroed(parameters_of(self))
        optimizers(self, set_to_none)

    @wraps(modules)
    def of_module(self: nn.Module, set_to_none: bool = True) -> None:  # noqa: FBT001, FBT002  torch's own
        if log.active:
            learning.zeroed(list(self.parameters()))
        modules(self, set_to_none)

    Optimizer.zero_grad = of_optimizer  # type: ignore[method-assign]  # to see that it is called
    nn.Module.zero_grad = of_module  # type: ignore[method-assign]


def _watch_waits(log: Log) -> None:
    """Every way to wait for a device that Python may watch: torch.Event and torch.Stream it may not."""
    third_party = getattr(torch, torch._C._get_privateuse1_backend_name(), None)  # noqa: SLF001  torch has no other name for it
    owners = (torch.cuda, torch.mps, torch.xpu, torch.accelerator, third_party, torch.cuda.Event, torch.cuda.Stream)
    for owner in owners:
        if hasattr(owner, "synchronize"):
            _replace(owner, "synchronize", lambda original: _waiting(original, log))


def _waiting(original: Callable[..., Any], log: Log) -> Callable[..., Any]:
    def waiting(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401  as it is
        given = original(*args, **kwargs)
        log.synced_at = now()
        return given

    return waiting


def _watch_read(log: Log, name: str) -> None:
    """Values that come to the host: a wait like any other, and to be counted where the script itself asks."""
    original = getattr(Tensor, name)

    @wraps(original)
    def reading(self: Tensor, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401  as it is
        if not log.active or self.device.type == "cpu":
            return original(self, *args, **kwargs)
        start = now()
        given = original(self, *args, **kwargs)
        log.synced_at = now()
        if log.is_direct():
            place: Place = log.place()
            log.mark("value", start, place)
        return given

    setattr(Tensor, name, reading)
