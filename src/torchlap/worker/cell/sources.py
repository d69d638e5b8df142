"""How batches reach the device: resident there, through a DataLoader, or a user's own fixed batch."""

from collections.abc import Callable, Iterator
from typing import Any, Protocol

import torch
from msgspec import Struct
from torch import Tensor
from torch.nn.functional import interpolate
from torch.utils import _pytree
from torch.utils.data import BatchSampler, DataLoader, Dataset, DistributedSampler, IterableDataset, RandomSampler
from torchvision import transforms

from torchlap.schema.recipe import Recipe
from torchlap.worker.cell.calls import rows_of, split
from torchlap.worker.cell.returned import pair_of
from torchlap.worker.errors import DataError, RefusedError

MEAN, DEVIATION = 0.1307, 0.3081
"""Of MNIST's training pixels on the scale 0 to 1, the usual normalization."""

CHANNELS, IMAGE_DIMENSIONS = 3, 4

Batch = Any
"""What a source fetches; a user's loader may return anything."""

Pair = tuple[Any, Any]
"""Inputs and targets: tensors, or whatever the user's model and loss accept."""


class Part(Struct, frozen=True):
    """A part of the data: of so many, the one with this number, from 0."""

    number: int = 0
    of: int = 1


WHOLE = Part()


class Source(Protocol):
    """Where batches come from: fetched on the host, then placed on the device."""

    def fetch(self) -> Batch:
        """Wait until the host has the next batch."""

    def place(self, batch: Batch) -> Pair:
        """Put a fetched batch on the device; does not wait if the device is asynchronous."""


MakeSource = Callable[[int, torch.memory_format], Source]
"""Makes a source for a batch size and a memory format."""


