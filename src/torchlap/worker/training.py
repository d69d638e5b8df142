"""Train a cell until it is stopped: timed steps, and evaluations on held-out data in between."""

import time
from collections.abc import Callable, Iterable, Iterator
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor
from torch.nn.parameter import is_lazy
from torch.optim import Optimizer

from torchlap.schema.replies import TrainedOn, TrainingBegun
from torchlap.schema.requests import BeginTraining, TrainOn
from torchlap.worker.cell import timing
from torchlap.worker.cell.bench import FORMATS, Bench
from torchlap.worker.cell.captured import STEPS_BEFORE
from torchlap.worker.cell.check import check_held_out
from torchlap.worker.cell.data import held_out
from torchlap.worker.cell.engaged import autocast
from torchlap.worker.cell.returned import pair_of
from torchlap.worker.cell.sources import Shuffled, Source, mover, pictures
from torchlap.worker.cell.step import Step
from torchlap.worker.cell.subject import parameters
from torchlap.worker.errors import ModelError

WARM_UP_STEPS = STEPS_BEFORE + 2
"""They compile, choose algorithms, record a graph and fill caches; then the model is set back."""

EVALUATION_BATCH = 250
CLASS_DIMENSION = 1


class Training:
    """One training of a cell from a seed, which continues with every call of `train_on`."""

    def __init__(self, bench: Bench, request: BeginTraining, report: Callable[[str], None]) -> None:
        self._bench, self._report = bench, report
        subject = bench.subject
        check_held_out(bench.cell.workload.model, subject, request.data)
        self._epoch_steps, self._train_items = _epoch(bench)
        self._layout = FORMATS[bench.layout]
        self._held_out = _held_out(bench, request)
        bench.module.to(memory_format=self._layout)
        torch.manual_seed(request.seed)
        source = self._source(request.seed)
        self._step = Step(
            subject, source, bench.cell.recipe, bench.device, "train", learning_rate=request.learning_rate
        )
        self._warm_up_seconds = self._warm_up() if subject.step is None else 0.0
        if isinstance(source, Shuffled):
            source.restart()
        torch.manual_seed(request.seed)
        self._count = 0

    def begun(self) -> TrainingBegun:
        """What the training consists of."""
        return TrainingBegun(
            warm_up_seconds=self._warm_up_seconds,
            epoch_steps=self._epoch_steps,
            train_items=self._train_items,
            held_out=self._examples(),
            parameters=parameters(self._bench.module),
        )

    def _source(self, seed: int) -> Source:
        bench = self._bench
        if bench.has_loader:
            return bench.source()
        return Shuffled(bench.source(), self._train_items or 0, bench.cell.workload.batch, bench.device, seed)

    def _warm_up(self) -> float:
        """Run a few steps, then set everything back that they changed; the seconds of the steps."""
        module = self._bench.module
        if any(map(is_lazy, module.parameters())):
            self._evaluate(one_batch=True)
        before = [deepcopy(part.state_dict()) for part in (module, *self._step.stateful)]
        seconds = timing.lap(self._step, self._bench.synchronize, WARM_UP_STEPS)
        for part, state in zip((module, *self._step.stateful), before, strict=True):
            if self._step.captured and isinstance(part, Optimizer):
                _clear(part)
            else:
                part.load_state_dict(state)
        self._step.items_of_lap(WARM_UP_STEPS)
        return seconds

    def train_on(self, request: TrainOn) -> TrainedOn:
        """Train for some steps, then evaluate.

        Raises:
            NotFiniteError: when the loss is NaN or infinite.
        """
        bench, step = self._bench, self._step
        beat = timing.Beat(lambda count: self._report(f"training, {count} steps"))

        def one() -> None:
            step()
            self._count += 1
            beat(self._count)

        bench.module.train()
        seconds = timing.lap(one, bench.synchronize, request.steps)
        loss = step.loss()
        items = step.items_of_lap(request.steps) or bench.cell.step_rows * request.steps
        begun = time.perf_counter()
        correct, examples = self._evaluate()
        took = time.perf_counter() - begun
        return TrainedOn(seconds=seconds, items=items, loss=loss, correct=correct, of=examples, evaluation_seconds=took)

    def _examples(self) -> int:
        """How many held-out examples there are."""
        return sum(targets.numel() for _, targets in self._held_out())

    def _evaluate(self, *, one_batch: bool = False) -> tuple[int, int]:
        """Correct predictions, and how many there were, in the recipe's precision; the module is in its eval mode."""
        bench = self._bench
        subject = bench.subject
        beat = timing.Beat(lambda count: self._report(f"evaluating, {count} batches"))
        bench.module.eval()
        right, examples = torch.zeros((), dtype=torch.int64, device=bench.device), 0
        with torch.no_grad(), autocast(bench.cell.recipe.precision, bench.device)():
            for count, (inputs, targets) in enumerate(self._held_out(), start=1):
                scores = class_scores(subject.call(bench.module, inputs), targets)
                right += (scores.argmax(CLASS_DIMENSION) == targets).sum()
                examples += targets.numel()
                beat(count)
                if one_batch:
                    break
        return int(right), examples


