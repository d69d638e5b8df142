"""Whether the script's training can teach: its losses' shapes, its gradients, what its optimizers hold and change.

Most is looked at in a few steps only (`LOOKS`), for to look is to wait for the device.
"""

from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any
from weakref import WeakKeyDictionary, WeakSet, ref

import torch
from msgspec import Struct, field
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import Optimizer

from torchlap.schema.trace import Place
from torchlap.worker.tracing.log import Log, now

LOOKS = (1, 2, 3, 10)
"""The steps in which gradients are looked at."""

MOST_LOSSES = 200
"""Of a line's; when so many are kept, every other is dropped and half as many are added from then on."""

MOST_NAMES = 5
MOST_WORDS = 300
MOST_NUMBERS = 4096
MOST_MODELS = 50
SAMPLE = 16
"""Of each parameter so many values tell whether it changes."""

MATRIX = 2
NORMALIZERS = (nn.modules.dropout._DropoutNd, nn.modules.batchnorm._BatchNorm)  # noqa: SLF001  the bases of all of them
BROADCASTING = ("mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss")
OTHER_LOSSES = ("cross_entropy", "nll_loss", "binary_cross_entropy", "binary_cross_entropy_with_logits")


class Kept(Struct):
    """Losses of a line: a few of them, evenly."""

    values: list[Tensor] = field(default_factory=list)
    count: int = 0
    every: int = 1


class Optimized(Struct):
    """What is known of an optimizer; its parameters are its own to keep, here are their names and sizes."""

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
    suspect: Place | None = None


class Counted(Struct):
    """Something said of a line, and how often."""

    words: str
    count: int = 0


class Dead(Struct):
    """Which outputs of a model have had no gradient in any look so far."""

    place: Place
    parameter: str
    outputs: int
    rows: Tensor
    looks: int = 1


