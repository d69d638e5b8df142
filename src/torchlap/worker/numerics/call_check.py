"""The check of one operator call: what is kept of its arguments before it runs, and the verdicts on its results."""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from msgspec import Struct
from torch import Tensor

from torchlap.worker.numerics.attention import ATTENTION, FORWARD, pieces_of_backward, pieces_of_forward
from torchlap.worker.numerics.axes import Piece, pieces
from torchlap.worker.numerics.combination import Combiner, Screening, is_linear, screen
from torchlap.worker.numerics.comparison import Verdict, compare, root_mean_square, suspects
from torchlap.worker.numerics.deviation import Deviation
from torchlap.worker.numerics.lists import REDUCING, Joined, joined, length_of, separate
from torchlap.worker.numerics.operator_calls import Operator, elements, is_dense, outputs, read_only
from torchlap.worker.numerics.parts import Part, cut, whole
from torchlap.worker.numerics.products import PRODUCTS
from torchlap.worker.numerics.reference import Reference
from torchlap.worker.numerics.selection import Sampler, counts, take

SAMPLE = 1 << 15
"""Elements of a large call that are checked by default, about; calls that are smaller are checked as a whole."""

SAMPLE_OF_LIST = 1 << 11
"""Elements of each tensor in a list."""

SMALL_PRODUCT = 1 << 12
SAMPLE_OF_FILLED = 1 << 11
"""Elements of a tensor that an operator makes, all of the same value."""

FILLED = {name for value in ("zeros", "ones", "full") for name in (value, f"new_{value}", f"{value}_like")}
PROBES = 256
"""Elements of an argument that an operator must not change."""

COMPARED = {"_embedding_bag": 1, "_embedding_bag_forward_only": 1, "mkldnn_rnn_layer": 3}
"""How many results are compared of operators whose other results are the implementation's own."""


class Settings(Struct):
    """How calls are checked, and what earlier checks left behind.

    Attributes:
        sample: elements of a large call to check; 0 for all.
    """

    sampler: Sampler
    combiner: Combiner
    sample: int
    tf32: bool


class Judged(Struct, frozen=True):
    """A verdict on a result of a call: its number, the result, and what was expected if that is not a float64 value."""

    number: int
    result: Tensor
    verdict: Verdict
    expected: str = ""