def _clear(optimizer: Optimizer) -> None:
    """Set the state of an optimizer to zero, which is how it begins, in the memory that a recorded graph works on."""
    for state in optimizer.state.values():
        for value in state.values():
            if isinstance(value, Tensor):
                value.zero_()


def class_scores(outputs: Any, targets: Tensor) -> Tensor:
    """The scores of the classes, N x C (x further dimensions), among what a model returned.

    Raises:
        ModelError: when there are none for these targets.
    """
    found = outputs
    if isinstance(outputs, dict):
        found = outputs.get("logits", next(iter(outputs.values()), None))
    elif isinstance(outputs, tuple | list):
        found = outputs[0]
    elif hasattr(outputs, "logits"):
        found = outputs.logits
    fits = isinstance(found, Tensor) and found.dim() == targets.dim() + 1 and len(found) == len(targets)
    if not isinstance(found, Tensor) or not fits or found.shape[CLASS_DIMENSION] == 1:
        shape = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
        raise ModelError(
            f"Accuracy needs a score for each class, N x C, and N class numbers as targets: the model returned {shape} "
            f"for targets of shape {tuple(targets.shape)}."
        )
    return found


def _epoch(bench: Bench) -> tuple[int, int | None]:
    """Steps of an epoch, and its examples if they are known."""
    if bench.subject.loader is not None:
        return max(1, len(bench.subject.loader)), None
    return max(1, bench.digit_count // bench.cell.workload.batch), bench.digit_count


def _held_out(bench: Bench, request: BeginTraining) -> Callable[[], Iterator[tuple[Any, Tensor]]]:
    """A function that goes through the held-out batches, on the device."""
    subject, layout = bench.subject, FORMATS[bench.layout]
    if subject.image_size is not None:
        size = subject.image_size
        images, labels = (pool.to(bench.device) for pool in held_out(request.data))

        def digits() -> Iterator[tuple[Tensor, Tensor]]:
            for start in range(0, len(images), EVALUATION_BATCH):
                part = slice(start, start + EVALUATION_BATCH)
                yield pictures(images[part], size).contiguous(memory_format=layout), labels[part]

        return digits
    validation = subject.validation or ()
    move = mover(bench.device, layout)
    return lambda: _own_batches(validation, move, subject.pair or pair_of)


def _own_batches(
    validation: Iterable[Any], move: Callable[[object], object], pair: Callable[[Any], tuple[Any, Any]]
) -> Iterator[tuple[Any, Tensor]]:
    """The batches of the user's validation data.

    Raises:
        ModelError: when their targets are no tensors of class numbers.
    """
    empty = True
    for batch in validation:
        inputs, targets = map(move, pair(batch))
        if not isinstance(targets, Tensor) or targets.is_floating_point():
            raise ModelError("The targets of the validation data must be tensors of class numbers.")
        empty = False
        yield inputs, targets
    if empty:
        raise ModelError("The validation data has no batches: return a loader that can be read again and again.")
