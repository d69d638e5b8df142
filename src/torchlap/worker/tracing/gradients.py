"""Watch what optimizers hold and change: gradients that never come, that are never zeroed, and outputs without any.

Checks that wait for the device are made in few steps, spread over the whole run (`is_checked`).
"""

from collections.abc import Sequence
from typing import Any
from weakref import WeakKeyDictionary, ref

import torch
from msgspec import Struct, field
from torch import Tensor, nn
from torch.optim import Optimizer

from torchlap.schema.trace import Place
from torchlap.worker.tracing.denormals import Denormals
from torchlap.worker.tracing.log import Log, may_compute, now

EACH_UP_TO = 10
GROWTH = 1.25
"""The first steps are checked, then steps whose numbers grow by a quarter."""

MOST_NAMES = 5
MOST_OPTIMIZERS = 50
SAMPLE = 16
"""Values of each parameter that are compared to find out whether it changes."""

MATRIX = 2
MOST_ZERO_CHECKS = 20
"""Gradients of an optimizer whose values are looked at, because nothing else shows that they were zeroed."""


def is_checked(number: int) -> bool:
    """Whether gradients are checked in this step, counted from 1."""
    if number <= EACH_UP_TO:
        return True
    power = EACH_UP_TO
    while power < number:
        power = int(power * GROWTH)
    return power == number


def is_sampled(number: int) -> bool:
    """Whether values are read in this step: in the tenth, and then in steps whose numbers grow by half."""
    power = EACH_UP_TO
    while power < number:
        power += power // 2
    return power == number


class Counted(Struct):
    """Something that was noticed at a line, in words, and how often."""

    words: str
    count: int = 0


class Optimized(Struct):
    """What is known about an optimizer; parameters are identified by id, so that they are not kept alive.

    Attributes:
        missing: parameters without a gradient so far.
        before: samples of the parameters before the first step; emptied once a change was seen.
        used: a gradient that the last step used, and its version.
        not_zeroed: the line that calls backward while gradients of the step before are still there.
        zero_checks: how often its gradients' values were looked at; `zeroes_values` if they were zero.
    """

    made: Place
    kind: str
    stepped: Place | None = None
    steps: int = 0
    names: dict[int, str] = field(default_factory=dict)
    elements: dict[int, int] = field(default_factory=dict)
    missing: dict[int, "ref[Tensor]"] = field(default_factory=dict)
    frozen: set[int] = field(default_factory=set)
    before: list[Tensor] = field(default_factory=list)
    changed: bool = False
    used: tuple["ref[Tensor]", int] | None = None
    not_zeroed: Place | None = None
    zero_checks: int = 0
    zeroes_values: bool = False


class Dead(Struct):
    """Outputs of a model (`rows` of its last weight) whose gradient was zero in every check so far.

    `rows` is an array on the CPU, and a tensor elsewhere, which waits for nothing.
    """

    place: Place
    parameter: str
    outputs: int
    rows: Any
    checks: int = 1


