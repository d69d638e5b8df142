"""Every operator that a device runs, beside the same operator on the same values in float64 on the CPU.

A whole step cannot be compared with float64: one ReLU that flips for rounding changes gradients by a hundredth. Each
operator of the step can, with nothing amplified, forward, backward and in the optimizer, with the shapes, layouts and
types that it really has. What draws random numbers is looked at by its statistics.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from math import inf, isfinite, prod, sqrt
from typing import Any, Self

import torch
from msgspec import Struct
from msgspec.structs import replace
from torch import Tensor, nn
from torch.optim.optimizer import register_optimizer_step_post_hook, register_optimizer_step_pre_hook
from torch.utils import _pytree
from torch.utils._python_dispatch import TorchDispatchMode

from torchlap.schema.numerics import FaultKind, NumericsFault
from torchlap.worker.numerics.bug_report import script
from torchlap.worker.numerics.tolerance import CANCELLATION, GROWTH, NEAR, SINGLE, WIGGLE, allowed, allowed_worst

Operator = Any
"""An operator's overload; torch has no public type for it."""

OPERANDS: dict[str, tuple[int, ...]] = {
    "convolution": (0, 1),
    "convolution_backward": (0, 1, 2),
    "mm": (0, 1),
    "addmm": (1, 2),
    "bmm": (0, 1),
    "baddbmm": (1, 2),
    "linear": (0, 1),
    "linear_backward": (0, 1, 2),
}
"""Operators that multiply matrices, and the arguments that a tensor core rounds."""

NOTHING_TO_SEE = (
    "detach",
    "empty",
    "empty_like",
    "empty_strided",
    "empty_permuted",
    "new_empty",
    "new_empty_strided",
    "resize_",
    "_local_scalar_dense",
)
UNIT_16_BIT = {torch.bfloat16: 2.0**-8, torch.float16: 2.0**-11}
SIGMAS = 6.0
"""A right generator is further off once in 500 million draws."""

MOST_FAULTS = 20
MOST_DETAIL = 300
SAMPLE = 1 << 20


class Where(Struct, frozen=True):
    """In which part of the step an operator ran, and for which module."""

    phase: str
    module: str


class Error(Struct, frozen=True):
    """How far a tensor is from another: relative to its norm, and the worst element relative to its root mean square.

    Where the reference's norm is 0 the errors are absolute.
    """

    error: float
    worst: float


EXACT, NOT_FINITE = Error(0.0, 0.0), Error(inf, inf)


