"""A cell on its device: the model, its data and the recipe's settings; makes steps of any batch and memory format."""

import torch
from msgspec.structs import replace
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from torchlap.schema.recipe import MemoryFormat
from torchlap.schema.requests import Build
from torchlap.schema.workload import DataName
from torchlap.worker import devices
from torchlap.worker.cell.check import check_rows, counted
from torchlap.worker.cell.data import digits
from torchlap.worker.cell.engaged import set_cudnn_benchmark
from torchlap.worker.cell.hugging_face import pad_vocabulary
from torchlap.worker.cell.models import build
from torchlap.worker.cell.sources import (
    CHANNELS,
    IMAGE_DIMENSIONS,
    PINNED,
    WHOLE,
    Fixed,
    Loaded,
    MakeSource,
    Pair,
    Part,
    Pictures,
    Resident,
    Source,
    as_the_recipe_says,
    part_of_loader,
    picture_loader,
)
from torchlap.worker.cell.step import Step
from torchlap.worker.cell.subject import Subject
from torchlap.worker.errors import RefusedError

SEED = 1
FORMATS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}
PREFETCH_FACTOR = 2
"""The default of torch.utils.data.DataLoader, for each of its workers."""

TRIAL_BATCH = 16
"""Memory formats are tried at this batch at most: the faster one is the same at larger batches, which take longer."""


