"""Digits, and the ways they reach the device: resident there, through a DataLoader, or the user's own batch."""

import gzip
from collections.abc import Callable, Iterator
from importlib.resources import files
from typing import Any, Protocol

import numpy as np
import platformdirs
import torch
from torch import Tensor
from torch.nn.functional import interpolate
from torch.utils import _pytree
from torch.utils.data import DataLoader, Dataset
from torchvision import datasets, transforms

from torchlap.schema.workload import DataName

MEAN, DEVIATION = 0.1307, 0.3081
"""Of MNIST's training pixels on the scale 0 to 1, the usual normalisation."""

CHANNELS, IMAGE_DIMENSIONS, PAIR = 3, 4, 2
SYNTHETIC_IMAGES = 1000
SEED = 1
IDX_IMAGES_HEADER, IDX_LABELS_HEADER, SIDE = 16, 8, 28
"""The idx format: big-endian magic number and sizes, then the bytes (yann.lecun.com/exdb/mnist)."""


class DataError(Exception):
    """The data cannot be had; one sentence with its remedy."""


class Source(Protocol):
    """Where batches come from: fetched on the host, then placed on the device."""

    def fetch(self) -> Any:  # noqa: ANN401  each source knows its own batches
        """Wait until the host has the next batch."""

    def place(self, batch: Any) -> tuple[Any, Any]:  # noqa: ANN401
        """What was fetched as inputs and targets on the device; waits for nothing where the device is asynchronous."""


def digits(name: DataName) -> tuple[Tensor, Tensor]:
    """The training images, N x 28 x 28 of uint8, and their labels, N of int64.

    Raises:
        DataError: when the full MNIST is neither here nor can be downloaded.
    """
    if name == "mnist":
        return _mnist()
    if name == "synthetic":
        generator = torch.Generator().manual_seed(SEED)
        images = torch.randint(0, 256, (SYNTHETIC_IMAGES, SIDE, SIDE), dtype=torch.uint8, generator=generator)
        return images, torch.randint(0, 10, (SYNTHETIC_IMAGES,), generator=generator)
    pixels = _embedded("train-images-idx3-ubyte.gz")[IDX_IMAGES_HEADER:].reshape(-1, SIDE, SIDE)
    classes = _embedded("train-labels-idx1-ubyte.gz")[IDX_LABELS_HEADER:]
    return torch.from_numpy(pixels.copy()), torch.from_numpy(classes.astype(np.int64))


def _embedded(name: str) -> "np.ndarray[Any, np.dtype[np.uint8]]":
    packed = files("torchlap").joinpath("data", "mnist-1k", name).read_bytes()
    return np.frombuffer(gzip.decompress(packed), dtype=np.uint8)


def _mnist() -> tuple[Tensor, Tensor]:
    folder = platformdirs.user_cache_dir("torchlap")
    try:
        mnist = datasets.MNIST(folder, train=True, download=True)
    except (OSError, RuntimeError) as error:
        reason = str(error).splitlines()[0].rstrip(":") if str(error) else type(error).__name__
        raise DataError(
            f"MNIST is not in {folder} and cannot be downloaded ({reason}): check the network, or use --data mnist-1k."
        ) from None
    return mnist.data, mnist.targets


class Resident:
    """The images stay on the device as uint8; each batch is resized and normalised there, into a buffer made once."""

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
        self._batch, self._size, self._at = batch, size, 0
        buffer = torch.empty((batch, CHANNELS, size, size), device=device)
        self._inputs = buffer.contiguous(memory_format=memory_format)

    def fetch(self) -> slice:
        """Which of the images are next; an epoch's incomplete batch is left out."""
        if self._at + self._batch > len(self._images):
            self._at = 0
        rows = slice(self._at, self._at + self._batch)
        self._at += self._batch
        return rows

    def place(self, batch: slice) -> tuple[Tensor, Tensor]:
        """N x 3 x size x size of float32 and N of int64."""
        raw = self._images[batch].unsqueeze(1).float()
        resized = interpolate(raw, size=(self._size, self._size), mode="bilinear", align_corners=False)
        normalised = resized.sub_(MEAN * 255).div_(DEVIATION * 255)
        self._inputs.copy_(normalised.expand(-1, CHANNELS, -1, -1))
        return self._inputs, self._labels[batch]


