"""Watch whether the training can learn: shapes of losses, gradients, and what optimizers hold and change.

Most of it is checked in a few steps only (`CHECKED_STEPS`), because a check waits for the device.
"""

from collections.abc import Sequence
from functools import wraps
from typing import Any
from weakref import WeakKeyDictionary, WeakSet, ref

import torch
from msgspec import Struct, field
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import Optimizer

from torchlap.schema.trace import Place
from torchlap.worker.tracing.log import Log, Original, now

CHECKED_STEPS = (1, 2, 3, 10)
"""The steps in which gradients are checked."""

MOST_LOSSES = 200
"""Of a line. When so many are kept, every other one is dropped, and from then on half as many are added."""

MOST_NAMES = 5
LONGEST_LAYER = 300
MOST_NUMBERS = 4096
MOST_MODELS = 50
SAMPLE = 16
"""Values of each parameter that are compared to find out whether it changes."""

MATRIX = 2
NORMALIZERS = (nn.modules.dropout._DropoutNd, nn.modules.batchnorm._BatchNorm)  # noqa: SLF001  the bases of all of them
BROADCASTING = ("mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss")
OTHER_LOSSES = ("cross_entropy", "nll_loss", "binary_cross_entropy", "binary_cross_entropy_with_logits")

_plain_tensors = torch._C.DisableTorchFunctionSubclass  # noqa: SLF001  there is no public name
"""Within it, a tensor subclass does not notice that its shape is read."""


class Kept(Struct):
    """Losses of a line: an even sample."""

    values: list[Tensor] = field(default_factory=list)
    count: int = 0
    every: int = 1


class Optimized(Struct):
    """What is known about an optimizer; parameters are identified by id, so that they are not kept alive.

    Attributes:
        with_gradient: parameters that had a gradient in a checked step.
        before: samples of the parameters before the first step; emptied once a change was seen.
        last_gradient: a gradient that the last step used, and its version.
        not_zeroed: the line that calls backward while gradients of the step before are still there.
    """

    made: Place
    kind: str
    stepped: Place | None = None
    steps: int = 0
    names: dict[int, str] = field(default_factory=dict)
    elements: dict[int, int] = field(default_factory=dict)
    with_gradient: set[int] = field(default_factory=set)
    before: list[Tensor] = field(default_factory=list)
    changed: bool = False
    last_gradient: tuple["ref[Tensor]", int] | None = None
    not_zeroed: Place | None = None


class Counted(Struct):
    """Something that was noticed at a line, in words, and how often."""

    words: str
    count: int = 0


class Dead(Struct):
    """Outputs of a model (`rows` of its last weight) whose gradient was zero in every check so far."""

    place: Place
    parameter: str
    outputs: int
    rows: Tensor
    checks: int = 1


class LastCall(Struct):
    """The last call of a model: where, the shape of its outputs, and whether it trains in evaluation mode."""

    model: "ref[nn.Module]"
    shape: tuple[int, ...]
    place: Place
    in_eval: bool


