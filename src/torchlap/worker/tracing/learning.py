"""Watch whether the training can learn: shapes passed to losses, the losses themselves, and how models are called."""

from collections.abc import Sequence
from typing import Any
from weakref import WeakKeyDictionary, WeakSet, ref

import torch
from msgspec import Struct, field
from torch import Tensor, nn
from torch.nn import functional

from torchlap.schema.trace import Place
from torchlap.worker.tracing import insert, values
from torchlap.worker.tracing.autograd import path
from torchlap.worker.tracing.denormals import PLAIN
from torchlap.worker.tracing.gradients import MATRIX, MOST_NAMES, Counted, Gradients, count, is_checked
from torchlap.worker.tracing.log import Log, Original, may_compute, now

MOST_LOSSES = 200
"""Of a line. When so many are kept, every other one is dropped, and from then on half as many are added."""

LONGEST_LAYER = 300
IN_EVAL = "Dropout and BatchNorm are in evaluation mode"
MOST_MODELS = 50
NORMALIZERS = (nn.modules.dropout._DropoutNd, nn.modules.batchnorm._BatchNorm)  # noqa: SLF001  the bases of all of them
SEQUENTIAL = (nn.RNNBase, nn.TransformerEncoderLayer, nn.TransformerDecoderLayer, nn.MultiheadAttention)
BROADCASTING = ("mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss")
OTHER_LOSSES = ("cross_entropy", "nll_loss", "binary_cross_entropy", "binary_cross_entropy_with_logits")
MOST_SUMS = 20
"""Targets whose sum is read, to find out whether they are probabilities."""

NEARLY = 1e-3
SHAPE_WORDS = ("shapes cannot be multiplied", "size mismatch", "channels, but got", "Expected", "must match the size")

_apart = torch._C.DisableTorchFunction  # noqa: SLF001  there is no public name
"""Within it, neither a tensor subclass nor a mode notices that a shape is read."""


class Kept(Struct):
    """Losses of a line: an even sample; `classes` if they are a cross entropy of that many classes.

    Those of the CPU are plain numbers, so that a script that counts its tensors finds no others. `unread` counts losses
    that could not be looked at.
    """

    values: list[Tensor | float] = field(default_factory=list)
    count: int = 0
    unread: int = 0
    every: int = 1
    classes: int = 0


class LastCall(Struct):
    """The last call of a model: where, the shape of its outputs, and whether it trains in evaluation mode."""

    model: "ref[nn.Module]"
    shape: tuple[int, ...]
    place: Place
    in_eval: bool