class Resident:
    """Images that stay on the device as uint8; each batch is resized and normalized there, into a reused buffer."""

    def __init__(
        self,
        pool: tuple[Tensor, Tensor],
        size: int,
        batch: int,
        device: torch.device,
        memory_format: torch.memory_format,
    ) -> None:
        images, labels = pool
        repeats = -(-batch // len(images))
        self._images = images.repeat(repeats, 1, 1).to(device)
        self._labels = labels.repeat(repeats).to(device)
        self._batch, self._size, self._next = batch, size, 0
        buffer = torch.empty((batch, CHANNELS, size, size), device=device)
        self._inputs = buffer.contiguous(memory_format=memory_format)

    def fetch(self) -> slice:
        """The rows of the next images; an epoch's incomplete last batch is left out."""
        if self._next + self._batch > len(self._images):
            self._next = 0
        rows = slice(self._next, self._next + self._batch)
        self._next += self._batch
        return rows

    def place(self, batch: slice) -> tuple[Tensor, Tensor]:
        """N x 3 x size x size of float32 and N of int64."""
        self._inputs.copy_(pictures(self._images[batch], self._size))
        return self._inputs, self._labels[batch]


def pictures(images: Tensor, size: int) -> Tensor:
    """Digits, N x side x side of uint8, resized and normalized: N x 3 x size x size of float32."""
    raw = images.unsqueeze(1).float()
    resized = interpolate(raw, size=(size, size), mode="bilinear", align_corners=False)
    return resized.sub_(MEAN * 255).div_(DEVIATION * 255).expand(-1, CHANNELS, -1, -1)


class Shuffled:
    """The images of a source that stay on the device, in another order in every epoch."""

    def __init__(self, resident: Source, count: int, batch: int, device: torch.device, seed: int) -> None:
        self._resident, self._device = resident, device
        self._count, self._batch, self._seed = max(count, batch), batch, seed
        self.restart()

    def restart(self) -> None:
        """Begin with the first epoch again."""
        self._generator = torch.Generator().manual_seed(self._seed)
        self._next = self._count

    def fetch(self) -> Tensor:
        """The rows of the next images; an epoch's incomplete last batch is left out."""
        if self._next + self._batch > self._count:
            self._order = torch.randperm(self._count, generator=self._generator).to(self._device)
            self._next = 0
        rows = self._order[self._next : self._next + self._batch]
        self._next += self._batch
        return rows

    def place(self, batch: Tensor) -> Pair:
        """As the source does."""
        return self._resident.place(batch)


class Pictures(Dataset[tuple[Tensor, int]]):
    """Images as users' own code has them: PIL images, resized and normalized by torchvision's transforms."""

    def __init__(self, images: Tensor, labels: Tensor, size: int) -> None:
        self._images, self._labels = images, labels
        self._transform = transforms.Compose(
            [
                transforms.ToPILImage(),
                transforms.Grayscale(CHANNELS),
                transforms.Resize((size, size)),
                transforms.ToTensor(),
                transforms.Normalize((MEAN,) * CHANNELS, (DEVIATION,) * CHANNELS),
            ]
        )

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self._transform(self._images[index]), int(self._labels[index])


PINNED = ("cuda", "xpu")
"""Kinds of devices to which page-locked memory is copied faster."""


def as_the_recipe_says(loader: DataLoader[Any], recipe: Recipe) -> DataLoader[Any]:
    """A user's own loader, or one like it with the processes and the memory that the recipe names."""
    if not recipe.of_loader:
        return loader
    workers = loader.num_workers if recipe.workers is None else recipe.workers
    if workers == 0 and (recipe.persistent or recipe.prefetch):
        raise RefusedError("The loader has no processes, so persistent and prefetch have no effect: add workers:N.")
    batches: dict[str, Any] = {"batch_sampler": loader.batch_sampler}
    if isinstance(loader.dataset, IterableDataset) or loader.batch_sampler is None:
        batches = {"batch_size": loader.batch_size, "drop_last": loader.drop_last}
    return DataLoader(
        loader.dataset,
        **batches,
        num_workers=workers,
        collate_fn=loader.collate_fn,
        pin_memory=loader.pin_memory or recipe.pinned,
        timeout=loader.timeout if workers else 0,
        worker_init_fn=loader.worker_init_fn,
        multiprocessing_context=loader.multiprocessing_context if workers else None,
        generator=loader.generator,
        prefetch_factor=(recipe.prefetch or loader.prefetch_factor) if workers else None,
        persistent_workers=bool(workers) and (loader.persistent_workers or recipe.persistent),
    )


def picture_loader(
    pictures: Pictures, batch: int, workers: int, device: torch.device, prefetch: int | None = None
) -> DataLoader[Any]:
    """A shuffled loader whose worker processes resize with PIL; pinned and persistent where that has an effect."""
    return DataLoader(
        pictures,
        batch_size=min(batch, len(pictures)),
        shuffle=True,
        drop_last=True,
        num_workers=workers,
        pin_memory=device.type in PINNED,
        persistent_workers=workers > 0,
        prefetch_factor=prefetch if workers else None,
    )


def part_of_loader(loader: DataLoader[Any], part: Part) -> DataLoader[Any]:
    """A user's loader of one part of its dataset, through a DistributedSampler; one that has its own is left alone.

    Raises:
        DataError: for a loader whose dataset cannot be divided.
    """
    if part.of == 1 or isinstance(loader.sampler, DistributedSampler):
        return loader
    if isinstance(loader.dataset, IterableDataset) or type(loader.batch_sampler) is not BatchSampler:
        raise DataError(
            "The loader's dataset is iterable, or it makes its own batches, so torchlap cannot divide it between "
            "ranks: give it a DistributedSampler, or return a DataLoader with a map-style dataset and a batch_size."
        )
    shuffle = isinstance(loader.sampler, RandomSampler)
    sampler: DistributedSampler[Any] = DistributedSampler(
        loader.dataset,
        part.of,
        part.number,
        shuffle=shuffle,
        drop_last=len(loader.dataset) >= part.of,  # type: ignore[arg-type]  # a map-style dataset has a length
    )
    return DataLoader(
        loader.dataset,
        batch_size=loader.batch_size,
        sampler=sampler,
        num_workers=loader.num_workers,
        collate_fn=loader.collate_fn,
        pin_memory=loader.pin_memory,
        drop_last=loader.drop_last,
        timeout=loader.timeout,
        worker_init_fn=loader.worker_init_fn,
        multiprocessing_context=loader.multiprocessing_context,
        generator=loader.generator,
        prefetch_factor=loader.prefetch_factor,
        persistent_workers=loader.persistent_workers,
    )


class Loaded:
    """Batches from a DataLoader, epoch after epoch without end."""

    def __init__(
        self,
        loader: DataLoader[Any],
        rows: int | None,
        device: torch.device,
        memory_format: torch.memory_format,
        pair: Callable[[Batch], Pair] | None = None,
    ) -> None:
        self._pair = pair or pair_of
        self._move = mover(device, memory_format, non_blocking=loader.pin_memory)
        self._batches = _endless(loader, rows)

    def fetch(self) -> Batch:
        """The loader's next batch."""
        return next(self._batches)

    def place(self, batch: Batch) -> Pair:
        """Inputs and targets, copied to the device.

        Raises:
            DataError: when the loader returns neither pairs nor dictionaries.
        """
        inputs, targets = self._pair(batch)
        return self._move(inputs), self._move(targets)


def _endless(loader: DataLoader[Any], rows: int | None) -> Iterator[Batch]:
    """The batches of exactly `rows` rows, epoch after epoch; smaller ones are left out, none if `rows` is None.

    A function, because a reference from the iterator to `Loaded` would be a cycle. The garbage collector would then end
    the loader, maybe in a process that another loader has forked meanwhile, where torch waits 5 s for each worker that
    is not that process's own.
    """
    while True:
        empty = True
        for batch in loader:
            pair = split(batch)
            if rows is None or pair is None or rows_of(*pair) in (rows, None):
                empty = False
                yield batch
        if empty:
            raise DataError(
                f"The loader has no batch of {rows} rows: its dataset is too small, or its batches have another size."
            )


class Fixed:
    """A user's own batch, moved to the device once and used for every step."""

    def __init__(self, batch: Pair, device: torch.device, memory_format: torch.memory_format) -> None:
        move = mover(device, memory_format)
        self._placed = move(batch[0]), move(batch[1])

    def fetch(self) -> Pair:
        """The batch, which is already on the device."""
        return self._placed

    def place(self, batch: Pair) -> Pair:
        """The batch as it is."""
        return batch


def mover(
    device: torch.device, memory_format: torch.memory_format, *, non_blocking: bool = False
) -> Callable[[object], object]:
    """A function that moves every tensor in a nested structure to the device, and images to the memory format."""

    def move(leaf: object) -> object:
        if not isinstance(leaf, Tensor):
            return leaf
        kept = memory_format if leaf.dim() == IMAGE_DIMENSIONS else torch.preserve_format
        return leaf.detach().to(device, non_blocking=non_blocking, memory_format=kept)

    return lambda values: _pytree.tree_map(move, values)
