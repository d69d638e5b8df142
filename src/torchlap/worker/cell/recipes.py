"""A recipe to a step that is ready to run: model, optimizer, data and arithmetic on the device, as asked for."""

import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from copy import deepcopy
from math import ceil, isfinite
from typing import Any

import torch
from msgspec import Struct
from msgspec.structs import replace
from torch import Tensor
from torch.nn.parameter import is_lazy

from torchlap.schema.messages import Build, WarmUp
from torchlap.schema.recipe import MemoryFormat, Recipe
from torchlap.schema.workload import StepPhase
from torchlap.worker import devices
from torchlap.worker.cell.data import (
    CHANNELS,
    IMAGE_DIMENSIONS,
    Fixed,
    Loaded,
    Make,
    Pictures,
    Resident,
    Source,
    digits,
    picture_loader,
)
from torchlap.worker.cell.models import ModelError, Subject, build
from torchlap.worker.cell.timing import LAP_SECONDS

LEARNING_RATE = 1e-4
"""At 1e-3 alexnet and squeezenet1_0 do not begin to learn from random weights; the speed is the same."""
SEED = 1
FORMATS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}
AUTOCAST = {"bf16": torch.bfloat16, "fp16": torch.float16}
TRIAL_BATCH = 16
"""The CPU's memory format is chosen at this batch at most: it is the same at larger ones, and cheaper to find here."""

TRIAL_STEPS = 5
"""A first step, and at least two in each format: the first of each is cold."""

TRIAL_TURNS, TRIAL_SHARE = 3, 0.3
"""So many laps in each format, if they fit into this part of the time to warm up."""

MOST_SCALINGS, SCALE_MARGIN = 20, 16.0
"""From 65,536 on, halved each time."""


class NotFiniteError(Exception):
    """The loss is NaN or infinite: the figure would be void."""


def _no_mark(_: StepPhase) -> None:
    """Whom to tell of phases when nobody wants to know."""


class Step:
    """One optimizer update (train) or one forward pass (eval); calling it enqueues the work and waits for nothing."""

    def __init__(self, subject: Subject, source: Source, recipe: Recipe, device: torch.device, phase: str) -> None:
        self._source, self._loss_function = source, subject.loss
        self._autocast: Callable[[], AbstractContextManager[Any]] = nullcontext
        if recipe.precision in AUTOCAST:
            dtype = AUTOCAST[recipe.precision]
            self._autocast = lambda: torch.autocast(device.type, dtype=dtype)
        self._model = torch.compile(subject.module) if recipe.compile else subject.module
        self.trains = phase == "train"
        self._loss = torch.zeros(())
        self.input_wait_seconds = 0.0
        self._outputs: Any = None
        self._targets: Any = None
        self._scaler = torch.amp.GradScaler(device.type) if recipe.precision == "fp16" else None
        self._loss_is_right = False
        if self.trains:
            if not any(each.requires_grad for each in subject.module.parameters()):
                raise ModelError("The module has no parameters to train: leave some unfrozen, or use --phase eval.")
            self._optimizer = torch.optim.Adam(
                subject.module.parameters(), lr=LEARNING_RATE, fused=recipe.fused or None
            )

    def __call__(self) -> None:
        """Enqueue one step."""
        self.phased(_no_mark)

    def phased(self, mark: Callable[[StepPhase], None]) -> None:
        """Enqueue one step, and tell when each of its phases was enqueued."""
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

    def _train(self, inputs: Any, targets: Any, mark: Callable[[StepPhase], None]) -> None:  # noqa: ANN401  the model's own
        self._optimizer.zero_grad(set_to_none=True)
        with self._autocast():
            loss = self._loss_function(self._model(inputs), targets)
        if not self._loss_is_right:
            self._check(loss)
        mark("forward")
        torch.autograd.backward(loss if self._scaler is None else self._scaler.scale(loss))
        mark("backward")
        self.update()
        mark("optimizer")
        self._loss = loss.detach()

    def _check(self, loss: object) -> None:
        """Look at the first loss, so that a wrong one is told in our words."""
        if not isinstance(loss, Tensor) or loss.numel() != 1:
            kind = f"a tensor of shape {tuple(loss.shape)}" if isinstance(loss, Tensor) else type(loss).__name__
            raise ModelError(f"The loss is {kind}: return a tensor of one number.")
        self._loss_is_right = True

    def watched(self) -> None:
        """Enqueue one step, and note how long the host waited for its batch."""
        begun = time.perf_counter()

        def mark(phase: StepPhase) -> None:
            if phase == "input":
                self.input_wait_seconds += time.perf_counter() - begun

        self.phased(mark)

    def update(self) -> None:
        """Enqueue the optimizer's part of a step alone, with the gradients that are there."""
        if self._scaler is None:
            self._optimizer.step()
        else:  # which skips gradients that are not finite
            self._scaler.step(self._optimizer)
            self._scaler.update()

    def find_scale(self) -> None:
        """Run steps until the loss scale of fp16 no longer overflows, as training does at its beginning.

        A margin is left then: the next batch is not to overflow.
        """
        for _ in range(MOST_SCALINGS if self._scaler is not None and self.trains else 0):
            before = self._scale()
            self()
            if self._scaler is not None and self._scale() >= before:
                self._scaler.update(before / SCALE_MARGIN)
                return

    def _scale(self) -> float:
        return float(self._scaler.get_scale()) if self._scaler is not None else 1.0

    @property
    def last_loss(self) -> Tensor:
        """The last step's loss, on its device."""
        return self._loss.detach().clone()

    def loss(self) -> float:
        """The last step's loss; this waits for the device, so never inside a lap.

        Raises:
            NotFiniteError: when it is NaN or infinite.
        """
        if not self.trains:
            with torch.inference_mode():
                self._loss = self._loss_function(self._outputs, self._targets)
        value = float(self._loss.float().mean().cpu())
        if not isfinite(value):
            raise NotFiniteError(f"The loss is {value}: the model computes no number, so its speed means nothing.")
        return value