class Pictures(Dataset[tuple[Tensor, int]]):
    """Digits as users' own code has them: PIL images, resized and normalised by torchvision's transforms."""

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


def picture_loader(pictures: Pictures, batch: int, workers: int, device: torch.device) -> DataLoader[Any]:
    """A shuffled loader whose worker processes resize with PIL."""
    return DataLoader(
        pictures,
        batch_size=min(batch, len(pictures)),
        shuffle=True,
        drop_last=True,
        num_workers=workers,
        pin_memory=device.type in ("cuda", "xpu"),
        persistent_workers=workers > 0,
    )


class Loaded:
    """Batches from a DataLoader; epochs follow one another without end."""

    def __init__(
        self, loader: DataLoader[Any], rows: int, device: torch.device, memory_format: torch.memory_format
    ) -> None:
        self._move = _mover(device, memory_format, non_blocking=loader.pin_memory)
        self._batches = _endless(loader, rows)

    def fetch(self) -> Any:  # noqa: ANN401  a user's loader gives what it likes
        """The next batch that the loader has ready."""
        return next(self._batches)

    def place(self, batch: Any) -> tuple[Any, Any]:  # noqa: ANN401
        """Inputs and targets, copied to the device.

        Raises:
            DataError: when the loader gives anything else than pairs.
        """
        if not isinstance(batch, tuple | list) or len(batch) != PAIR:
            raise DataError(f"The loader gives {type(batch).__name__} where a pair (inputs, targets) belongs.")
        return self._move(batch[0]), self._move(batch[1])


def _endless(loader: DataLoader[Any], rows: int) -> Iterator[Any]:
    """The batches of that many rows, epoch after epoch; an epoch's incomplete batch is left out.

    It knows no `Loaded`: a cycle would leave the loader's end to the garbage collector, which may run in a process that
    another loader has forked meanwhile, and torch then waits for workers that are not that process's own, 5 s each.
    """
    while True:
        empty = True
        for batch in loader:
            tensors = [leaf for leaf in _pytree.tree_leaves(batch) if isinstance(leaf, Tensor) and leaf.dim()]
            if not tensors or len(tensors[0]) == rows:
                empty = False
                yield batch
        if empty:
            raise DataError(f"The loader has no batch of {rows} to give: its data are fewer, or its batches others.")


class Fixed:
    """The user's own batch, moved to the device once; every step sees the same."""

    def __init__(self, batch: tuple[Any, Any], device: torch.device, memory_format: torch.memory_format) -> None:
        move = _mover(device, memory_format)
        self._inputs, self._targets = move(batch[0]), move(batch[1])

    def fetch(self) -> None:
        """There is nothing to wait for."""

    def place(self, batch: None) -> tuple[Any, Any]:  # noqa: ARG002  of the protocol
        """The batch."""
        return self._inputs, self._targets


def _mover(
    device: torch.device, memory_format: torch.memory_format, *, non_blocking: bool = False
) -> Callable[[object], object]:
    """What moves every tensor of a nest to the device, images in the memory format."""

    def move(leaf: object) -> object:
        if not isinstance(leaf, Tensor):
            return leaf
        kept = memory_format if leaf.dim() == IMAGE_DIMENSIONS else torch.preserve_format
        return leaf.detach().to(device, non_blocking=non_blocking, memory_format=kept)

    return lambda values: _pytree.tree_map(move, values)


Make = Callable[[int, torch.memory_format], Source]
"""A source for a batch size and a memory format."""