class Learning:
    """Records what the losses and models of a script do."""

    def __init__(self, log: Log) -> None:
        self.log = log
        self.gradients = Gradients(log)
        self.values = values.install(log, self.gradients.denormals)
        self.batch = 0
        self.losses: dict[tuple[Place, int], Kept] = {}
        self.shapes: dict[tuple[Place, str], Counted] = {}
        self.softmax_twice: dict[Place, Counted] = {}
        self.in_eval: dict[Place, Counted] = {}
        self.in_eval_backward: dict[Place, Counted] = {}
        self._sums: dict[Place, int] = {}
        self._eval_place: Place | None = None
        self.refused: dict[tuple[Place, str], Counted] = {}
        self.models: WeakSet[nn.Module] = WeakSet()
        self._numbers: WeakKeyDictionary[nn.Module, int] = WeakKeyDictionary()
        self._sizes: WeakKeyDictionary[nn.Module, int] = WeakKeyDictionary()
        self._time_first: WeakKeyDictionary[nn.Module, bool] = WeakKeyDictionary()
        self._count_models = 0
        self._last: LastCall | None = None
        self._loss_place: Place | None = None
        self._classes = 0
        self._by_value = True
        self._broadcast: tuple[tuple[int, ...], tuple[int, ...]] | None = None

    def record_refusal(self, module: nn.Module, error: Exception) -> None:
        """Record that a layer did not accept its input's shape; other errors are the script's own business."""
        if isinstance(error, torch.OutOfMemoryError) or not any(words in str(error) for words in SHAPE_WORDS):
            return
        layer, received = module, ""
        frame = error.__traceback__
        while frame is not None:
            values = frame.tb_frame.f_locals
            owner, argument = values.get("self"), values.get("input", values.get("x"))
            if isinstance(owner, nn.Module) and isinstance(argument, Tensor):
                layer, received = owner, f" for an input of shape {tuple(argument.shape)}"
            frame = frame.tb_next
        name = next((name for name, child in module.named_modules() if child is layer), "")
        where = "" if layer is module else f" in layer {name} {layer}"[:LONGEST_LAYER]
        words = f"{type(module).__name__} raised {type(error).__name__}{where}{received}"
        count(self.refused, (self.log.place(), words), words)

    def trains(self, module: nn.Module) -> bool:
        """Whether an optimizer holds some of the model's parameters, or they ever had a gradient."""
        return any(id(p) in self.gradients.held or p.grad is not None for p in module.parameters())

    def size_of_last(self) -> int:
        """The number of elements of the parameters of the model that was called last."""
        model = self._last.model() if self._last else None
        if model is None:
            return 0
        if model not in self._sizes:
            self._sizes[model] = sum(parameter.numel() for parameter in model.parameters())
        return self._sizes[model]

    def record_call(self, module: nn.Module, args: Sequence[Any], outputs: object, place: Place) -> None:
        """Record that a model was called."""
        if module not in self.models and len(self.models) < MOST_MODELS:
            self.models.add(module)
            self.gradients.names |= {id(parameter): name for name, parameter in module.named_parameters()}
        inputs = [arg for arg in args if isinstance(arg, Tensor)]
        self.values.record_input(module, inputs, place)
        outputs = getattr(outputs, "logits", outputs)
        shape = tuple(outputs.shape) if isinstance(outputs, Tensor) else ()
        if torch.is_grad_enabled():
            self.batch = self._batch(module, inputs)
        doubles = [tensor for tensor in inputs if tensor.dtype == torch.float64]
        if doubles:
            count(self.gradients.float64, place, f"an input of shape {tuple(doubles[0].shape)}")
        in_eval = False
        if torch.is_grad_enabled() and not module.training and shape:
            layers = [layer for layer in module.modules() if isinstance(layer, NORMALIZERS)]
            in_eval = bool(layers) and not any(layer.training for layer in layers)
        self._last = LastCall(ref(module), shape, place, in_eval)

    def _batch(self, module: nn.Module, inputs: Sequence[Tensor]) -> int:
        """The size of the batch: the first dimension, or the second if the model's layers take time first."""
        tensor = next((tensor for tensor in inputs if tensor.dim()), None)
        if tensor is None:
            return 0
        if module not in self._time_first:
            layers = [layer for layer in module.modules() if isinstance(layer, SEQUENTIAL)]
            self._time_first[module] = bool(layers) and not any(_has_batch_first(layer) for layer in layers)
        return int(tensor.shape[1 if self._time_first[module] and tensor.dim() >= MATRIX else 0])

    def record_loss(self, name: str, outputs: object, targets: object) -> None:
        """Record a call of a loss function, and shapes that do not fit."""
        if not (self.log.active and isinstance(outputs, Tensor) and isinstance(targets, Tensor)):
            return
        shape, expected, soft = tuple(outputs.shape), tuple(targets.shape), targets.is_floating_point()
        place = self._loss_place = self.log.place()
        classifies = name in ("cross_entropy", "nll_loss") and not soft and len(shape) >= MATRIX
        self._classes = shape[1] if classifies else 0
        unbatched = name == "cross_entropy" and len(shape) == 1 and shape == expected and soft and shape[0] > 1
        if unbatched and not self._are_probabilities(targets, place):
            words = (
                f"cross_entropy was given outputs of shape {shape} and float targets of shape {expected}, which means "
                f"one sample with {shape[0]} classes"
            )
        elif name in BROADCASTING and outputs.numel() > 1 and _is_enlarged(shape, expected):
            words = f"{name} was given outputs of shape {shape} and targets of shape {expected}"
        else:
            return
        count(self.shapes, (place, words), words)

    def _are_probabilities(self, targets: Tensor, place: Place) -> bool:
        """Whether targets add up to 1, as all others of this line did that were read."""
        read = self._sums.setdefault(place, 0)
        if read < 0 or read >= MOST_SUMS or not may_compute():
            return read >= 0
        start = now()
        values = targets.detach()
        fits = abs(float(values.sum()) - 1.0) < NEARLY and not bool((values < 0).any())
        self._sums[place] = read + 1 if fits else -1
        self.log.own_seconds += now() - start
        return fits

    def before_backward(self, loss: Tensor | None, place: Place) -> None:
        """In some steps, follow the loss back to the model; always, look for gradients that were not zeroed."""
        self.gradients.before_backward(place)
        kept = self.losses.get((place, self._number(self._model())))
        number = kept.count + 1 if kept else 1
        if loss is None or not is_checked(number):
            return
        self.values.look(loss, number, self._last.place if self._last else place, self._loss_place or place)
        start = now()
        found = path(loss)
        self._by_value = found.by_value or found.compiled
        if found.probabilities:
            count(self.softmax_twice, self._loss_place or place, found.probabilities)
        if found.broadcasts and self._broadcast is None:
            self._broadcast = found.broadcasts
            self._watch_next_difference()
        self.log.own_seconds += now() - start

    def _watch_next_difference(self) -> None:
        """Find the line that broadcasts: for one iteration, subtraction is watched."""
        original: Original = Tensor.__sub__
        own = Tensor.__dict__.get("__sub__")
        wanted, square = self._broadcast or ((), ())

        def subtracting(left: Tensor, right: object) -> object:
            result = original(left, right)
            with _apart():
                shapes = (tuple(left.shape), tuple(right.shape)) if isinstance(right, Tensor) else ((), ())
            if wanted in shapes and isinstance(result, Tensor) and tuple(result.shape) == square:
                if own is None:
                    del Tensor.__sub__
                else:
                    Tensor.__sub__ = own  # type: ignore[method-assign]
                words = f"the difference of shapes {shapes[0]} and {shapes[1]} has the shape {square}"
                count(self.shapes, (self.log.place(), words), words)
            return result

        Tensor.__sub__ = subtracting  # type: ignore[method-assign, assignment]

    def after_backward(self, loss: Tensor | None, place: Place) -> None:
        """Keep a loss, and in some steps check the gradients of the model that was called last."""
        self.gradients.after_backward()
        model = self._model()
        kept = self.losses.setdefault((place, self._number(model)), Kept())
        kept.count += 1
        kept.classes = self._classes
        if loss is not None and loss.numel() == 1:
            _keep(kept, loss)
        if self._last is None:
            return
        self._eval_place = self._last.place if self._last.in_eval else None
        if self._eval_place is not None and model is not None and any(p.requires_grad for p in model.parameters()):
            count(self.in_eval_backward, self._eval_place, IN_EVAL)
        if model is not None and is_checked(kept.count) and may_compute():
            start = now()
            outputs = self._last.shape[-1] if len(self._last.shape) == MATRIX else 0
            rows = not self._by_value
            places = self._last.place, self._loss_place or place
            self.gradients.check(model, outputs, *places, number=kept.count, rows=rows)
            self.log.own_seconds += now() - start

    def after_step(self, parameters: Sequence[Tensor]) -> None:
        """Record that an optimizer has changed parameters, by gradients of a model in evaluation mode.

        Gradients of its inputs alone, as for adversarial examples, are right in that mode.
        """
        place, model = self._eval_place, self._model()
        self._eval_place = None
        if place is not None and model is not None:
            stepped = {id(parameter) for parameter in parameters}
            if any(id(parameter) in stepped for parameter in model.parameters()):
                count(self.in_eval, place, IN_EVAL)

    def _model(self) -> nn.Module | None:
        return self._last.model() if self._last else None

    def _number(self, model: nn.Module | None) -> int:
        """The model's number, by first use; models beyond the first `MOST_MODELS` share one."""
        if model is None:
            return -1
        if model not in self._numbers:
            self._numbers[model] = min(self._count_models, MOST_MODELS)
            self._count_models += 1
        return self._numbers[model]

    def unheld(self) -> tuple[int, int, list[str]]:
        """Parameters of trained models that no optimizer holds: how many, their elements, and some names."""
        held = self.gradients.held
        trained = [model for model in self.models if any(id(parameter) in held for parameter in model.parameters())]
        loose = {
            id(parameter): (name, parameter.numel())
            for model in trained
            for name, parameter in model.named_parameters()
            if parameter.requires_grad and parameter.grad is not None and id(parameter) not in held
        }
        return (
            len(loose),
            sum(number for _, number in loose.values()),
            [name for name, _ in loose.values()][:MOST_NAMES],
        )


