"""Look at the tensors that an autograd graph has saved for backward: formats, denormals, operators slow for values.

Only in a few steps, on the thread that trains, before backward frees them. Where a script saves tensors in its own way,
such as activation checkpointing, reading one would compute it again: then nothing is read.
"""

from collections.abc import Callable
from typing import Any
from weakref import WeakKeyDictionary

import torch
from msgspec import Struct
from torch import Tensor, nn
from torch.autograd import graph
from torch.backends import cudnn

from torchlap.schema.trace import Place
from torchlap.worker.tracing import insert
from torchlap.worker.tracing.denormals import PLAIN, TINY, Denormals, sampled
from torchlap.worker.tracing.gradients import is_sampled
from torchlap.worker.tracing.log import Log, may_compute, now

MOST_NODES = 2000
MOST_TIMED = 8
"""Operators of a kind that are timed in a step."""

SLOWER = 3.0
SHORTEST = 1e-9
POSITIVE = ("log", "log2", "sqrt")
TRIES, REPEATS = 3, 5
IMAGE = 4
CONVOLUTIONS = (nn.Conv2d, nn.Conv3d, nn.ConvTranspose2d, nn.ConvTranspose3d)
MOST_SHAPES = 200
EXTREME = 200.0
"""Stands for an input of exp that is beyond the range of its results."""

INPUTS: dict[str, tuple[str, Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]] = {
    "ExpBackward": ("_saved_result", lambda saved: saved.log().clamp(-EXTREME, EXTREME), torch.exp),
    "LogBackward": ("_saved_self", lambda saved: saved, torch.log),
    "Log1PBackward": ("_saved_self", lambda saved: saved, torch.log1p),
    "Log2Backward": ("_saved_self", lambda saved: saved, torch.log2),
    "SqrtBackward": ("_saved_result", lambda saved: saved.square().nan_to_num(nan=-1.0), torch.sqrt),
    "SinBackward": ("_saved_self", lambda saved: saved, torch.sin),
    "CosBackward": ("_saved_self", lambda saved: saved, torch.cos),
    "TanhBackward": ("_saved_result", lambda saved: saved.clamp(-1.0, 1.0).atanh().clamp(-10.0, 10.0), torch.tanh),
    "SigmoidBackward": ("_saved_result", lambda saved: saved.logit().clamp(-EXTREME, EXTREME), torch.sigmoid),
    "GeluBackward": ("_saved_self", lambda saved: saved, nn.functional.gelu),
    "SiluBackward": ("_saved_self", lambda saved: saved, nn.functional.silu),
    "SoftplusBackward": ("_saved_self", lambda saved: saved, nn.functional.softplus),
}
"""Operators by the names of their nodes: what is saved, the input that belongs to it, and the operator."""

ACTIVATIONS = ("_saved_self", "_saved_result", "_saved_input", "_saved_mat1")


class Slow(Struct):
    """An operator that is slow for its values: the largest factor, and the values that explain it, in words."""

    place: Place
    operator: str
    factor: float
    words: str = ""
    count: int = 0


class Formats(Struct):
    """Convolutions of a model that works in channels_last, and those whose input was converted back."""

    place: Place
    convolutions: int
    converted: int
    looks: int = 0


class Searched(Struct):
    """Shapes of a model's inputs while cudnn.benchmark was on."""

    place: Place
    calls: int = 0
    shapes: dict[tuple[int, ...], int] = {}


