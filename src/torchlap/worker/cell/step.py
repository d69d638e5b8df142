"""One step of a model: an optimizer update (train) or a forward pass (eval), in the arithmetic that the recipe sets."""

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from math import isfinite
from typing import Any

import torch
from msgspec.structs import replace
from torch import Tensor
from torch.optim.lr_scheduler import LRScheduler
from torch.utils import _pytree

from torchlap.schema.recipe import Recipe
from torchlap.schema.workload import StepPhase
from torchlap.worker.cell.captured import Captured, make_capturable
from torchlap.worker.cell.engaged import autocast, compiled
from torchlap.worker.cell.form import read_of
from torchlap.worker.cell.sources import Source
from torchlap.worker.cell.subject import Subject
from torchlap.worker.errors import ModelError, NotFiniteError, RefusedError, first_line

LEARNING_RATE = 1e-4
"""At 1e-3 alexnet and squeezenet1_0 do not start to learn from random weights; the speed is the same."""

MOST_SCALINGS, SCALE_MARGIN = 20, 16.0
"""Loss scaling starts at 65,536 and is halved each time."""

TYPE_WORDS = ("same dtype", "expected scalar type", "should be the same")
"""How torch says that an operator was given numbers of several types."""

Values = Any
"""What the user's model and loss accept and return: tensors, or structures of them."""

Mark = Callable[[StepPhase], None]
"""Called when a phase of a step has been enqueued."""


def _ignore_phases(_: StepPhase) -> None:
    """For steps whose phases are not timed."""


def _copied(batch: tuple[Values, Values]) -> tuple[Values, Values]:
    """A batch in memory of its own."""
    inputs, targets = _pytree.tree_map_only(Tensor, Tensor.clone, batch)
    return inputs, targets


def _varies(subject: Subject) -> bool:
    """Whether the batches of a loader may have different numbers of items."""
    return subject.unit == "tokens" and subject.items is None


def _loss_of_step(returned: Values) -> Values:
    """The loss that a step of the user's own returned: a tensor, a number, or a dictionary that has it."""
    loss = returned["loss"] if isinstance(returned, dict) and "loss" in returned else returned
    return torch.tensor(loss) if isinstance(loss, float) else loss


def _has_ended(scheduler: LRScheduler) -> bool:
    """Whether a scheduler of a fixed number of steps, such as OneCycleLR, would refuse another one."""
    most = getattr(scheduler, "total_steps", None)
    return isinstance(most, int) and scheduler.last_epoch >= most