class Learning:
    """Notes what the losses, gradients and optimizers of a script do."""

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
        self._last: tuple[ref[nn.Module], tuple[int, ...], Place, bool] | None = None
        self._loss_place: Place | None = None

    def size_of(self, optimizer: Optimizer) -> int:
        """How many numbers an optimizer holds, as of its first step."""
        seen = self._optimized.get(optimizer)
        return sum(seen.elements.values()) if seen else 0

    def refused(self, module: nn.Module, error: Exception) -> None:
        """A model could not be run: which layer of it was given what?"""
        layer, given = module, ""
        frame = error.__traceback__
        while frame is not None:
            values = frame.tb_frame.f_locals
            owner, argument = values.get("self"), values.get("input", values.get("x"))
            if isinstance(owner, nn.Module) and isinstance(argument, Tensor):
                layer, given = owner, f" was given a tensor of shape {tuple(argument.shape)}"
            frame = frame.tb_next
        name = next((name for name, each in module.named_modules() if each is layer), "")
        words = f"{type(module).__name__}: {name} {layer}"[:MOST_WORDS]
        _count(self.cannot_run, self.log.place(), f"{words}{given} ({type(error).__name__})")

    def trains(self, module: nn.Module) -> bool:
        """Tell whether an optimizer holds the model."""
        parameter = next(module.parameters(), None)
        return parameter is not None and id(parameter) in self._held

    def called(self, module: nn.Module, args: Sequence[Any], given: Any, place: Place) -> None:  # noqa: ANN401  a module takes and gives anything
        """A model was called."""
        if len(self.models) < MOST_MODELS:
            self.models.add(module)
        with torch._C.DisableTorchFunctionSubclass():  # noqa: SLF001  shapes alone are looked at
            given = getattr(given, "logits", given)
            shape = tuple(given.shape) if isinstance(given, Tensor) else ()
            if torch.is_grad_enabled():
                self.batch = next((each.shape[0] for each in args if isinstance(each, Tensor) and each.dim()), 0)
            doubles = [each for each in args if isinstance(each, Tensor) and each.dtype == torch.float64]
            if doubles:
                _count(self.float64, place, f"an input of shape {tuple(doubles[0].shape)}")
        in_eval = False
        if torch.is_grad_enabled() and not module.training and shape:
            layers = [each for each in module.modules() if isinstance(each, NORMALIZERS)]
            in_eval = bool(layers) and not any(layer.training for layer in layers)
        self._last = (ref(module), shape, place, in_eval)

    def loss_called(self, name: str, given: Tensor, target: Tensor) -> None:
        """A loss function was called: its shapes are looked at."""
        with torch._C.DisableTorchFunctionSubclass():  # noqa: SLF001
            mine, its, soft = tuple(given.shape), tuple(target.shape), target.is_floating_point()
        place = self._loss_place = self.log.place()
        if name == "cross_entropy" and len(mine) == 1 and mine == its and soft and mine[0] > 1:
            words = (
                f"cross_entropy of outputs of shape {mine} and float targets of shape {its}: read as one sample with "
                f"{mine[0]} classes"
            )
        elif name in BROADCASTING and mine != its:
            words = f"{name} of outputs of shape {mine} and targets of shape {its}"
        else:
            return
        _count(self.shapes, (place, words), words)

    def subtracted(self, one: Tensor, other: Tensor) -> None:
        """Two tensors were subtracted; a column from a row, of which one has a gradient, is a loss gone wrong."""
        with torch._C.DisableTorchFunctionSubclass():  # noqa: SLF001  as above
            shapes = tuple(one.shape), tuple(other.shape)
            one_learns = one.requires_grad != other.requires_grad
        if one_learns and {len(shape) for shape in shapes} == {1, MATRIX}:
            column, row = sorted(shapes, key=len, reverse=True)
            if column[1] == 1 and column[0] == row[0] > 1:
                place = self.log.place()
                words = f"outputs and targets of shapes {shapes[0]} and {shapes[1]} give {(row[0], row[0])}"
                _count(self.shapes, (place, words), words)

    def before_backward(self, place: Place) -> None:
        """Gradients that were stepped with and are still there will be added to."""
        for seen in self.optimizers:
            if seen.last_gradient and seen.suspect is None:
                gradient, version = seen.last_gradient[0](), seen.last_gradient[1]
                if gradient is not None and gradient._version == version:  # noqa: SLF001  to see that nobody wrote to it
                    seen.suspect = place

    def zeroed(self, parameters: Sequence[Tensor]) -> None:
        """Somebody threw gradients away, as is right."""
        mine = {id(parameter) for parameter in parameters}
        for optimizer, seen in self._optimized.items():
            if id(optimizer.param_groups[0]["params"][0]) in mine:
                seen.suspect = seen.last_gradient = None

    def after_backward(self, loss: Tensor | None, place: Place) -> None:
        """A loss is kept, and in some steps the gradients of the model's outputs are looked at."""
        model = self._last[0]() if self._last else None
        kept = self.losses.setdefault((place, self._number(model)), Kept())
        kept.count += 1
        if loss is not None and loss.numel() == 1 and (kept.count - 1) % kept.every == 0:
            kept.values.append(loss.detach())
            if len(kept.values) >= MOST_LOSSES:
                kept.values, kept.every = kept.values[::2], 2 * kept.every
        if self._last is None:
            return
        _, shape, called, in_eval = self._last
        if in_eval:
            _count(self.in_eval, called, "Dropout and BatchNorm behave as in evaluation")
        if kept.count in LOOKS and model is not None:
            start = now()
            self._look(model, shape, self._loss_place or place, called)
            self.log.own_seconds += now() - start

    def _number(self, model: nn.Module | None) -> int:
        """Which model it is; those beyond the first so many share a number."""
        if model is None:
            return -1
        if model not in self._numbers:
            self._numbers[model] = min(self._count_models, MOST_MODELS)
            self._count_models += 1
        return self._numbers[model]

    def _look(self, model: nn.Module, shape: tuple[int, ...], place: Place, called: Place) -> None:
        parameters = [each for each in model.parameters() if each.grad is not None]
        if any(each.dtype == torch.float64 for each in parameters):
            _count(self.float64, called, "the model's parameters")
        outputs = shape[-1] if len(shape) == MATRIX else 0
        head = next((each for each in reversed(parameters) if each.dim() >= MATRIX), None)
        if head is not None and outputs > 1 and head.shape[0] == outputs and head.grad is not None:
            rows = (head.grad.detach().flatten(1).abs().sum(1) == 0).cpu()
            key = (place, id(head))
            if key in self.dead:
                self.dead[key].rows &= rows
                self.dead[key].looks += 1
            else:
                name = next(name for name, each in model.named_parameters() if each is head)
                self.dead[key] = Dead(place, name, outputs, rows)
        if all(each.device.type == "cpu" for each in parameters):
            self._look_for_denormals(parameters, called)

    def _look_for_denormals(self, parameters: Sequence[Tensor], place: Place) -> None:
        tiny = torch.finfo(torch.float32).tiny
        grads = [few(each.grad) for each in parameters if each.grad is not None and each.dtype == torch.float32]
        some = sum(int(((grad != 0) & (grad.abs() < tiny)).sum()) for grad in grads)
        all_of_them = sum(int((grad != 0).sum()) for grad in grads)
        share = some / all_of_them if all_of_them else 0.0
        if share > 0:
            _count(self.denormal, place, "gradients")
            self.denormal_share = max(self.denormal_share, share)

    def made(self, optimizer: Optimizer, place: Place) -> None:
        """An optimizer is being made."""
        self._optimized[optimizer] = Optimized(place, type(optimizer).__name__)
        if len(self.optimizers) < MOST_MODELS:
            self.optimizers.append(self._optimized[optimizer])

    def before_step(self, optimizer: Optimizer) -> None:
        """In some steps, note which parameters have a gradient; before the first, what they are."""
        seen = self._optimized.get(optimizer)
        if seen is None:
            return
        parameters = parameters_of(optimizer)
        if seen.steps == 0:
            self._first_step(seen, parameters)
        elif not seen.changed and seen.steps + 1 in LOOKS:
            start = now()
            pairs = zip(seen.before, parameters, strict=False)
            seen.changed = any(not torch.equal(before, sample(parameter)) for before, parameter in pairs)
            seen.before = [] if seen.changed else seen.before
            self.log.own_seconds += now() - start
        if seen.suspect is not None:
            _count(self.accumulated, seen.suspect, "gradients of the step before were still there")
            seen.suspect = None
        if seen.steps + 1 in LOOKS or not seen.with_gradient:
            seen.with_gradient |= {id(parameter) for parameter in parameters if parameter.grad is not None}

    def _first_step(self, seen: Optimized, parameters: Sequence[Tensor]) -> None:
        start = now()
        names = {id(each): name for model in self.models for name, each in model.named_parameters()}
        seen.names = {id(each): names.get(id(each), f"of shape {tuple(each.shape)}") for each in parameters}
        seen.elements = {id(each): each.numel() for each in parameters}
        seen.before = [sample(parameter) for parameter in parameters]
        self._held |= set(seen.names)
        self.log.own_seconds += now() - start

    def after_step(self, optimizer: Optimizer, place: Place) -> None:
        """Note that it stepped, and the gradient that should be gone before the next backward."""
        seen = self._optimized.get(optimizer)
        if seen is None:
            return
        seen.steps += 1
        seen.stepped = place
        grad = next((each.grad for each in parameters_of(optimizer) if each.grad is not None), None)
        seen.last_gradient = None if grad is None else (ref(grad), grad._version)  # noqa: SLF001  as above

    def unheld(self) -> tuple[int, int, list[str]]:
        """Of the models that are trained: how many parameters no optimizer holds, their elements, and some names."""
        trained = [model for model in self.models if self.trains_any(model)]
        loose = {
            id(each): (name, each.numel())
            for model in trained
            for name, each in model.named_parameters()
            if each.requires_grad and id(each) not in self._held
        }
        return len(loose), sum(count for _, count in loose.values()), [name for name, _ in loose.values()][:MOST_NAMES]

    def trains_any(self, module: nn.Module) -> bool:
        """Tell whether an optimizer holds any of the model."""
        return any(id(parameter) in self._held for parameter in module.parameters())


