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

from torchlap.records import DataName

MEAN, DEVIATION = 0.1307, 0.3081
"""Of MNIST's training pixels on the scale 0 to 1, the usual normalisation."""

CHANNELS = 3
SYNTHETIC_IMAGES = 1000
SEED = 1
IDX_IMAGES_HEADER, IDX_LABELS_HEADER, SIDE = 16, 8, 28
"""The idx format: big-endian magic number and sizes, then the bytes (yann.lecun.com/exdb/mnist)."""


class DataError(Exception):
    """The data cannot be had; one sentence with its remedy."""


class Source(Protocol):
    """Where batches come from."""

    def next(self) -> tuple[Any, Any]:
        """The next inputs and targets, on the device."""


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


class Given:
    """A batch that was fetched before."""

    def __init__(self, batch: tuple[Any, Any]) -> None:
        self._batch = batch

    def next(self) -> tuple[Any, Any]:
        """The batch."""
        return self._batch


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

    def next(self) -> tuple[Tensor, Tensor]:
        """The next N x 3 x size x size of float32 and N of int64; an epoch's incomplete batch is left out."""
        if self._at + self._batch > len(self._images):
            self._at = 0
        rows = slice(self._at, self._at + self._batch)
        self._at += self._batch
        raw = self._images[rows].unsqueeze(1).float()
        resized = interpolate(raw, size=(self._size, self._size), mode="bilinear", align_corners=False)
        normalised = resized.sub_(MEAN * 255).div_(DEVIATION * 255)
        self._inputs.copy_(normalised.expand(-1, CHANNELS, -1, -1))
        return self._inputs, self._labels[rows]


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


class Loaded:
    """A DataLoader with worker processes that resize with PIL; epochs follow one another without end."""

    def __init__(
        self,
        pictures: Pictures,
        batch: int,
        workers: int,
        device: torch.device,
        memory_format: torch.memory_format,
    ) -> None:
        self._pinned = device.type in ("cuda", "xpu")
        self._device, self._memory_format = device, memory_format
        self._loader = DataLoader(
            pictures,
            batch_size=min(batch, len(pictures)),
            shuffle=True,
            drop_last=True,
            num_workers=workers,
            pin_memory=self._pinned,
            persistent_workers=workers > 0,
        )
        self._batches = self._endless()

    def _endless(self) -> Iterator[tuple[Tensor, Tensor]]:
        while True:
            yield from self._loader

    def next(self) -> tuple[Tensor, Tensor]:
        """The next N x 3 x size x size of float32 and N of int64, copied to the device."""
        images, labels = next(self._batches)
        moved = images.to(self._device, non_blocking=self._pinned, memory_format=self._memory_format)
        return moved, labels.to(self._device, non_blocking=self._pinned)


class Fixed:
    """The user's own batch, moved to the device once; every step sees the same."""

    def __init__(self, batch: tuple[Any, Any], device: torch.device, memory_format: torch.memory_format) -> None:
        def move(leaf: object) -> object:
            if not isinstance(leaf, Tensor):
                return leaf
            moved = leaf.detach().to(device)
            return moved.contiguous(memory_format=memory_format) if moved.dim() == 4 else moved  # noqa: PLR2004  NCHW

        self._inputs, self._targets = (_pytree.tree_map(move, part) for part in batch)

    def next(self) -> tuple[Any, Any]:
        """The batch."""
        return self._inputs, self._targets


Make = Callable[[int, torch.memory_format], Source]
"""A source for a batch size and a memory format."""