class Values:
    """Records what saved tensors hold, and input shapes for which cuDNN searches algorithms."""

    def __init__(self, log: Log, denormals: Denormals) -> None:
        self.log, self.denormals = log, denormals
        self.slow: dict[str, Slow] = {}
        self.formats: dict[Place, Formats] = {}
        self.searched: dict[Place, Searched] = {}
        self._convolves: WeakKeyDictionary[nn.Module, bool] = WeakKeyDictionary()
        self._packs = False

    def record_hooks(self, _arguments: tuple[Any, ...]) -> None:
        """The script saves tensors in its own way."""
        self._packs = True

    def record_input(self, module: nn.Module, inputs: list[Tensor], place: Place) -> None:
        """Record the shape of an image, if cuDNN searches for algorithms."""
        if not cudnn.benchmark:
            return
        image = next((each for each in inputs if each.dim() >= IMAGE), None)
        if module not in self._convolves:
            self._convolves[module] = any(isinstance(each, CONVOLUTIONS) for each in module.modules())
        if image is None or not self._convolves[module]:
            return
        searched = self.searched.setdefault(place, Searched(place, shapes={}))
        searched.calls += 1
        shape = tuple(image.shape)
        if shape in searched.shapes or len(searched.shapes) < MOST_SHAPES:
            searched.shapes[shape] = searched.shapes.get(shape, 0) + 1

    def look(self, loss: Tensor, number: int, model: Place, place: Place) -> None:
        """Look at what the loss's graph has saved: in step `number`, counted from 1, at the call of the model."""
        if self._packs or not is_sampled(number) or not may_compute():
            return
        start = now()
        try:
            self._look(_nodes(loss.grad_fn), number, model, place, on_cpu=loss.device.type == "cpu")
        except RuntimeError:  # overwritten in place, or freed: backward will say so
            self._packs = True
        self.log.own_seconds += now() - start

    def _look(self, nodes: list[Any], number: int, model: Place, place: Place, *, on_cpu: bool) -> None:
        self._look_at_formats([node for node in nodes if node.name().startswith("Convolution")], model)
        if on_cpu:
            self._look_at_values(nodes, model, number)
            self._look_at_operators(nodes, place)

    def _look_at_formats(self, convolutions: list[Any], place: Place) -> None:
        saved = [(getattr(node, "_saved_input", None), getattr(node, "_saved_weight", None)) for node in convolutions]
        pairs = [(image, weight) for image, weight in saved if isinstance(image, Tensor) and isinstance(weight, Tensor)]
        wanted = any(_is_last(weight) or (image.grad_fn is None and _is_last(image)) for image, weight in pairs)
        inner = [image for image, _ in pairs if image.grad_fn is not None and _is_plain(image) != _is_last(image)]
        if wanted and inner:
            converted = sum(map(_is_plain, inner))
            formats = self.formats.setdefault(place, Formats(place, len(inner), converted))
            formats.convolutions, formats.converted = len(inner), min(converted, formats.converted)
            formats.looks += 1

    def _look_at_values(self, nodes: list[Any], place: Place, number: int) -> None:
        saved = {
            tensor.data_ptr(): tensor
            for node in nodes
            for name in ACTIVATIONS
            if isinstance(tensor := getattr(node, name, None), Tensor) and not isinstance(tensor, nn.Parameter)
        }
        self.denormals.check(saved.values(), "activations", place, number)

    def _look_at_operators(self, nodes: list[Any], place: Place) -> None:
        timed: dict[str, int] = {}
        for node in nodes:
            kind = node.name().rstrip("0123456789")
            if kind not in INPUTS or timed.get(kind, 0) >= MOST_TIMED:
                continue
            timed[kind] = timed.get(kind, 0) + 1
            saved, restore, operator = INPUTS[kind]
            tensor = getattr(node, saved, None)
            if not isinstance(tensor, Tensor) or type(tensor) not in PLAIN:
                continue
            if tensor.dtype == torch.float32 and tensor.numel():
                self._time(operator, restore(sampled(tensor)), place)

    def _time(self, operator: Callable[[Tensor], Tensor], values: Tensor, place: Place) -> None:
        """Compare the operator on these values with the operator on usual ones."""
        usual = torch.linspace(0.5, 1.0, values.numel(), device="cpu", dtype=torch.float32)
        factor = _seconds(operator, values) / max(_seconds(operator, usual), SHORTEST)
        name = operator.__name__
        words = _unusual(name, values) if factor >= SLOWER else ""
        if not words:
            return
        slow = self.slow.setdefault(name, Slow(place, name, 0.0))
        slow.count += 1
        if factor > slow.factor:
            slow.factor, slow.words = factor, words


def _unusual(name: str, values: Tensor) -> str:
    """The kind of value that is most frequent among those that can be slow; empty if there is none."""
    kinds = {
        "are denormal": (values != 0) & (values.abs() < TINY),
        "are beyond 100 or not finite": ~(values.abs() <= EXTREME / 2),
        "are zero or negative": values <= 0 if name in POSITIVE else torch.zeros_like(values, dtype=torch.bool),
    }
    counts = {words: int(unusual.sum()) for words, unusual in kinds.items()}
    words = max(counts, key=lambda each: counts[each])
    return "" if not counts[words] else f"{counts[words]} of {values.numel()} sampled inputs {words}"


def _nodes(root: Any) -> list[Any]:  # noqa: ANN401  torch has no type for nodes
    nodes: list[Any] = []
    known, pending = {root}, [root] if root is not None else []
    while pending and len(nodes) < MOST_NODES:
        node = pending.pop()
        nodes.append(node)
        for following, _ in node.next_functions:
            if following is not None and following not in known:
                known.add(following)
                pending.append(following)
    return nodes


def _is_last(tensor: Tensor) -> bool:
    """Whether a tensor is in channels_last, and not in both formats, as with one channel."""
    last = tensor.dim() == IMAGE and tensor.is_contiguous(memory_format=torch.channels_last)
    return last and not tensor.is_contiguous()


def _is_plain(tensor: Tensor) -> bool:
    """Whether a tensor is contiguous, and not in both formats."""
    plain = tensor.dim() == IMAGE and tensor.is_contiguous()
    return plain and not tensor.is_contiguous(memory_format=torch.channels_last)


def _seconds(operator: Callable[[Tensor], Tensor], values: Tensor) -> float:
    """The quickest of several tries."""
    operator(values)
    best = float("inf")
    for _ in range(TRIES):
        start = now()
        for _ in range(REPEATS):
            operator(values)
        best = min(best, now() - start)
    return best


def install(log: Log, denormals: Denormals) -> Values:
    """Watch from here on."""
    values = Values(log, denormals)
    insert.watch(graph.saved_tensors_hooks.__enter__, before=values.record_hooks)
    return values