def _keep(kept: Kept, loss: Tensor) -> None:
    """Keep a loss, or leave it out."""
    if not may_compute():
        kept.unread += 1
    elif (kept.count - kept.unread - 1) % kept.every == 0:
        is_plain = loss.device.type == "cpu" and type(loss) in PLAIN
        kept.values.append(float(loss.detach()) if is_plain else loss.detach().clone())
        if len(kept.values) >= MOST_LOSSES:
            kept.values, kept.every = kept.values[::2], 2 * kept.every


def _is_enlarged(outputs: tuple[int, ...], targets: tuple[int, ...]) -> bool:
    """Whether outputs are repeated to fit their targets, as a column is for a row.

    Targets that are repeated for each output, such as one for the whole batch, are what is meant.
    """
    longer = any(size != 1 for size in targets[: max(0, len(targets) - len(outputs))])
    pairs = list(zip(reversed(outputs), reversed(targets), strict=False))
    if any(1 not in pair and pair[0] != pair[1] for pair in pairs):
        return False  # torch raises an error
    return longer or any(output < target for output, target in pairs)


def _has_batch_first(layer: nn.Module) -> bool:
    attention = getattr(layer, "self_attn", layer)
    return bool(getattr(attention, "batch_first", False))


def install(learning: Learning) -> None:
    """Watch torch's losses from here on."""
    for name in (*BROADCASTING, *OTHER_LOSSES):
        _watch_loss(getattr(functional, name), name, learning)


def _watch_loss(function: Original, name: str, learning: Learning) -> None:
    insert.watch(function, before=lambda arguments: learning.record_loss(name, arguments[0], arguments[1]))