class Learning:
    """Records what the losses, gradients and optimizers of a script do."""

    def __init__(self, log: Log) -> None:
        self.log = log
        self.batch = 0
        self.losses: dict[tuple[Place, int], Kept] = {}
        self.shapes: dict[tuple[Place, str], Counted] = {}
        self.in_eval: dict[Place, Counted] = {}
        self.accumulated: dict[Place, Counted] = {}
        self.float64: dict[Place, Counted] = {}
        self.denormal: dict[Place, Counted] = {}
        self.denormal_share = 0.0
        self.cannot_run: dict[Place, Counted] = {}
        self.dead: dict[tuple[Place, int], Dead] = {}
        self.optimizers: list[Optimized] = []
        self._optimized: WeakKeyDictionary[Optimizer, Optimized] = WeakKeyDictionary()
        self.models: WeakSet[nn.Module] = WeakSet()
        self._numbers: WeakKeyDictionary[nn.Module, int] = WeakKeyDictionary()
        self._count_models = 0
        self._held: set[int] = set()
        self._last: LastCall | None = None
        self._loss_place: Place | None = None

    def size_of(self, optimizer: Optimizer) -> int:
        """How many elements an optimizer's parameters have, as of its first step."""
        optimized = self._optimized.get(optimizer)
        return sum(optimized.elements.values()) if optimized else 0

    def record_refusal(self, module: nn.Module, error: Exception) -> None:
        """Record that a model raised: in which layer, on an input of which shape."""
        layer, received = module, ""
        frame = error.__traceback__
        while frame is not None:
            values = frame.tb_frame.f_locals
            owner, argument = values.get("self"), values.get("input", values.get("x"))
            if isinstance(owner, nn.Module) and isinstance(argument, Tensor):
                layer, received = owner, f", on an input of shape {tuple(argument.shape)}"
            frame = frame.tb_next
        name = next((name for name, child in module.named_modules() if child is layer), "")
        where = "" if layer is module else f" in layer {name} {layer}"[:LONGEST_LAYER]
        words = f"{type(module).__name__} raised {type(error).__name__}{where}{received}"
        _count(self.cannot_run, self.log.place(), words)

    def trains(self, module: nn.Module) -> bool:
        """Whether an optimizer holds the model's first parameter."""
        parameter = next(module.parameters(), None)
        return parameter is not None and id(parameter) in self._held

    def record_call(self, module: nn.Module, args: Sequence[Any], outputs: object, place: Place) -> None:
        """Record that a model was called."""
        if len(self.models) < MOST_MODELS:
            self.models.add(module)
        inputs = [arg for arg in args if isinstance(arg, Tensor)]
        with _plain_tensors():
            outputs = getattr(outputs, "logits", outputs)
            shape = tuple(outputs.shape) if isinstance(outputs, Tensor) else ()
            if torch.is_grad_enabled():
                self.batch = next((tensor.shape[0] for tensor in inputs if tensor.dim()), 0)
            doubles = [tensor for tensor in inputs if tensor.dtype == torch.float64]
            if doubles:
                _count(self.float64, place, f"an input of shape {tuple(doubles[0].shape)}")
        in_eval = False
        if torch.is_grad_enabled() and not module.training and shape:
            layers = [layer for layer in module.modules() if isinstance(layer, NORMALIZERS)]
            in_eval = bool(layers) and not any(layer.training for layer in layers)
        self._last = LastCall(ref(module), shape, place, in_eval)

    def record_loss(self, name: str, outputs: Tensor, targets: Tensor) -> None:
        """Record a call of a loss function whose shapes do not fit."""
        with _plain_tensors():
            shape, expected, soft = tuple(outputs.shape), tuple(targets.shape), targets.is_floating_point()
        place = self._loss_place = self.log.place()
        if name == "cross_entropy" and len(shape) == 1 and shape == expected and soft and shape[0] > 1:
            words = (
                f"cross_entropy of outputs of shape {shape} and float targets of shape {expected}, which means one "
                f"sample with {shape[0]} classes"
            )
        elif name in BROADCASTING and shape != expected:
            words = f"{name} of outputs of shape {shape} and targets of shape {expected}"
        else:
            return
        _count(self.shapes, (place, words), words)

    def record_difference(self, left: Tensor, right: Tensor) -> None:
        """Record a difference of a column and a row, of which one has a gradient: a loss that broadcasts by mistake."""
        with _plain_tensors():
            shapes = tuple(left.shape), tuple(right.shape)
            one_learns = left.requires_grad != right.requires_grad
        if one_learns and {len(shape) for shape in shapes} == {1, MATRIX}:
            column, row = sorted(shapes, key=len, reverse=True)
            if column[1] == 1 and column[0] == row[0] > 1:
                place = self.log.place()
                words = f"the difference of shapes {shapes[0]} and {shapes[1]} has the shape {(row[0], row[0])}"
                _count(self.shapes, (place, words), words)

    def before_backward(self, place: Place) -> None:
        """Suspect optimizers whose last gradients are still there: backward adds to them."""
        for optimized in self.optimizers:
            if optimized.last_gradient and optimized.not_zeroed is None:
                gradient, version = optimized.last_gradient[0](), optimized.last_gradient[1]
                if gradient is not None and _version(gradient) == version:
                    optimized.not_zeroed = place

    def record_zeroing(self, parameters: Sequence[Tensor]) -> None:
        """Clear the suspicion: the gradients of these parameters are zeroed."""
        zeroed = {id(parameter) for parameter in parameters}
        for optimizer, optimized in self._optimized.items():
            if id(optimizer.param_groups[0]["params"][0]) in zeroed:
                optimized.not_zeroed = optimized.last_gradient = None

    def after_backward(self, loss: Tensor | None, place: Place) -> None:
        """Keep a loss, and in some steps check the gradients of the model that was called last."""
        model = self._last.model() if self._last else None
        kept = self.losses.setdefault((place, self._number(model)), Kept())
        kept.count += 1
        if loss is not None and loss.numel() == 1 and (kept.count - 1) % kept.every == 0:
            kept.values.append(loss.detach())
            if len(kept.values) >= MOST_LOSSES:
                kept.values, kept.every = kept.values[::2], 2 * kept.every
        if self._last is None:
            return
        if self._last.in_eval:
            _count(self.in_eval, self._last.place, "Dropout and BatchNorm are in evaluation mode")
        if kept.count in CHECKED_STEPS and model is not None:
            start = now()
            self._check_gradients(model, self._last, self._loss_place or place)
            self.log.own_seconds += now() - start

    def _number(self, model: nn.Module | None) -> int:
        """The model's number, by first use; models beyond the first `MOST_MODELS` share one."""
        if model is None:
            return -1
        if model not in self._numbers:
            self._numbers[model] = min(self._count_models, MOST_MODELS)
            self._count_models += 1
        return self._numbers[model]

    def _check_gradients(self, model: nn.Module, call: LastCall, loss_place: Place) -> None:
        parameters = [parameter for parameter in model.parameters() if parameter.grad is not None]
        if any(parameter.dtype == torch.float64 for parameter in parameters):
            _count(self.float64, call.place, "the model's parameters")
        outputs = call.shape[-1] if len(call.shape) == MATRIX else 0
        head = next((parameter for parameter in reversed(parameters) if parameter.dim() >= MATRIX), None)
        if head is not None and outputs > 1 and head.shape[0] == outputs and head.grad is not None:
            rows = (head.grad.detach().flatten(1).abs().sum(1) == 0).cpu()
            key = (loss_place, id(head))
            if key in self.dead:
                self.dead[key].rows &= rows
                self.dead[key].checks += 1
            else:
                name = next(name for name, parameter in model.named_parameters() if parameter is head)
                self.dead[key] = Dead(loss_place, name, outputs, rows)
        if all(parameter.device.type == "cpu" for parameter in parameters):
            self._check_denormals(parameters, call.place)

    def _check_denormals(self, parameters: Sequence[Tensor], place: Place) -> None:
        tiny = torch.finfo(torch.float32).tiny
        grads = [_sampled(p.grad) for p in parameters if p.grad is not None and p.dtype == torch.float32]
        denormal = sum(int(((grad != 0) & (grad.abs() < tiny)).sum()) for grad in grads)
        nonzero = sum(int((grad != 0).sum()) for grad in grads)
        share = denormal / nonzero if nonzero else 0.0
        if share > 0:
            _count(self.denormal, place, "gradients")
            self.denormal_share = max(self.denormal_share, share)

    def record_optimizer(self, optimizer: Optimizer, place: Place) -> None:
        """Record that an optimizer is being created."""
        self._optimized[optimizer] = Optimized(place, type(optimizer).__name__)
        if len(self.optimizers) < MOST_MODELS:
            self.optimizers.append(self._optimized[optimizer])

    def before_step(self, optimizer: Optimizer) -> None:
        """Before the first step, keep samples of the parameters; in some steps, record which have a gradient."""
        optimized = self._optimized.get(optimizer)
        if optimized is None:
            return
        parameters = parameters_of(optimizer)
        if optimized.steps == 0:
            self._before_first_step(optimized, parameters)
        elif not optimized.changed and optimized.steps + 1 in CHECKED_STEPS:
            start = now()
            pairs = zip(optimized.before, parameters, strict=False)
            optimized.changed = any(not torch.equal(before, _sample(parameter)) for before, parameter in pairs)
            optimized.before = [] if optimized.changed else optimized.before
            self.log.own_seconds += now() - start
        if optimized.not_zeroed is not None:
            _count(self.accumulated, optimized.not_zeroed, "gradients of the step before were still there")
            optimized.not_zeroed = None
        if optimized.steps + 1 in CHECKED_STEPS or not optimized.with_gradient:
            optimized.with_gradient |= {id(parameter) for parameter in parameters if parameter.grad is not None}

    def _before_first_step(self, optimized: Optimized, parameters: Sequence[Tensor]) -> None:
        start = now()
        names = {id(parameter): name for model in self.models for name, parameter in model.named_parameters()}
        optimized.names = {id(p): names.get(id(p), f"of shape {tuple(p.shape)}") for p in parameters}
        optimized.elements = {id(parameter): parameter.numel() for parameter in parameters}
        optimized.before = [_sample(parameter) for parameter in parameters]
        self._held |= set(optimized.names)
        self.log.own_seconds += now() - start

    def after_step(self, optimizer: Optimizer, place: Place) -> None:
        """Record that it stepped, and a gradient that should be zeroed before the next backward."""
        optimized = self._optimized.get(optimizer)
        if optimized is None:
            return
        optimized.steps += 1
        optimized.stepped = place
        grad = next((parameter.grad for parameter in parameters_of(optimizer) if parameter.grad is not None), None)
        optimized.last_gradient = None if grad is None else (ref(grad), _version(grad))

    def unheld(self) -> tuple[int, int, list[str]]:
        """Parameters of trained models that no optimizer holds: how many, their elements, and some names."""
        trained = [model for model in self.models if self._trains_some(model)]
        loose = {
            id(parameter): (name, parameter.numel())
            for model in trained
            for name, parameter in model.named_parameters()
            if parameter.requires_grad and id(parameter) not in self._held
        }
        return len(loose), sum(count for _, count in loose.values()), [name for name, _ in loose.values()][:MOST_NAMES]

    def _trains_some(self, module: nn.Module) -> bool:
        """Whether an optimizer holds any of the model's parameters."""
        return any(id(parameter) in self._held for parameter in module.parameters())


