"""Which images are trained on: the embedded MNIST-1k, the full MNIST, or synthetic ones."""

import gzip
from importlib.resources import files
from typing import Any

import numpy as np
import platformdirs
import torch
from torch import Tensor
from torchvision import datasets

from torchlap.schema.workload import DataName
from torchlap.worker.errors import DataError, first_line

SYNTHETIC_IMAGES = 1000
SEED = 1
IDX_IMAGES_HEADER, IDX_LABELS_HEADER, SIDE = 16, 8, 28
"""The idx format: big-endian magic number and sizes, then the bytes (yann.lecun.com/exdb/mnist)."""


def digits(name: DataName) -> tuple[Tensor, Tensor]:
    """The training images, N x 28 x 28 of uint8, and their labels, N of int64.

    Raises:
        DataError: when the full MNIST is not in the cache and cannot be downloaded.
    """
    match name:
        case "mnist":
            return _mnist()
        case "synthetic":
            return _synthetic()
        case "mnist-1k":
            return _embedded()


def held_out(name: DataName) -> tuple[Tensor, Tensor]:
    """Test images and their labels, in the same form: 1,000 of the bundled digits, 10,000 of the full MNIST.

    Raises:
        DataError: for random images, or when the full MNIST cannot be downloaded.
    """
    match name:
        case "mnist":
            return _mnist(train=False)
        case "synthetic":
            raise DataError("Random images cannot be learned: use --data mnist-1k or --data mnist.")
        case "mnist-1k":
            return _embedded("t10k")


def _synthetic() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(SEED)
    images = torch.randint(0, 256, (SYNTHETIC_IMAGES, SIDE, SIDE), dtype=torch.uint8, generator=generator)
    return images, torch.randint(0, 10, (SYNTHETIC_IMAGES,), generator=generator)


def _embedded(part: str = "train") -> tuple[Tensor, Tensor]:
    pixels = _unpacked(f"{part}-images-idx3-ubyte.gz")[IDX_IMAGES_HEADER:].reshape(-1, SIDE, SIDE)
    classes = _unpacked(f"{part}-labels-idx1-ubyte.gz")[IDX_LABELS_HEADER:]
    return torch.from_numpy(pixels.copy()), torch.from_numpy(classes.astype(np.int64))


def _unpacked(name: str) -> "np.ndarray[Any, np.dtype[np.uint8]]":
    packed = files("torchlap").joinpath("data", "mnist-1k", name).read_bytes()
    return np.frombuffer(gzip.decompress(packed), dtype=np.uint8)


def _mnist(*, train: bool = True) -> tuple[Tensor, Tensor]:
    folder = platformdirs.user_cache_dir("torchlap")
    try:
        mnist = datasets.MNIST(folder, train=train, download=True)
    except (OSError, RuntimeError) as error:
        reason = first_line(error).rstrip(":")
        raise DataError(
            f"MNIST is not in {folder} and cannot be downloaded ({reason}): check the network, or use --data mnist-1k."
        ) from None
    return mnist.data, mnist.targets