class Bench:
    """A model on its device with everything that the recipe sets.

    Args:
        request: what to build.
        part: which of the data; another part has other random numbers, too.

    Attributes:
        choices: settings that were chosen, in words, each with its reason.
        input_shape: of the inputs at the cell's batch size.
        digit_count: how many digits it is trained on; 0 for other data.
    """

    def __init__(self, request: Build, part: Part = WHOLE) -> None:
        self.cell = request.cell
        recipe, workload = self.cell.recipe, self.cell.workload
        self.device = devices.select(self.cell.device)
        self.synchronize = devices.synchronizer(self.device)
        torch.manual_seed(request.seed + part.number)
        own = recipe.threads
        self._threads = own or request.threads
        self.choices = [
            devices.set_threads(self._threads, "the recipe" if own else request.threads_reason),
            devices.set_precision(recipe.precision, self.device),
        ]
        if self.device.type == "cpu":
            self.choices.append(devices.keep_freed_memory())
        set_cudnn_benchmark(recipe, self.device)
        asked = workload.asked or workload.batch
        subject = build(workload.model, asked, request.weights, self.device, seq=workload.seq)
        if recipe.pad_vocab:
            self.choices.append(pad_vocabulary(subject.module))
        subject = counted(workload.model, subject, request.items, request.unit)
        if subject.loader is not None:
            subject = replace(subject, loader=part_of_loader(subject.loader, part))
        self._subject, self._part = subject, part
        check_rows(self._subject, workload)
        self._apply_loader_words()
        for each in (self._subject.loss, *getattr(self._subject.loss, "args", ())):
            if isinstance(each, nn.Module):  # a loss may have weights, or learn
                each.to(self.device)
        self.module = self._subject.module.to(self.device).train(workload.phase == "train")
        self.digit_count = 0
        self._pictures: Pictures | None = None
        self._kept_batch: Pair | None = None
        """The first batch of a user's own loader, which may begin with another one each time."""
        self._make_source, self.input_shape = self._sources(request.data)

    def activate(self) -> None:
        """Make the cell's settings the current ones, after another cell of the same worker had its own."""
        devices.select(self.cell.device)
        devices.set_precision(self.cell.recipe.precision, self.device)
        set_cudnn_benchmark(self.cell.recipe, self.device)
        if torch.get_num_threads() != self._threads:
            torch.set_num_threads(self._threads)

    def _apply_loader_words(self) -> None:
        """Make a user's own loader as the recipe says.

        Raises:
            RefusedError: for words that have no effect, because there is no loader or no device for them.
        """
        recipe, subject = self.cell.recipe, self._subject
        if recipe.pinned and self.device.type not in PINNED:
            raise RefusedError(f"pinned has no effect on {self.device.type}: omit the recipe term there.")
        if subject.loader is not None:
            self._subject = replace(subject, loader=as_the_recipe_says(subject.loader, recipe))
        elif recipe.of_loader and (subject.batch is not None or recipe.workers is None):
            word = recipe.of_loader[0]
            advice = "omit it" if subject.batch is not None else "add workers:N"
            raise RefusedError(f"The recipe term {word} needs a loader, and there is none: {advice}.")

    def _sources(self, data: DataName) -> tuple[MakeSource, tuple[int, ...]]:
        """How to make a source of batches, and the shape of the inputs at the cell's batch size."""
        subject, device = self._subject, self.device
        if subject.loader is not None:
            loader = subject.loader
            pair = subject.pair
            source = Loaded(loader, self._loader_rows, torch.device("cpu"), torch.preserve_format, pair)
            self._kept_batch = source.place(source.fetch())
            shape = self._shape_of(self._kept_batch)
            return lambda _, layout: Loaded(loader, self._loader_rows, device, layout, pair), shape
        if subject.batch is not None:
            own = subject.batch
            return lambda _, layout: Fixed(own, device, layout), self._shape_of(own)
        return self._digits(data, subject.image_size or 0)

    def _shape_of(self, batch: Pair) -> tuple[int, ...]:
        inputs, _ = batch
        return tuple(inputs.shape) if isinstance(inputs, Tensor) else (self.cell.workload.batch,)

    def _digits(self, data: DataName, size: int) -> tuple[MakeSource, tuple[int, ...]]:
        """Digits resized to the model's input: resident on the device, or through a DataLoader."""
        images, labels = (pool[self._part.number :: self._part.of] for pool in digits(data))
        self.digit_count = len(images)
        batch, workers, device = self.cell.workload.batch, self.cell.recipe.workers, self.device
        prefetch = self.cell.recipe.prefetch
        shape = (batch, CHANNELS, size, size)
        if workers is None:
            return lambda rows, layout: Resident((images, labels), size, rows, device, layout), shape
        repeats = -(-batch // len(images))
        pictures = self._pictures = Pictures(images.repeat(repeats, 1, 1), labels.repeat(repeats), size)

        def loaded(rows: int, layout: torch.memory_format) -> Source:
            loader = picture_loader(pictures, rows, workers, device, prefetch)
            return Loaded(loader, loader.batch_size or rows, device, layout)

        return loaded, shape

    @property
    def loader_workers(self) -> tuple[int, ...]:
        """The numbers of workers that `loader` can be timed with: the cell's, and twice as many for torchlap's own."""
        if self._subject.loader is not None:
            return (self._subject.loader.num_workers,)
        workers = self.cell.recipe.workers
        return () if workers is None else (workers, 2 * workers or 1)

    def loader(self, workers: int) -> Loaded:
        """A fresh loader of the cell's batches with that many workers.

        Raises:
            ValueError: for a cell without a loader.
        """
        loader = self._subject.loader
        if loader is None:
            if self._pictures is None:
                raise ValueError(f"{self.cell} has no loader")
            prefetch = self.cell.recipe.prefetch
            loader = picture_loader(self._pictures, self.cell.workload.batch, workers, self.device, prefetch)
        return Loaded(loader, self._loader_rows, self.device, FORMATS[self.layout], self._subject.pair)

    @property
    def _loader_rows(self) -> int | None:
        """The rows that a loader's batch must have; None if they vary."""
        return None if self._subject.sizes else self.cell.workload.batch

    @property
    def has_loader(self) -> bool:
        """Whether a step may have to wait for its batch."""
        return self.cell.recipe.workers is not None or self._subject.loader is not None

    @property
    def prefetched(self) -> int:
        """Batches that the cell's loader keeps ready; 0 without worker processes."""
        loader = self._subject.loader
        if loader is not None:
            return loader.num_workers * (loader.prefetch_factor or 0)
        workers = self.cell.recipe.workers or 0
        return workers * (self.cell.recipe.prefetch or PREFETCH_FACTOR)

    def source(self) -> Source:
        """A fresh source of the cell's batches, in the memory format of the recipe."""
        return self._make_source(self.cell.workload.batch, FORMATS[self.layout])

    def step(
        self,
        memory_format: MemoryFormat,
        batch: int | None = None,
        *,
        plain: bool = False,
        same_batch: bool = False,
        wrapped: nn.Module | None = None,
    ) -> Step:
        """A step of the model with a fresh optimizer.

        Args:
            memory_format: of the module and its images.
            batch: items a step; by default the cell's.
            plain: without what the recipe says about compiling and capturing it.
            same_batch: use the same data in every such step, whatever the user's loader returns.
            wrapped: the module as several ranks train it, already in its memory format.
        """
        layout = FORMATS[memory_format]
        if wrapped is None:
            self.module.to(memory_format=layout)
        if same_batch and self._kept_batch is not None:
            source: Source = Fixed(self._kept_batch, self.device, layout)
        else:
            source = self._make_source(batch or self.cell.workload.batch, layout)
        recipe = self.cell.recipe
        if plain:
            recipe = replace(recipe, compile=False, graph=False, compile_mode="default", layout_opt_off=False)
        subject = self._subject if wrapped is None else replace(self._subject, module=wrapped)
        return Step(subject, source, recipe, self.device, self.cell.workload.phase)

    @property
    def subject(self) -> Subject:
        """What is trained."""
        return self._subject

    @property
    def layout(self) -> MemoryFormat:
        """The memory format that the recipe requests, or torch's default."""
        return "channels_last" if self.cell.recipe.memory_format == "channels_last" else "contiguous"

    @property
    def trial_batch(self) -> int:
        """The largest batch at which memory formats are tried; a user's own batch cannot be cut."""
        own = self._subject.batch is not None or self._subject.loader is not None
        return self.cell.workload.batch if own else TRIAL_BATCH

    def can_try_formats(self) -> bool:
        """Only the CPU's memory format is chosen by trial, only if none is requested, and only for images."""
        images = len(self.input_shape) == IMAGE_DIMENSIONS
        lazy = any(map(is_lazy, self.module.parameters()))  # has no state yet that could be restored
        recipe = self.cell.recipe
        return self.device.type == "cpu" and recipe.memory_format == "auto" and images and not (recipe.compile or lazy)