class Gradients:
    """Records what the optimizers of a script hold and do."""

    def __init__(self, log: Log) -> None:
        self.log = log
        self.accumulated: dict[Place, Counted] = {}
        self.float64: dict[Place, Counted] = {}
        self.denormals = Denormals()
        self.dead: dict[tuple[Place, int], Dead] = {}
        self.by_value: set[int] = set()
        self.optimizers: list[Optimized] = []
        self.names: dict[int, str] = {}
        self.held: set[int] = set()
        self._optimized: WeakKeyDictionary[Optimizer, Optimized] = WeakKeyDictionary()

    def size_of(self, optimizer: Optimizer) -> int:
        """How many elements an optimizer's parameters have, as of its first step."""
        optimized = self._optimized.get(optimizer)
        return sum(optimized.elements.values()) if optimized else 0

    def record_optimizer(self, optimizer: Optimizer, place: Place) -> None:
        """Record that an optimizer is being created."""
        if optimizer not in self._optimized:
            self._optimized[optimizer] = Optimized(place, type(optimizer).__name__)
            if len(self.optimizers) < MOST_OPTIMIZERS:
                self.optimizers.append(self._optimized[optimizer])

    def _start(self, optimizer: Optimizer, optimized: Optimized) -> None:
        """Before the first step, keep the names of the parameters, and samples of them."""
        start = now()
        parameters = parameters_of(optimizer)
        optimized.names = {id(p): self.names.get(id(p), f"of shape {tuple(p.shape)}") for p in parameters}
        optimized.elements = {id(parameter): parameter.numel() for parameter in parameters}
        optimized.changed = not may_compute()  # then it is not looked at
        optimized.before = [] if optimized.changed else [_sample(parameter) for parameter in parameters]
        optimized.missing = {id(parameter): ref(parameter) for parameter in parameters}
        self.held |= set(optimized.names)
        self.log.own_seconds += now() - start

    def after_step(self, optimizer: Optimizer, place: Place) -> None:
        """Record that it stepped, and a gradient that should be zeroed before the next backward.

        Only now are gradients looked at: a step with a closure computes them itself.
        """
        optimized = self._optimized.get(optimizer)
        if optimized is None:
            return
        if not optimized.names:  # it steps before any backward
            self._start(optimizer, optimized)
        optimized.steps += 1
        optimized.stepped = place
        if optimized.missing:
            optimized.missing = {key: each for key, each in optimized.missing.items() if _is_missing(each())}
            alive = (each() for each in optimized.missing.values())
            optimized.frozen = {id(each) for each in alive if each is not None and not each.requires_grad}
        if not optimized.changed and is_checked(optimized.steps) and may_compute():
            self._check_change(optimized, parameters_of(optimizer))
        if is_sampled(optimized.steps) and may_compute():
            self._check_state(optimizer, optimized, place)
        if optimized.not_zeroed is not None:
            count(self.accumulated, optimized.not_zeroed, "gradients of the previous step were still there")
            optimized.not_zeroed = None
        gradient = _first_gradient(optimizer)
        optimized.used = None if gradient is None else (ref(gradient), _version(gradient))

    def _check_change(self, optimized: Optimized, parameters: Sequence[Tensor]) -> None:
        start = now()
        pairs = zip(optimized.before, parameters, strict=False)
        optimized.changed = any(not torch.equal(before, _sample(parameter)) for before, parameter in pairs)
        optimized.before = [] if optimized.changed else optimized.before
        self.log.own_seconds += now() - start

    def _check_state(self, optimizer: Optimizer, optimized: Optimized, place: Place) -> None:
        """Look for denormal numbers in an optimizer's state, such as averages of gradients that have become zero."""
        start = now()
        states = [state for state in optimizer.state.values() if isinstance(state, dict)]
        for name in dict.fromkeys(name for state in states for name in state):
            tensors = [each for state in states if isinstance(each := state.get(name), Tensor) and each.dim()]
            self.denormals.check(tensors, f"values of {optimized.kind}'s {name}", place, optimized.steps)
        self.denormals.check(parameters_of(optimizer), "parameters", place, optimized.steps)
        self.log.own_seconds += now() - start

    def before_backward(self, place: Place) -> None:
        """Suspect optimizers whose used gradients are still there: backward adds to them.

        The suspicion is dropped if something writes to them before the step, such as zero_grad().
        """
        for optimizer, optimized in tuple(self._optimized.items()):
            if not optimized.names:
                self._start(optimizer, optimized)
            if optimized.used is None:
                continue
            gradient, version = optimized.used[0](), optimized.used[1]
            if gradient is None or gradient is not _first_gradient(optimizer) or _version(gradient) != version:
                optimized.used = optimized.not_zeroed = None
            elif optimized.not_zeroed is None and not self._has_zeros(optimized, gradient):
                optimized.not_zeroed = place

    def _has_zeros(self, optimized: Optimized, gradient: Tensor) -> bool:
        """Whether its values were zeroed in a way that leaves no other trace, such as p.grad.data.zero_()."""
        if not may_compute():
            return True
        if optimized.zero_checks < MOST_ZERO_CHECKS:
            start = now()
            optimized.zero_checks += 1
            optimized.zeroes_values = not bool(torch.count_nonzero(gradient.detach()))
            self.log.own_seconds += now() - start
        return optimized.zeroes_values

    def after_backward(self) -> None:
        """Remember what the suspected gradients are after they were added to."""
        for optimized in self.optimizers:
            if optimized.used is not None and optimized.not_zeroed is not None:
                gradient = optimized.used[0]()
                optimized.used = None if gradient is None else (optimized.used[0], _version(gradient))

    def check(
        self, model: nn.Module, outputs: int, place: Place, loss_place: Place, *, number: int, rows: bool
    ) -> None:
        """Check the gradients of a model, in step `number`: float64, denormal numbers and, if asked, rows of zeros."""
        parameters = [parameter for parameter in model.parameters() if parameter.grad is not None]
        if any(parameter.dtype == torch.float64 for parameter in parameters):
            count(self.float64, place, "the model's parameters")
        head = next((parameter for parameter in reversed(parameters) if parameter.dim() >= MATRIX), None)
        if head is not None and not rows:
            self.by_value.add(id(head))
        elif head is not None and outputs > 1 and head.shape[0] == outputs and head.grad is not None:
            self._check_rows(model, head, loss_place)
        self.denormals.check([p.grad for p in parameters if p.grad is not None], "gradients", place, number)

    def _check_rows(self, model: nn.Module, head: Tensor, place: Place) -> None:
        assert head.grad is not None  # noqa: S101  the caller has looked
        rows: Any = head.grad.detach().flatten(1).abs().sum(1) == 0
        if rows.device.type == "cpu" and type(rows) is Tensor:
            rows = rows.numpy().copy()
        key = (place, id(head))
        if key in self.dead:
            self.dead[key].rows &= rows
            self.dead[key].checks += 1
        else:
            name = next(name for name, parameter in model.named_parameters() if parameter is head)
            self.dead[key] = Dead(place, name, head.shape[0], rows)


def parameters_of(optimizer: Optimizer) -> list[Tensor]:
    """An optimizer's parameters."""
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]


def count(counts: dict[Any, Counted], key: object, words: str) -> None:
    """Count something that was noticed."""
    counts.setdefault(key, Counted(words)).count += 1


def _is_missing(parameter: Tensor | None) -> bool:
    return parameter is not None and parameter.grad is None


def _first_gradient(optimizer: Optimizer) -> Tensor | None:
    return next((parameter.grad for parameter in parameters_of(optimizer) if parameter.grad is not None), None)


def _version(tensor: Tensor) -> int:
    """A number that grows whenever the tensor is written to."""
    return tensor._version  # noqa: SLF001  there is no public name


def _sample(parameter: Tensor) -> Tensor:
    """The first few values."""
    return parameter.detach().flatten()[:SAMPLE].clone()
