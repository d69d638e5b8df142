"""Watch the script's training steps: forward, backward, optimizer, synchronizations, and values that are read.

Functions of torch that are written in Python are watched from inside (`insert`). Methods of tensors that are not are
replaced, but only once the script uses an accelerator: on the CPU nothing waits.
"""

import sys
from functools import partial, wraps
from types import FunctionType
from typing import Any
from weakref import WeakKeyDictionary

import torch
from msgspec import Struct
from torch import Tensor, nn
from torch.autograd import graph
from torch.optim import Optimizer

from torchlap.worker.tracing import insert
from torchlap.worker.tracing.gradients import parameters_of
from torchlap.worker.tracing.learning import Learning
from torchlap.worker.tracing.log import Log, Original, Step, device_of, now

READS = ("item", "tolist", "numpy", "cpu", "__bool__", "__float__", "__int__", "__index__", "__format__", "__repr__")
"""Methods of a tensor that bring its values to the host, and so wait for the device."""


class Call(Struct):
    """A call that is under way; `done` once it has returned."""

    module: nn.Module
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    start: float
    done: bool = False


class Steps:
    """Records each part of each step."""

    def __init__(self, log: Log, learning: Learning) -> None:
        self.log, self.learning = log, learning
        self.inside = insert.Switch()
        self._stepped: set[int] = set()
        self._devices: WeakKeyDictionary[nn.Module, torch.device] = WeakKeyDictionary()

    def before_forward(self, arguments: tuple[Any, ...]) -> Call:
        """A module is called; modules inside it are not watched."""
        self.inside.off = True
        module, args, kwargs = arguments
        return Call(module, args, kwargs, now())

    def after_forward(self, call: Call, outputs: object) -> object:
        """An outermost module has returned. A module without parameters, such as a loss, is not a model."""
        call.done = True
        if self.log.active and self._has_device(call.module):
            self._record_forward(call, outputs)
        return outputs

    def leave_forward(self, call: Call) -> None:
        """A module has returned or raised."""
        self.inside.off = False
        error = sys.exc_info()[1]
        if self.log.active and not call.done and isinstance(error, Exception):
            self.learning.record_refusal(call.module, error)

    def _record_forward(self, call: Call, outputs: object) -> None:
        log, module = self.log, call.module
        place = log.place()
        if torch.is_grad_enabled():
            log.worked(call.start, place)
        elif not module.training and self.learning.trains(module):
            log.mark("evaluation", call.start, place)
            log.worked_at = now()
        self.learning.record_call(module, (*call.args, *call.kwargs.values()), outputs, place)

    def _has_device(self, module: nn.Module) -> bool:
        if module not in self._devices:
            device = device_of(module)
            if device is None:
                return False
            self._devices[module] = device
            self.log.uses(device)
        return True

    def before_backward(self, arguments: tuple[Any, ...]) -> float | None:
        """Gradients are computed; the token is None for torch.autograd.grad, which accumulates none."""
        outputs, _, kwargs = arguments
        if not (self.log.active and kwargs.get("accumulate_grad")):
            return None
        self._loss = outputs[0] if len(outputs) == 1 and isinstance(outputs[0], Tensor) else None
        self.learning.before_backward(self._loss, self.log.place())
        return now()

    def after_backward(self, start: float | None, result: object) -> object:
        """Gradients were computed."""
        if start is None:
            return result
        log, loss = self.log, self._loss
        self._loss = None
        place = log.place()
        log.worked(start, place)
        if loss is not None:
            log.uses(loss.device)
            log.add(
                log.backwards, Step(log.worked_at, str(loss.device), self.learning.size_of_last(), self.learning.batch)
            )
        self.learning.after_backward(loss, place)
        for recorder in log.after_step:
            recorder()
        return result

    def after_step(self, optimizer: Optimizer) -> None:
        """Record that an optimizer has changed its parameters, since the last part of the step was enqueued."""
        log, gradients = self.log, self.learning.gradients
        parameters = parameters_of(optimizer)
        if not (log.active and parameters):
            return
        log.optimizer_steps += 1
        place = log.place()
        log.worked(max(log.worked_at, log.last_read), place)
        gradients.after_step(optimizer, place)
        self.learning.after_step(parameters)
        log.uses(parameters[0].device)
        step = Step(log.worked_at, str(parameters[0].device), gradients.size_of(optimizer), self.learning.batch)
        self._add(step, id(optimizer))

    def _add(self, step: Step, optimizer: int) -> None:
        """A step of its own, or a part of the last one: other optimizers may step in the same iteration."""
        log = self.log
        last = log.steps[-1] if log.steps else None
        if last is None or optimizer in self._stepped or log.last_read > last.at or last.device != step.device:
            self._stepped = {optimizer}
            log.add(log.steps, step)
        else:
            self._stepped.add(optimizer)
            last.at = step.at
            last.size += step.size


def install(log: Log, learning: Learning) -> None:
    """Watch every model, loss, optimizer and synchronization from here on."""
    steps = Steps(log, learning)
    insert.watch(
        nn.Module._wrapped_call_impl,  # noqa: SLF001  what nn.Module.__call__ is
        before=steps.before_forward,
        after=steps.after_forward,
        leave=steps.leave_forward,
        switch=steps.inside,
    )
    insert.watch(graph._engine_run_backward, before=steps.before_backward, after=steps.after_backward)  # noqa: SLF001
    insert.watch(
        Optimizer._optimizer_step_code,  # noqa: SLF001  called after each step; torch.compile would trace a hook
        before=lambda arguments: steps.after_step(arguments[0]),
    )
    insert.watch(
        Optimizer._patch_step_function,  # noqa: SLF001  every optimizer's creation calls it
        before=lambda arguments: learning.gradients.record_optimizer(arguments[0], log.place()),
    )
    _watch_waits(log)
    log.on_accelerator += [partial(_watch_read, log, name) for name in READS]


def _watch_waits(log: Log) -> None:
    """Record synchronizations; methods of torch.Event and torch.Stream cannot be replaced, and are not seen."""
    third_party = getattr(torch, torch._C._get_privateuse1_backend_name(), None)  # noqa: SLF001  there is no public name
    owners = (torch.cuda, torch.mps, torch.xpu, torch.accelerator, third_party, torch.cuda.Event, torch.cuda.Stream)
    for owner in owners:
        function = getattr(owner, "synchronize", None)
        if isinstance(function, FunctionType) and not function.__code__.co_freevars and "torch" in function.__globals__:
            insert.watch(function, before=lambda _: None, leave=lambda _: log.record_synchronization())
        elif function is not None:
            _replace_wait(owner, function, log)


def _replace_wait(owner: object, original: Original, log: Log) -> None:
    @wraps(original)
    def waiting(*args: object, **kwargs: object) -> object:
        returned = original(*args, **kwargs)
        log.record_synchronization()
        return returned

    setattr(owner, "synchronize", waiting)  # noqa: B010  of another type


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
