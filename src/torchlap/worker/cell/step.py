"""One step of a model: an optimizer update (train) or a forward pass (eval), in the arithmetic that the recipe sets."""

import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from math import isfinite
from typing import Any

import torch
from torch import Tensor

from torchlap.schema.recipe import Recipe
from torchlap.schema.workload import StepPhase
from torchlap.worker.cell.sources import Source
from torchlap.worker.cell.subject import Subject
from torchlap.worker.errors import ModelError, NotFiniteError

LEARNING_RATE = 1e-4
"""At 1e-3 alexnet and squeezenet1_0 do not start to learn from random weights; the speed is the same."""

AUTOCAST = {"bf16": torch.bfloat16, "fp16": torch.float16}
MOST_SCALINGS, SCALE_MARGIN = 20, 16.0
"""Loss scaling starts at 65,536 and is halved each time."""

Values = Any
"""What the user's model and loss accept and return: tensors, or structures of them."""

Mark = Callable[[StepPhase], None]
"""Called when a phase of a step has been enqueued."""


def _ignore_phases(_: StepPhase) -> None:
    """For steps whose phases are not timed."""


class Step:
    """A step that is ready to run; calling it enqueues the work and does not wait for the device."""

    def __init__(self, subject: Subject, source: Source, recipe: Recipe, device: torch.device, phase: str) -> None:
        self._source, self._loss_function = source, subject.loss
        self._autocast: Callable[[], AbstractContextManager[Any]] = nullcontext
        if recipe.precision in AUTOCAST:
            dtype = AUTOCAST[recipe.precision]
            self._autocast = lambda: torch.autocast(device.type, dtype=dtype)
        self._model = torch.compile(subject.module) if recipe.compile else subject.module
        self.trains = phase == "train"
        self.input_wait_seconds = 0.0
        self._loss = torch.zeros(())
        self._loss_is_checked = False
        self._outputs: Values = None
        self._targets: Values = None
        self._scaler = torch.amp.GradScaler(device.type) if recipe.precision == "fp16" else None
        if self.trains:
            parameters = list(subject.module.parameters())
            if not any(parameter.requires_grad for parameter in parameters):
                raise ModelError("The module has no trainable parameters: unfreeze some, or use --phase eval.")
            self._optimizer = torch.optim.Adam(parameters, lr=LEARNING_RATE, fused=recipe.fused or None)

    def __call__(self) -> None:
        """Enqueue one step."""
        self.phased(_ignore_phases)

    def phased(self, mark: Mark) -> None:
        """Enqueue one step, and call `mark` after each of its phases is enqueued."""
        batch = self._source.fetch()
        mark("input")
        inputs, targets = self._source.place(batch)
        mark("transfer")
        if self.trains:
            self._train(inputs, targets, mark)
        else:
            self._targets = targets
            with torch.inference_mode(), self._autocast():
                self._outputs = self._model(inputs)
            mark("forward")

    def _train(self, inputs: Values, targets: Values, mark: Mark) -> None:
        self._optimizer.zero_grad(set_to_none=True)
        with self._autocast():
            loss = self._loss_function(self._model(inputs), targets)
        if not self._loss_is_checked:
            self._check(loss)
        mark("forward")
        torch.autograd.backward(loss if self._scaler is None else self._scaler.scale(loss))
        mark("backward")
        self.update()
        mark("optimizer")
        self._loss = loss.detach()

    def _check(self, loss: object) -> None:
        """Check the first loss, so that a wrong one is reported in one sentence."""
        if not isinstance(loss, Tensor) or loss.numel() != 1:
            kind = f"a tensor of shape {tuple(loss.shape)}" if isinstance(loss, Tensor) else type(loss).__name__
            raise ModelError(f"The loss function returned {kind}: it must return a tensor with one element.")
        self._loss_is_checked = True

    def watched(self) -> None:
        """Enqueue one step, and add the time that the host waited for its batch to `input_wait_seconds`."""
        begun = time.perf_counter()

        def mark(phase: StepPhase) -> None:
            if phase == "input":
                self.input_wait_seconds += time.perf_counter() - begun

        self.phased(mark)

    def update(self) -> None:
        """Enqueue only the optimizer's part of a step, with the gradients as they are."""
        if self._scaler is None:
            self._optimizer.step()
        else:  # skips the step if gradients are not finite
            self._scaler.step(self._optimizer)
            self._scaler.update()

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
            with torch.inference_mode():
                self._loss = self._loss_function(self._outputs, self._targets)
        value = float(self._loss.float().mean().cpu())
        if not isfinite(value):
            raise NotFiniteError(
                f"The loss is {value}: the model's results are not finite, so its speed means nothing."
            )
        return value