class Bench:
    """A model on its device with all that a recipe sets; `step` makes a step of any batch size and memory format."""

    def __init__(self, request: Build) -> None:
        self.cell = request.cell
        recipe, workload = self.cell.recipe, self.cell.workload
        self.device = devices.select(self.cell.device)
        self.synchronize = devices.synchronizer(self.device)
        torch.manual_seed(SEED)
        self.choices = [devices.set_threads(request.threads, request.threads_reason)]
        self.choices.append(devices.set_precision(recipe.precision, self.device))
        if self.device.type == "cpu":
            self.choices.append(devices.keep_freed_memory())
        self._subject = build(workload.model, workload.batch, request.weights)
        self.module = self._subject.module.to(self.device).train(workload.phase == "train")
        self._held: tuple[Any, Any] | None = None
        """The first batch of a loader of the user's own, which may give another first one each time."""
        self._source, self.input_shape = self._sources(request)

    def _shape_of(self, batch: tuple[Any, Any]) -> tuple[int, ...]:
        return tuple(batch[0].shape) if isinstance(batch[0], Tensor) else (self.cell.workload.batch,)

    def _sources(self, request: Build) -> tuple[Make, tuple[int, ...]]:
        """How to make a source, and the shape of its inputs at the batch that is asked for."""
        subject, workload, device = self._subject, self.cell.workload, self.device
        if subject.loader is not None:
            own_loader = subject.loader
            source = Loaded(own_loader, workload.batch, torch.device("cpu"), torch.preserve_format)
            self._held = source.place(source.fetch())
            return lambda _, layout: Loaded(own_loader, workload.batch, device, layout), self._shape_of(self._held)
        if subject.batch is not None:
            own = subject.batch
            return lambda _, layout: Fixed(own, device, layout), self._shape_of(own)
        images, labels = digits(request.data)
        size = subject.image_size or 0
        shape = (workload.batch, CHANNELS, size, size)
        workers = self.cell.recipe.workers
        if workers is None:
            return lambda rows, layout: Resident((images, labels), size, rows, device, layout), shape
        repeats = -(-workload.batch // len(images))
        self._pictures = Pictures(images.repeat(repeats, 1, 1), labels.repeat(repeats), size)

        def loaded(rows: int, layout: torch.memory_format) -> Source:
            loader = picture_loader(self._pictures, rows, workers, device)
            return Loaded(loader, loader.batch_size or rows, device, layout)

        return loaded, shape

    @property
    def loader_workers(self) -> tuple[int, ...]:
        """With how many workers `loader` may be called: as the cell has it, and twice as many where they are ours."""
        if self._subject.loader is not None:
            return (self._subject.loader.num_workers,)
        workers = self.cell.recipe.workers
        return () if workers is None else (workers, 2 * workers or 1)

    def loader(self, workers: int) -> Loaded:
        """A fresh loader of the cell's batches with so many workers, for a cell that has one."""
        rows = self.cell.workload.batch
        loader = self._subject.loader or picture_loader(self._pictures, rows, workers, self.device)
        return Loaded(loader, rows, self.device, FORMATS[self.layout])

    @property
    def has_loader(self) -> bool:
        """Whether a step may have to wait for its batch."""
        return self.cell.recipe.workers is not None or self._subject.loader is not None

    def step(
        self,
        memory_format: MemoryFormat,
        batch: int | None = None,
        *,
        compiled: bool | None = None,
        same_batch: bool = False,
    ) -> Step:
        """A step of the model in that memory format, with a fresh optimizer, compiled as told or as the recipe says.

        With `same_batch` such steps see the same data, whatever their loader would give.
        """
        layout = FORMATS[memory_format]
        self.module.to(memory_format=layout)
        if same_batch and self._held is not None:
            source: Source = Fixed(self._held, self.device, layout)
        else:
            source = self._source(batch or self.cell.workload.batch, layout)
        recipe = self.cell.recipe if compiled is None else replace(self.cell.recipe, compile=compiled)
        return Step(self._subject, source, recipe, self.device, self.cell.workload.phase)

    @property
    def layout(self) -> MemoryFormat:
        """The memory format that the recipe asks for; torch's default where it asks for none."""
        return "channels_last" if self.cell.recipe.memory_format == "channels_last" else "contiguous"

    @property
    def trial_batch(self) -> int:
        """The batch at which memory formats are tried at most; the user's own cannot be cut."""
        own = self._subject.batch is not None or self._subject.loader is not None
        return self.cell.workload.batch if own else TRIAL_BATCH

    def may_try_formats(self) -> bool:
        """Only the CPU chooses its memory format, only when none is asked for, and only for images."""
        images = len(self.input_shape) == IMAGE_DIMENSIONS
        lazy = any(is_lazy(each) for each in self.module.parameters())  # there is no state yet to go back to
        recipe = self.cell.recipe
        return self.device.type == "cpu" and recipe.memory_format == "auto" and images and not (recipe.compile or lazy)


class Choice(Struct, frozen=True):
    """A memory format and why.

    `seen` holds the seconds of steps that already were of the final kind, `first_loss` the loss of the first of them.
    """

    memory_format: MemoryFormat
    reason: str
    step: Step | None = None
    seen: Sequence[float] = ()
    first_loss: float | None = None


def choose_format(bench: Bench, request: WarmUp, timed: Callable[[Step, int], float]) -> Choice:
    """Choose the memory format: the one asked for, or for the CPU the faster of both, each tried cold and with a lap.

    After a trial of both the model is as it was before.

    Args:
        bench: the model on its device.
        request: its hint is taken where trying would take too long; its limit holds for all steps of the trial but the
            first.
        timed: runs so many steps and returns the seconds of each.
    """
    recipe, batch = bench.cell.recipe, bench.cell.workload.batch
    if request.memory_format != "auto":
        return Choice(request.memory_format, f"{request.memory_format}: as chosen for the same cell before")
    if recipe.memory_format != "auto":
        return Choice(recipe.memory_format, f"{recipe.memory_format}: asked for")
    if not bench.may_try_formats():
        return Choice("contiguous", "contiguous: torch's default")
    rows, untouched = min(batch, bench.trial_batch), deepcopy(bench.module.state_dict())
    step = bench.step("contiguous", rows)
    first = timed(step, 1)
    first_loss = step.loss() if rows == batch else None
    if (TRIAL_STEPS - 1) * first > request.limit_seconds:
        choice = _untried(request.memory_format_hint, step if rows == batch else None, first, first_loss)
        if choice.step is None:
            bench.module.load_state_dict(untouched)
        return choice
    contiguous, channels_last = _trial(bench, rows, first, request.limit_seconds, timed)
    bench.module.load_state_dict(untouched)
    best: MemoryFormat = "contiguous" if contiguous <= channels_last else "channels_last"
    reason = f"{best}: a step of batch {rows} took {contiguous:.3g} s contiguous, {channels_last:.3g} s channels_last"
    seen = [first, min(contiguous, channels_last)] if rows == batch else []
    return Choice(best, reason, None, seen, first_loss)


def _trial(
    bench: Bench, rows: int, first: float, limit_seconds: float, timed: Callable[[Step, int], float]
) -> tuple[float, float]:
    """The least seconds of a step, contiguous and channels_last, from laps in turns: no disturbed lap may decide."""
    steps = ceil(LAP_SECONDS / first)
    turns = max(1, min(TRIAL_TURNS, int(TRIAL_SHARE * limit_seconds / (2 * steps * first))))
    seen: dict[MemoryFormat, list[float]] = {"contiguous": [], "channels_last": []}
    for turn in range(turns):
        for name in list(seen)[:: 1 if turn % 2 == 0 else -1]:
            step = bench.step(name, rows)
            timed(step, 1)  # cold
            seen[name].append(timed(step, steps))
    return min(seen["contiguous"]), min(seen["channels_last"])


def _untried(hint: MemoryFormat, step: Step | None, first: float, first_loss: float | None) -> Choice:
    """The format without a trial; the step that was run is kept where it was one of the final kind."""
    chosen: MemoryFormat = "contiguous" if hint == "auto" else hint
    why = "torch's default" if hint == "auto" else "the faster at another batch"
    reason = f"{chosen}: {why} (trying both would take too long)"
    if step is None or chosen != "contiguous":
        return Choice(chosen, reason)
    return Choice(chosen, reason, step, [first], first_loss)