class Step:
    """A step that is ready to run; calling it enqueues the work and does not wait for the device."""

    def __init__(
        self,
        subject: Subject,
        source: Source,
        recipe: Recipe,
        device: torch.device,
        phase: str,
        *,
        learning_rate: float = LEARNING_RATE,
    ) -> None:
        self._source, self._loss_function = source, subject.loss
        self._autocast = autocast(recipe.precision, device)
        self._model = compiled(subject.module, recipe, device) if recipe.compile else subject.module
        self.trains = phase == "train"
        self.input_wait_seconds = 0.0
        self._loss = torch.zeros(())
        self._loss_is_checked = False
        self._outputs: Values = None
        self._targets: Values = None
        self._scaler = torch.amp.GradScaler(device.type) if recipe.precision == "fp16" else None
        fixed = subject.batch
        self._items_per_step = subject.items if fixed is None else subject.items_of(*fixed)
        self._subject, self._call, self._own_step = subject, subject.call, subject.step
        self.own = subject.own and replace(subject.own, items=self._items_per_step or 0)
        """The form of a user's model, after the first step with what it reads of the outputs."""
        self._scheduler: Any = None
        self._accumulate = recipe.accumulate
        if self._accumulate > 1 and not self.trains:
            raise RefusedError("accumulate adds gradients, and evaluation has none: omit the recipe term there.")
        self.synchronizes = True
        self.unsynchronized: Callable[[], AbstractContextManager[Any]] = nullcontext
        """Of several ranks: gradients are not synchronized within it, and nowhere unless the step `synchronizes`."""
        self._items: list[int] | None = None
        """Of each step since the last lap; None where every step has as many."""
        if subject.sizes or (subject.loader is not None and _varies(subject)):
            self._items = []
        if self.trains:
            self._prepare_training(recipe, learning_rate)
        self._update_apart = self._scaler is not None and not recipe.fused
        """The update is not captured: torch asks the device whether gradients are finite before it."""
        self.captured = self._capture(device, varies=self._items is not None) if recipe.graph else None

    def _capture(self, device: torch.device, *, varies: bool) -> Captured:
        """The step, to be recorded as a graph.

        Raises:
            RefusedError: when its batches, its optimizer or its device do not allow that.
        """
        if varies:
            raise RefusedError("A graph needs batches of one size, but the loader's vary: omit the recipe term graph.")
        if self.trains and self._own_step is None:
            make_capturable(self._optimizer, scheduled=self._scheduler is not None)

        def run(inputs: Values, targets: Values) -> Values:
            batches = zip(inputs, targets, strict=True)
            return self._work(batches, _ignore_phases, update=not self._update_apart)

        return Captured(run, device)

    def _prepare_training(self, recipe: Recipe, learning_rate: float) -> None:
        """Make the optimizer and the scheduler.

        Raises:
            ModelError: when there is nothing to train.
            RefusedError: for a recipe that the user's own step or optimizer cannot follow.
        """
        subject = self._subject
        parameters = list(subject.module.parameters())
        if not any(parameter.requires_grad for parameter in parameters):
            raise ModelError(
                f"The module has no trainable parameters: unfreeze some, or use --phase eval.{subject.place}"
            )
        if self._own_step and recipe.precision == "fp16":
            raise RefusedError("fp16 needs loss scaling, which torchlap cannot add to your own step: use bf16 or fp32.")
        if self._own_step and recipe.accumulate > 1:
            raise RefusedError("accumulate cannot be added to your own step: omit the recipe term, and add it there.")
        word = "fused" if recipe.fused else "foreach"
        if (self._own_step or subject.optimizer) and (recipe.fused or recipe.foreach):
            raise RefusedError(
                f"The recipe term {word} sets Adam, but the file sets its own optimizer: use {word}=True there."
            )
        if subject.optimizer is None:
            self._optimizer: Any = torch.optim.Adam(
                parameters,
                lr=learning_rate,
                fused=recipe.fused or None,
                foreach=recipe.foreach or None,
                capturable=recipe.graph,
            )
        else:
            self._optimizer = subject.optimizer(parameters)
        if isinstance(self._optimizer, torch.optim.LBFGS) and self._own_step is None:
            raise ModelError(
                "LBFGS needs a function that computes the loss again and again: return module, batch, step with a "
                f"function step(batch) that calls optimizer.step(closure) and returns the loss.{subject.place}"
            )
        if subject.scheduler is not None:
            self._scheduler = subject.scheduler(self._optimizer)

    @property
    def stateful(self) -> tuple[Any, ...]:
        """What a training step changes beside the module: the optimizer, the loss scaler and the scheduler."""
        return tuple(part for part in (self._optimizer, self._scaler, self._scheduler) if part is not None)

    def __call__(self) -> None:
        """Enqueue one step."""
        self.phased(_ignore_phases)

    def phased(self, mark: Mark) -> None:
        """Enqueue one step, and call `mark` after each of its phases is enqueued."""
        if self.captured:
            result, targets = self._captured_work(mark)
        else:
            with nullcontext() if self.synchronizes else self.unsynchronized():
                result, targets = self._work(self._batches(mark), mark)
        if self.trains:
            self._loss = result
        else:
            self._outputs, self._targets = result, targets

    def _batches(self, mark: Mark) -> Iterator[tuple[Values, Values]]:
        """Fetch and place the batches of a step, one after the other; the next one may overwrite the last."""
        for _ in range(self._accumulate):
            batch = self._source.fetch()
            mark("input")
            placed = self._placed(batch)
            mark("transfer")
            yield placed

    def _placed(self, batch: Values) -> tuple[Values, Values]:
        """Inputs and targets of a fetched batch, on the device; its items are counted."""
        inputs, targets = self._source.place(batch)
        if self._items is not None:
            self._items.append(self._subject.items_of(inputs, targets) or 0)
        return inputs, targets

    def _captured_work(self, mark: Mark) -> tuple[Values, Values]:
        """The step as a graph, whose phases cannot be separated: all of it counts as forward."""
        batches = list(self._batches(mark)) if self._accumulate == 1 else [*map(_copied, self._batches(mark))]
        inputs, targets = zip(*batches, strict=True)
        result, _ = self.captured(inputs, targets)  # type: ignore[misc]  # asked by the caller
        mark("forward")
        if self.trains:
            mark("backward")
            if self._update_apart:
                self._optimize()
            self._schedule()
            mark("optimizer")
        return result, targets[-1]

    def _work(
        self, batches: Iterable[tuple[Values, Values]], mark: Mark, *, update: bool = True
    ) -> tuple[Values, Values]:
        """Enqueue what a step does with its batches; returns the last loss, or in evaluation outputs, and targets."""
        if not self.trains:
            ((inputs, targets),) = batches
            with torch.inference_mode(), self._autocast():
                outputs = self._called(inputs)
            mark("forward")
            return outputs, targets
        if self._own_step:
            ((inputs, targets),) = batches
            return self._train_by_own_step(inputs, targets, mark), targets
        for number, (inputs, targets) in enumerate(batches, start=1):
            is_last = number == self._accumulate
            if number == 1:
                self._optimizer.zero_grad(set_to_none=True)
            with nullcontext() if is_last or not self.synchronizes else self.unsynchronized():
                loss = self._add_gradients(inputs, targets, mark)
        if update:
            self._optimize()
            if self.captured is None:
                self._schedule()
        mark("optimizer")
        return loss, targets

    def _called(self, inputs: Values) -> Values:
        """The module's outputs.

        Raises:
            ModelError: if the module and its inputs are of different types.
        """
        try:
            return self._call(self._model, inputs)
        except RuntimeError as error:
            if not any(words in str(error) for words in TYPE_WORDS):
                raise
            raise ModelError(
                f"The module and its inputs are of different types ({first_line(error)}): convert one of them, such as "
                f"inputs.float().{self._subject.place}"
            ) from error

    def _add_gradients(self, inputs: Values, targets: Values, mark: Mark) -> Tensor:
        """Forward and backward of one batch; returns the loss."""
        with self._autocast():
            outputs = self._called(inputs)
            loss = self._loss_function(outputs, targets)
        if not self._loss_is_checked:
            self._check(loss)
            self._learn_form(outputs)
            if not loss.requires_grad:
                raise ModelError(
                    "The loss does not depend on anything that is trained: remove detach() or no_grad() from the "
                    f"module or the loss, or use --phase eval.{self._subject.place}"
                )
        mark("forward")
        part = loss if self._accumulate == 1 else loss / self._accumulate
        torch.autograd.backward(part if self._scaler is None else self._scaler.scale(part))
        mark("backward")
        return loss.detach()

    def _train_by_own_step(self, inputs: Values, targets: Values, mark: Mark) -> Tensor:
        """The user's own step, whose phases cannot be separated: all of it counts as forward."""
        with self._autocast():
            returned = self._own_step(inputs, targets)  # type: ignore[misc]  # asked by the caller
        loss: Tensor = _loss_of_step(returned)
        if not self._loss_is_checked:
            self._check(loss)
        mark("forward")
        mark("backward")
        mark("optimizer")
        return loss.detach()

    def without_update(self) -> None:
        """Forward and backward of one batch, whose gradients are then dropped."""
        self._add_gradients(*self._source.place(self._source.fetch()), _ignore_phases)
        self._optimizer.zero_grad(set_to_none=True)

    def items_of_lap(self, steps: int) -> int | None:
        """The items of the last `steps` steps; None if that is steps x batch."""
        if self._items is None:
            rows, items = self._subject.rows, self._items_per_step
            return None if items is None or items == rows else items * steps * self._accumulate
        total, self._items[:] = sum(self._items[-steps * self._accumulate :]), []
        return total

    def _learn_form(self, outputs: Values) -> None:
        """See where in its outputs a user's model has what goes into the loss."""
        if self.own is not None:
            self.own = replace(self.own, read=read_of(self.own.loss, outputs))

    def _check(self, loss: object) -> None:
        """Check the first loss, so that a wrong one is reported in one sentence."""
        if not isinstance(loss, Tensor) or loss.numel() != 1:
            kind = f"a tensor of shape {tuple(loss.shape)}" if isinstance(loss, Tensor) else type(loss).__name__
            if self._own_step:
                raise ModelError(
                    f"The step returned {kind}: it must return the loss, a tensor with one element."
                    f"{self._subject.place}"
                )
            remedy = "add its values, such as sum(losses.values())" if isinstance(loss, dict) else "return its mean"
            raise ModelError(
                f"The loss function returned {kind}: it must return a tensor with one element; {remedy}."
                f"{self._subject.place}"
            )
        self._loss_is_checked = True

    def watched(self) -> None:
        """Enqueue one step, and add the time that the host waited for its batch to `input_wait_seconds`."""
        last = time.perf_counter()

        def mark(phase: StepPhase) -> None:
            nonlocal last
            now = time.perf_counter()
            if phase == "input":
                self.input_wait_seconds += now - last
            last = now

        self.phased(mark)

    def update(self) -> None:
        """Enqueue only the optimizer's part of a step, with the gradients as they are."""
        if self._own_step is None:
            self._optimize()
            self._schedule()

    def _optimize(self) -> None:
        if self._subject.clip is not None:
            if self._scaler is not None:
                self._scaler.unscale_(self._optimizer)
            torch.nn.utils.clip_grad_norm_(self._subject.module.parameters(), self._subject.clip)
        if self._scaler is None:
            self._optimizer.step()
        else:  # skips the step if gradients are not finite
            self._scaler.step(self._optimizer)
            self._scaler.update()

    def _schedule(self) -> None:
        if self._scheduler is not None and not _has_ended(self._scheduler):
            self._scheduler.step()

    def find_scale(self) -> None:
        """Run steps until fp16's loss scale no longer overflows, as at the start of a training.

        The scale is then lowered by a margin, so that the next batch does not overflow either.
        """
        if self._scaler is None or not self.trains:
            return
        for _ in range(MOST_SCALINGS):
            before = float(self._scaler.get_scale())
            self()
            if float(self._scaler.get_scale()) >= before:
                self._scaler.update(before / SCALE_MARGIN)
                return

    @property
    def last_loss(self) -> Tensor:
        """The last step's loss, on its device."""
        return self._loss.detach().clone()

    def loss(self) -> float:
        """The last step's loss; waits for the device, so never call it inside a lap.

        Raises:
            NotFiniteError: when it is NaN or infinite.
        """
        if not self.trains:
            self._learn_form(self._outputs)
            with torch.inference_mode():
                self._loss = self._loss_function(self._outputs, self._targets)
            if not isinstance(self._loss, Tensor):
                self._check(self._loss)
        value = float(self._loss.float().mean().cpu())
        if not isfinite(value):
            raise NotFiniteError(
                f"The loss is {value}: the model's results are not finite, so its speed means nothing."
            )
        return value