def parameters_of(optimizer: Optimizer) -> list[Tensor]:
    """What an optimizer holds."""
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]


def sample(parameter: Tensor) -> Tensor:
    """A few of its values."""
    return parameter.detach().flatten()[:SAMPLE].clone()


def few(gradient: Tensor) -> Tensor:
    """Some of its numbers, from all over it."""
    return gradient.detach().flatten()[:: 1 + gradient.numel() // MOST_NUMBERS]


def _count(counts: dict[Any, Counted], key: object, words: str) -> None:
    counts.setdefault(key, Counted(words)).count += 1


def install(log: Log, learning: Learning) -> None:
    """Watch the losses that torch has, and subtraction for those that are written by hand."""
    for name in (*BROADCASTING, *OTHER_LOSSES):
        setattr(functional, name, _watched_loss(getattr(functional, name), name, log, learning))
    original = Tensor.__sub__

    @wraps(original)
    def subtracting(self: Tensor, other: Any) -> Any:  # noqa: ANN401  a tensor or a number
        if log.active and isinstance(other, Tensor) and not torch.compiler.is_compiling():
            learning.subtracted(self, other)
        return original(self, other)

    Tensor.__sub__ = subtracting  # type: ignore[method-assign, assignment]  # to see its shapes


def _watched_loss(original: Callable[..., Tensor], name: str, log: Log, learning: Learning) -> Callable[..., Tensor]:
    @wraps(original)
    def watched(input: Tensor, target: Tensor, *args: Any, **kwargs: Any) -> Tensor:  # noqa: A002, ANN401  torch's own names
        if log.active and not torch.compiler.is_compiling():
            learning.loss_called(name, input, target)
        return original(input, target, *args, **kwargs)

    return watched