class CallCheck:
    """Prepared before a call of an operator; judges its results afterwards.

    Attributes:
        call: the arguments, as they are when the results are judged.
    """

    def __init__(self, func: Operator, args: Any, kwargs: Any, settings: Settings) -> None:
        self.func, self.call, self._settings = func, (args, kwargs), settings
        self._name: str = func.overloadpacket.__name__
        self._joined: Joined | None = None
        self._parts: list[tuple[Part, Piece | None]] = []
        self._prepare(args, kwargs)
        reads = self._name not in FILLED and not changes_arguments(func)
        self._probes = [(tensor, probe(tensor)) for tensor in read_only(func, args, kwargs)] if reads else []

    def _prepare(self, args: Any, kwargs: Any) -> None:
        func, settings = self.func, self._settings
        if length_of(func, args):
            self._prepare_lists(args, kwargs)
            return
        rule = PRODUCTS.get(self._name)
        filled = self._name in FILLED
        small = elements((args, kwargs)) <= (SMALL_PRODUCT if rule else settings.sample)
        most = min(settings.sample, SAMPLE_OF_FILLED) if filled else settings.sample
        found: tuple[Piece, ...] = ()
        if settings.sample and (filled or not small):
            found = rule(args) if rule else self._pieces(args, kwargs)
        for piece in found:
            part = cut(func, args, kwargs, piece, sampler=settings.sampler, most=most)
            self._parts.append((part, piece))
        if not found:
            self._parts.append((whole(func, args, kwargs), None))

    def _pieces(self, args: Any, kwargs: Any) -> tuple[Piece, ...]:
        if self._name not in ATTENTION:
            return pieces(self.func, args, kwargs)
        if any(isinstance(value, Tensor) for value in kwargs.values()):
            return ()
        return (pieces_of_forward if self._name in FORWARD else pieces_of_backward)(args)

    def _prepare_lists(self, args: Any, kwargs: Any) -> None:
        sampler, most = self._settings.sampler, SAMPLE_OF_LIST if self._settings.sample else 0
        if self._name in REDUCING:  # a part of the elements has another norm
            most = 0
        if most:
            self._joined = joined(self.func, args, kwargs, sampler=sampler, most=most)
        if self._joined is None:
            self._parts = [(part, None) for part in separate(self.func, args, kwargs, sampler=sampler, most=most)]

    def judge(self, out: Any) -> Iterator[Judged]:
        """The verdict on each result that was compared; a result may have several."""
        results = outputs(self.func, *self.call, out)
        for tensor, before in self._probes:
            if not identical(before, probe(tensor)):
                yield Judged(0, tensor, Verdict("wrong", Deviation(1.0, 1.0), 0.0), "an argument that must not change")
        if self._joined is not None:
            yield from self._judge_joined(self._joined, results)
        for part, piece in self._parts:
            yield from self._judge_part(part, piece, results)

    def _judge_joined(self, joined_part: Joined, results: Sequence[Tensor | None]) -> Iterator[Judged]:
        reference = Reference(self.func, joined_part.whole.before)
        for number, result in enumerate(joined_part.whole.results(results)):
            if result is None:
                continue
            passed, doubtful = suspects(reference, number, result, joined_part.sizes)
            yield Judged(number, result, passed)
            for place in doubtful:
                part = joined_part.single(place)
                for judged in self._judge_part(part, None, results):
                    if judged.number == number:
                        tensor = results[number * len(joined_part.sizes) + place]
                        yield Judged(number, judged.result if tensor is None else tensor, judged.verdict)

    def _judge_part(self, part: Part, piece: Piece | None, results: Sequence[Tensor | None]) -> Iterator[Judged]:
        reference = Reference(self.func, part.before)
        known = {}
        pairs = zip(part.results(results), reference.double, strict=False)
        for number, (result, right) in enumerate(pairs):
            if result is None or right is None or number >= COMPARED.get(self._name, number + 1):
                continue
            if result.shape != right.shape:
                yield Judged(number, result, Verdict("shape", Deviation(1.0, 1.0), 0.0), str(list(right.shape)))
                continue
            if not result.numel():
                continue
            verdict = compare(reference, number, result, tf32=self._settings.tf32)
            yield Judged(number, results[number] if piece and results[number] is not None else result, verdict)  # type: ignore[arg-type]
            if verdict.kind is None and right.is_floating_point():
                known[number] = (root_mean_square(right), verdict.limit)
        if piece is not None and known and is_linear(piece):
            yield from self._judge_combinations(piece, results, known)

    def _judge_combinations(
        self, piece: Piece, results: Sequence[Tensor | None], known: dict[int, tuple[float, float]]
    ) -> Iterator[Judged]:
        doubtful = self._combined(piece, results, known)
        if doubtful and all(screening.within_limit for screening in doubtful.values()):
            doubtful = self._combined(piece, results, known)  # with other weights
            if all(screening.within_limit for screening in doubtful.values()):
                return
        for judged in self._judge_part(whole(self.func, *self.call), None, results) if doubtful else ():
            if judged.number in doubtful:
                yield judged

    def _combined(
        self, piece: Piece, results: Sequence[Tensor | None], known: dict[int, tuple[float, float]]
    ) -> dict[int, Screening]:
        """By number, what combinations say of the results that are not clearly right."""
        combiner, sampler = self._settings.combiner, self._settings.sampler
        found = screen(self.func, self.call, results, piece, combiner=combiner, sampler=sampler, known=known)
        return {number: screening for number, screening in found.items() if screening.suspicious}


def changes_arguments(func: Operator) -> bool:
    """Whether the operator says that it changes an argument."""
    return any(argument.alias_info is not None and argument.alias_info.is_write for argument in func._schema.arguments)  # noqa: SLF001  there is no public name


def probe(tensor: Tensor) -> Tensor | None:
    """Elements of a tensor, from the first to the last, on its device; None for a workspace, which may change."""
    if tensor.layout != torch.strided or not tensor.numel() or tensor.dtype == torch.uint8:
        return None
    if is_dense(tensor):  # in the order of the memory: no positions to copy to the device
        count = tensor.numel()
        return tensor.detach().as_strided((count,), (1,))[:: count // PROBES | 1].clone()
    kept = counts(list(tensor.shape), [0] * tensor.dim(), tensor.numel(), PROBES)
    places = [torch.linspace(0, size - 1, count).long() for size, count in zip(tensor.shape, kept, strict=True)]
    return take(tensor.detach(), dict(enumerate(places))).clone()


def identical(before: Tensor | None, after: Tensor | None) -> bool:
    """Whether two tensors of one shape have the same elements, NaN included; True where one of them is missing."""
    if before is None or after is None:
        return True
    return bool(((before == after) | ((before != before) & (after != after))).all().cpu())  # noqa: PLR0124  NaN is not itself