class Shadow(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch's own
    """While it is entered, compares each operator; afterwards it holds what was found.

    Args:
        tf32: matrix products may round their operands to TF32.
        sample: of large element-wise operators look at so many elements only; 0 for all.
        until: from then on (by time.perf_counter) nothing is looked at any more.
        where: tells in which part of the step an operator runs.
    """

    def __init__(
        self,
        *,
        tf32: bool = False,
        sample: int = 0,
        until: float = inf,
        where: Callable[[], Where] = lambda: Where("", ""),
        beat: Callable[[int], None] = lambda _: None,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._tf32, self._sample, self._until = tf32, sample, until
        self._where, self._beat = where, beat
        self.complete = True
        self.operators = 0
        self.unchecked: dict[str, str] = {}
        self.faults: dict[tuple[str, ...], NumericsFault] = {}
        self.closest = 0.0
        self.products, self._imprecise = 0, set[int]()
        self.script = ""

    @property
    def imprecise(self) -> int:
        """How many matrix products had a result in a lower precision than was asked for."""
        return len(self._imprecise)

    def __torch_dispatch__(self, func: Operator, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run the operator, and look at what it did."""
        kwargs = kwargs or {}
        name = func.overloadpacket.__name__
        if func.is_view or name in NOTHING_TO_SEE:
            return func(*args, **kwargs)
        if time.perf_counter() > self._until:
            self.complete = False
            return func(*args, **kwargs)
        self._beat(self.operators)
        before = _pytree.tree_map(_to_cpu, (args, kwargs))
        out = func(*args, **kwargs)
        try:
            self._look(func, before, (args, kwargs), out)
        except (NotImplementedError, RuntimeError, TypeError) as error:
            self.unchecked.setdefault(name, str(error).splitlines()[0][:MOST_DETAIL] if str(error) else "")
        return out

    def _look(self, func: Operator, before: Any, after: Any, out: Any) -> None:
        name = func.overloadpacket.__name__
        if torch.Tag.nondeterministic_seeded in func.tags:
            self._look_at_random(name, before, out)
            return
        results = [leaf for leaf in _pytree.tree_leaves((written(func, *after), out)) if _is_floating(leaf)]
        if not results:
            return
        self.operators += 1
        self.products += name in OPERANDS
        for each_before, each_results in _parts(func, before, after, results, self._sample):
            self._compare(func, Reference(func, each_before), each_results)

    def _compare(self, func: Operator, reference: "Reference", results: Sequence[Tensor]) -> None:
        name = func.overloadpacket.__name__
        for number, (result, right) in enumerate(zip(results, reference.double, strict=False)):
            if result.shape != right.shape:
                self.unchecked.setdefault(name, f"a result of shape {tuple(result.shape)}, on the CPU another")
                continue
            if not result.numel():
                continue
            got = result.detach().cpu()
            if not finite_where(right, got):
                self._fault("not_finite", reference, number=number, result=result, seen=NOT_FINITE, limit=0.0)
                continue
            self._judge(reference, number, result, got)

    def _judge(self, reference: "Reference", number: int, result: Tensor, got: Tensor) -> None:
        """Look at what it may be off until that is far more than it is, or until there is no further allowance."""
        name, right = reference.func.overloadpacket.__name__, reference.double[number]
        seen, limit, worst = error_of(got, right), 0.0, 0.0
        for each, of_worst in self._limits(reference, number, result):
            limit, worst = max(limit, each), max(worst, of_worst)
            if seen.error <= NEAR * limit and seen.worst <= NEAR * worst:
                break
        if seen.error <= limit and seen.worst <= worst:
            self.closest = max(self.closest, seen.error / limit)
            return
        kind: FaultKind = "wrong"
        if name in OPERANDS and not self._tf32:
            lower, unit = reference.in_next_lower(number, result.dtype)
            if seen.error <= allowed(lower.error, result.numel(), unit):
                kind = "imprecise"
                self._imprecise.add(self.products)
        self._fault(kind, reference, number=number, result=result, seen=seen, limit=limit)

    def _limits(self, reference: "Reference", number: int, result: Tensor) -> Iterator[tuple[float, float]]:
        """What a result may be off, and its worst element.

        A first look that most pass; a second with what a right implementation would show; a third with what cancels.
        """
        right, elements, lowest = reference.double[number], result.numel(), reference.lowest(result.dtype)
        unit = UNIT_16_BIT.get(lowest, 0.0)
        rounding = error_of(right.to(lowest), right) if unit else EXACT
        yield allowed(rounding.error, elements, unit), allowed_worst(rounding.worst, elements, unit)
        own = error_of(reference.single(tf32=self._tf32)[number].to(lowest), right)
        limit, worst = allowed(own.error, elements, unit), allowed_worst(own.worst, elements, unit)
        yield limit, worst
        if reference.func.overloadpacket.__name__ not in OPERANDS:
            change = error_of(reference.wiggled(unit / 2 if unit else WIGGLE)[number], right)
            yield limit + CANCELLATION * change.error, worst + CANCELLATION * change.worst

    def _fault(
        self, kind: FaultKind, call: "Reference", *, number: int, result: Tensor, seen: Error, limit: float
    ) -> None:
        func, where = call.func, self._where()
        if not self.script and func.overloadpacket.__name__ not in STAND_INS:
            said = f"off by {seen.error:.1e}, at most {limit:.1e} is right"
            self.script = script(func, call.before, str(result.device), said, limit or GROWTH * SINGLE)
        key = (kind, where.phase, where.module, str(func), str(number))
        inputs = tuple(described(leaf) for leaf in _pytree.tree_leaves(call.before)[:MOST_FAULTS])
        found = fault_of(kind, where, str(func), result, seen=seen, limit=limit, inputs=inputs, number=number)
        earlier = self.faults.get(key)
        if earlier:
            found = replace(
                found,
                error=max(found.error, earlier.error),
                worst=max(found.worst, earlier.worst),
                count=1 + earlier.count,
            )
        self.faults[key] = found

    def _look_at_random(self, name: str, before: Any, out: Any) -> None:
        """Dropout's and Bernoulli's draws: only zeros and ones, as many ones as were asked for, and used as drawn."""
        args, _ = before
        if name == "native_dropout":
            keep, draws = 1.0 - float(args[1]), out[1].detach().cpu().double()
            self._look_at_dropped(args[0], draws / keep, out[0])
        elif name in ("bernoulli_", "bernoulli") and len(args) > 1 and isinstance(args[1], float):
            keep, draws = args[1], out.detach().cpu().double()
        else:
            return
        self.operators += 1
        ones, count = float(draws.sum()), draws.numel()
        limit = SIGMAS * sqrt(count * keep * (1 - keep)) + 0.5
        if abs(ones - keep * count) > limit or not bool(((draws == 0) | (draws == 1)).all()):
            drawn = out[1] if name == "native_dropout" else out
            self._random_fault(name, drawn, abs(ones / count - keep), limit / count, f"keeps {keep:g}")

    def _look_at_dropped(self, values: Tensor, factors: Tensor, dropped: Tensor) -> None:
        seen = error_of(dropped.detach().cpu(), values.double() * factors)
        limit = allowed(UNIT_16_BIT.get(dropped.dtype, 0.0), dropped.numel())
        if not seen.error <= limit:
            self._random_fault("native_dropout", dropped, seen.error, limit, "not what its mask says")

    def _random_fault(self, name: str, drawn: Tensor, error: float, limit: float, said: str) -> None:
        where = self._where()
        found = fault_of("random", where, name, drawn, seen=Error(error, 0.0), limit=limit, inputs=(said,))
        self.faults[("random", where.phase, where.module, name, said)] = found


def fault_of(
    kind: FaultKind,
    where: Where,
    operator: str,
    tensor: Tensor,
    *,
    seen: Error,
    limit: float,
    inputs: tuple[str, ...] = (),
    number: int = 0,
) -> NumericsFault:
    """A fault of the result `number` of an operator, as it is written down; what is not finite is as much as can be."""
    return NumericsFault(
        kind=kind,
        phase=where.phase,
        module=where.module,
        operator=operator,
        result=number,
        shape=tuple(tensor.shape),
        dtype=type_of(tensor),
        layout=layout_of(tensor),
        error=_bounded(seen.error),
        worst=_bounded(seen.worst),
        allowed=limit,
        inputs=inputs,
    )


class Reference:
    """An operator's right results on the CPU, from what its arguments were before it ran."""

    def __init__(self, func: Operator, before: Any) -> None:
        self.func, self.before = func, before
        self._singles: dict[bool, list[Tensor]] = {}
        try:
            self.double = self._run(torch.float64)
        except RuntimeError:  # an operator that takes float32 alone
            self.double = [each.double() for each in self._run(torch.float32)]

    def lowest(self, result: torch.dtype) -> torch.dtype:
        """The 16-bit type among the result and the inputs, in which a kernel may have kept what it did; or float32."""
        kinds = [leaf.dtype for leaf in _pytree.tree_leaves(self.before) if _is_floating(leaf)]
        return next((kind for kind in (result, *kinds) if kind in UNIT_16_BIT), result)

    def single(self, *, tf32: bool) -> list[Tensor]:
        """What a right implementation gives: in float32, matrix products of operands in TF32 where that is on."""
        if tf32 not in self._singles:  # an operator with several results asks once for each
            name = self.func.overloadpacket.__name__
            self._singles[tf32] = self._run(torch.float32, OPERANDS.get(name, ()) if tf32 else ())
        return self._singles[tf32]

    def in_next_lower(self, number: int, dtype: torch.dtype) -> tuple[Error, float]:
        """The error of a product in the next lower precision, TF32 for float32 and bfloat16 for float16; its unit."""
        right = self.double[number]
        if dtype == torch.float16:
            return error_of(right.to(torch.bfloat16), right), UNIT_16_BIT[torch.bfloat16]
        return error_of(self.single(tf32=True)[number].to(dtype), right), UNIT_16_BIT.get(dtype, 0.0)

    def wiggled(self, size: float) -> list[Tensor]:
        """In float64, all inputs larger in magnitude by `size`: where much cancels, the result changes much."""

        def wiggle(leaf: Any) -> Any:
            if isinstance(leaf, Tensor) and leaf.is_floating_point():
                return leaf.double() + size * leaf.double().abs()
            return leaf * (1 + SINGLE) if isinstance(leaf, float) else leaf

        return self._results(*_pytree.tree_map(wiggle, self._widened(torch.float64)))

    def _widened(self, dtype: torch.dtype) -> Any:
        def widen(leaf: Any) -> Any:
            if isinstance(leaf, Tensor):
                return leaf.to(dtype, copy=True) if leaf.is_floating_point() else leaf.clone()
            if isinstance(leaf, torch.dtype):
                return dtype if leaf.is_floating_point else leaf
            return torch.device("cpu") if isinstance(leaf, torch.device) else leaf

        return _pytree.tree_map(widen, self.before)

    def _run(self, dtype: torch.dtype, rounded: Sequence[int] = ()) -> list[Tensor]:
        args, kwargs = self._widened(dtype)
        args = tuple(
            to_tf32(each) if number in rounded and isinstance(each, Tensor) else each
            for number, each in enumerate(args)
        )
        return self._results(args, kwargs)

    def _results(self, args: Any, kwargs: Any) -> list[Tensor]:
        run: Callable[..., Any] = STAND_INS.get(self.func.overloadpacket.__name__) or self.func
        out = run(*args, **kwargs)
        return [leaf for leaf in _pytree.tree_leaves((written(self.func, args, kwargs), out)) if _is_floating(leaf)]


def _batch_norm(*args: Any, **_: Any) -> Any:
    """cudnn_batch_norm(input, weight, bias, running_mean, running_var, training, momentum, eps)."""
    return torch.ops.aten.native_batch_norm(*args[:8])


def _batch_norm_backward(*args: Any, **_: Any) -> Any:
    """cudnn_batch_norm_backward(input, grad, weight, running_mean, running_var, mean, inverse deviation, eps, ...)."""
    inputs, grad, weight, running_mean, running_var, mean, deviation, eps = args[:8]
    return torch.ops.aten.native_batch_norm_backward(
        grad, inputs, weight, running_mean, running_var, mean, deviation, True, eps, [True] * 3
    )


STAND_INS: dict[str, Callable[..., Any]] = {
    "cudnn_batch_norm": _batch_norm,
    "cudnn_batch_norm_backward": _batch_norm_backward,
    "miopen_batch_norm": _batch_norm,
}
"""What the CPU calls by another name."""


def to_tf32(values: Tensor) -> Tensor:
    """Round float32 to the ten bits of TF32's mantissa, to nearest."""
    bits = values.float().contiguous().view(torch.int32)
    rounded = (bits + 0x0FFF + ((bits >> 13) & 1)) & ~0x1FFF
    return rounded.view(torch.float32).reshape(values.shape).to(values.dtype)


def error_of(got: Tensor, right: Tensor) -> Error:
    """How far `got` is from the reference, where both are finite."""
    difference = got.double().sub_(right)
    finite = bool(torch.isfinite(difference).all())
    if not finite:
        difference = torch.nan_to_num_(difference, nan=0.0, posinf=0.0, neginf=0.0)
        right = torch.nan_to_num(right, nan=0.0, posinf=0.0, neginf=0.0)
    norm, error = float(torch.linalg.vector_norm(right)), float(torch.linalg.vector_norm(difference))
    worst = float(torch.linalg.vector_norm(difference, inf))
    if norm == 0:
        return Error(error, worst)
    return Error(error / norm, worst / norm * sqrt(right.numel()))


def finite_where(right: Tensor, got: Tensor) -> bool:
    """Whether the result is finite wherever the reference is, rounded to the result's type."""
    if bool(torch.isfinite(got).all()):
        return True
    rounded = right.to(got.dtype)
    return bool((torch.isfinite(got) | ~torch.isfinite(rounded)).all())


def _bounded(value: float) -> float:
    return min(value, 1e300) if isfinite(value) or value > 0 else 1e300


def _to_cpu(leaf: Any) -> Any:
    """A copy on the CPU; one that lies densely in memory keeps its strides."""
    if not isinstance(leaf, Tensor):
        return leaf
    copied = leaf.detach().to("cpu", copy=True)
    dense = leaf.dim() and not leaf.is_contiguous() and copied.stride() != leaf.stride() and 0 not in leaf.stride()
    if dense and 1 + sum((n - 1) * step for n, step in zip(leaf.shape, leaf.stride(), strict=True)) == leaf.numel():
        return torch.empty_strided(leaf.shape, leaf.stride(), dtype=leaf.dtype).copy_(copied)
    return copied


def _is_floating(leaf: Any) -> bool:
    return isinstance(leaf, Tensor) and leaf.is_floating_point()


def written(func: Operator, args: Any, kwargs: Any) -> list[Any]:
    """The arguments that the operator writes into."""
    values = zip(func._schema.arguments, args, strict=False)  # noqa: SLF001  the only way to know
    named = {argument.name: value for argument, value in values} | kwargs
    written = [
        argument.name
        for argument in func._schema.arguments  # noqa: SLF001
        if argument.alias_info is not None and argument.alias_info.is_write
    ]
    return [named[name] for name in written if name in named]


def _parts(
    func: Operator, before: Any, after: Any, results: Sequence[Tensor], sample: int
) -> Iterator[tuple[Any, Sequence[Tensor]]]:
    """The call in parts that fit into memory: of lists of tensors one after the other, of large ones a beginning."""
    name = func.overloadpacket.__name__
    lists = [leaf for leaf in before[0] if isinstance(leaf, list | tuple) and leaf and isinstance(leaf[0], Tensor)]
    if not (name.startswith(("_foreach", "_fused")) and lists):
        yield _sampled(func, before, results, sample)
        return
    length, changed = len(lists[0]), written(func, *after)
    for number in range(length):
        pick = _picker(number, length)
        chosen = [each for each in _pytree.tree_leaves([pick(value) for value in changed]) if _is_floating(each)]
        if not changed:
            chosen = [results[number]]
        part = (tuple(pick(each) for each in before[0]), {key: pick(each) for key, each in before[1].items()})
        yield _sampled(func, part, chosen, sample, elementwise=True)


def _picker(number: int, length: int) -> Callable[[Any], Any]:
    def pick(value: Any) -> Any:
        same = isinstance(value, list | tuple) and len(value) == length
        return [value[number]] if same else value

    return pick


def _sampled(
    func: Operator, before: Any, results: Sequence[Tensor], sample: int, *, elementwise: bool = False
) -> tuple[Any, Sequence[Tensor]]:
    """Of a large element-wise call the first rows, where a sample is enough."""
    pointwise = elementwise or torch.Tag.pointwise in func.tags
    leaves = _pytree.tree_leaves((before, results))
    shapes = {leaf.shape for leaf in leaves if isinstance(leaf, Tensor) and leaf.dim()}
    if not (sample and pointwise and len(shapes) == 1):
        return before, results
    (shape,) = shapes
    rows = max(1, sample * int(shape[0]) // max(1, prod(shape)))
    if rows >= shape[0]:
        return before, results

    def cut(leaf: Any) -> Any:
        return leaf[:rows] if isinstance(leaf, Tensor) and leaf.dim() else leaf

    return _pytree.tree_map(cut, before), [cut(each) for each in results]


def type_of(tensor: Tensor) -> str:
    """A tensor's type in a word, like float32."""
    return str(tensor.dtype).removeprefix("torch.")


def layout_of(tensor: Tensor) -> str:
    """How a tensor lies in memory, in a word."""
    if tensor.is_contiguous():
        return "contiguous"
    if tensor.dim() == 4 and tensor.is_contiguous(memory_format=torch.channels_last):  # noqa: PLR2004  NCHW
        return "channels_last"
    return f"strides {tuple(tensor.stride())}"


def described(leaf: Any) -> str:
    """An argument in words: of a tensor its type, shape and layout."""
    if isinstance(leaf, Tensor):
        return f"{type_of(leaf)}{list(leaf.shape)} {layout_of(leaf)}"
    return str(leaf)[:100]


class Tracker:
    """Knows in which part of a step, and for which module, an operator runs; enter it around the step.

    Backward, an operator is the module's in whose forward its node was made: autograd numbers its nodes.
    """

    def __init__(self, module: nn.Module) -> None:
        self._names = {each: name or "the model" for name, each in module.named_modules()}
        self._stack: list[tuple[str, int]] = []
        self._spans: list[tuple[int, int, str]] = []
        self._in_optimizer = False
        self._handles: list[Any] = []

    def __enter__(self) -> Self:
        for each in self._names:
            self._handles.append(each.register_forward_pre_hook(self._begin))
            self._handles.append(each.register_forward_hook(self._end, always_call=True))
        self._handles.append(register_optimizer_step_pre_hook(self._optimizer_begins))
        self._handles.append(register_optimizer_step_post_hook(self._optimizer_ends))
        return self

    def __exit__(self, *_: object) -> None:
        for handle in self._handles:
            handle.remove()

    def _begin(self, module: nn.Module, _: Any) -> None:
        self._stack.append((self._named(module), _sequence_number()))

    def _end(self, _module: nn.Module, _: Any, __: Any) -> None:
        if self._stack:
            name, first = self._stack.pop()
            self._spans.append((first, _sequence_number(), name))

    def _named(self, module: nn.Module) -> str:
        return f"{self._names.get(module, '')} ({type(module).__name__})"

    def _optimizer_begins(self, *_: Any) -> None:
        self._in_optimizer = True

    def _optimizer_ends(self, *_: Any) -> None:
        self._in_optimizer = False

    def where(self) -> Where:
        """Where the operator that is running now belongs."""
        node = torch._C._current_autograd_node()  # noqa: SLF001  there is no public name
        if node is not None:
            number = node._sequence_nr()  # noqa: SLF001
            inner = [span for span in self._spans if span[0] <= number < span[1]]
            smallest = min(inner, key=lambda span: span[1] - span[0], default=(0, 0, "the loss"))
            return Where("backward", smallest[2])
        if self._in_optimizer:
            return Where("optimizer", "")
        return Where("forward", self._stack[-1][0] if self._stack else "")


def _sequence_number() -> int:
    return torch._C._autograd._get_sequence_nr()  # noqa: SLF001  there is no public name