def parameters_of(optimizer: Optimizer) -> list[Tensor]:
    """An optimizer's parameters."""
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]


def _version(tensor: Tensor) -> int:
    """A number that grows whenever the tensor is written to."""
    return tensor._version  # noqa: SLF001  there is no public name


def _sample(parameter: Tensor) -> Tensor:
    """The first few values."""
    return parameter.detach().flatten()[:SAMPLE].clone()


def _sampled(gradient: Tensor) -> Tensor:
    """Some of the values, evenly."""
    return gradient.detach().flatten()[:: 1 + gradient.numel() // MOST_NUMBERS]


def _count(counts: dict[Any, Counted], key: object, words: str) -> None:
    counts.setdefault(key, Counted(words)).count += 1


def install(log: Log, learning: Learning) -> None:
    """Watch torch's losses from here on, and subtraction for losses that are written by hand."""
    for name in (*BROADCASTING, *OTHER_LOSSES):
        setattr(functional, name, _watched_loss(getattr(functional, name), name, log, learning))
    original: Original = Tensor.__sub__

    @wraps(original)
    def subtracting(self: Tensor, other: object) -> object:
        if log.active and isinstance(other, Tensor) and not torch.compiler.is_compiling():
            learning.record_difference(self, other)
        return original(self, other)

    Tensor.__sub__ = subtracting  # type: ignore[method-assign, assignment]


def _watched_loss(original: Original, name: str, log: Log, learning: Learning) -> Original:
    @wraps(original)
    def watched(input: Tensor, target: Tensor, *args: object, **kwargs: object) -> object:  # noqa: A002  torch's own names
        if log.active and not torch.compiler.is_compiling():
            learning.record_loss(name, input, target)
        return original(input, target, *args, **kwargs)

    return watched
