"""Workloads whose bottleneck is known, because they do next to nothing else."""

import time

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

Built = tuple[nn.Module, tuple[Tensor, Tensor]]
OPERATORS, COPIES, PRODUCTS = 1000, 8, 4
COPIED, ROWS = 1 << 22, 500_000
"""For each item of the batch: an accelerator needs a larger batch, or its host is the bottleneck."""

SLEEP_SECONDS = 0.01


class Head(nn.Module):
    """A small layer that trains, so that there is a loss; the workload is what a subclass does before it."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 10)

    def work(self, inputs: Tensor) -> Tensor:
        """Return the inputs, after the work."""
        return inputs

    def forward(self, inputs: Tensor) -> Tensor:
        outputs: Tensor = self.layer(self.work(inputs))
        return outputs


def batch_of(rows: int) -> tuple[Tensor, Tensor]:
    return torch.ones(rows, 4), torch.zeros(rows, dtype=torch.int64)


class ManyOperators(Head):
    def work(self, inputs: Tensor) -> Tensor:
        for _ in range(OPERATORS):
            inputs = inputs * 1.0
        return inputs


def tiny_operators(batch: int) -> Built:
    """A thousand tiny operators: the bottleneck is launch."""
    return ManyOperators(), batch_of(batch)


class Product(Head):
    def __init__(self, size: int) -> None:
        super().__init__()
        self.register_buffer("left", torch.rand(size, size) / size)

    def work(self, inputs: Tensor) -> Tensor:
        left = self.get_buffer("left")
        for _ in range(PRODUCTS):
            left = left @ left
        return inputs + 0.0 * left[0, 0]


def one_product(batch: int) -> Built:
    """Products of square matrices with as many rows as the batch: compute."""
    return Product(batch), batch_of(batch)


class Copies(Head):
    def __init__(self, elements: int) -> None:
        super().__init__()
        self.register_buffer("source", torch.ones(elements))
        self.register_buffer("target", torch.zeros(elements))

    def work(self, inputs: Tensor) -> Tensor:
        for _ in range(COPIES):
            self.get_buffer("target").copy_(self.get_buffer("source"))
        return inputs


def copies(batch: int) -> Built:
    """Copies of a large tensor: memory."""
    return Copies(batch * COPIED), batch_of(batch)


class Table(nn.Module):
    """A few rows of a huge table: its gradient is as large as the table, and so is Adam's update."""

    def __init__(self, rows: int) -> None:
        super().__init__()
        self.table = nn.Embedding(rows, 10)

    def forward(self, inputs: Tensor) -> Tensor:
        outputs: Tensor = self.table(inputs)
        return outputs


def huge_embedding(batch: int) -> Built:
    """Adam over a huge table: optimizer."""
    return Table(batch * ROWS), (torch.arange(batch), torch.zeros(batch, dtype=torch.int64))


class Slow(Dataset[tuple[Tensor, int]]):
    def __len__(self) -> int:
        return 1000

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        time.sleep(SLEEP_SECONDS)
        return torch.ones(4), 0


def sleeping_loader(batch: int) -> tuple[nn.Module, DataLoader[tuple[Tensor, int]]]:
    """A loader that sleeps: input."""
    return Head(), DataLoader(Slow(), batch_size=batch)


def loader_of_three(batch: int) -> tuple[nn.Module, DataLoader[tuple[Tensor, int]]]:
    return Head(), DataLoader(Slow(), batch_size=3)


class Tensors(Dataset[Tensor]):
    def __init__(self, count: int) -> None:
        self._count = count

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> Tensor:
        return torch.ones(4)


def loader_of_tensors(batch: int) -> tuple[nn.Module, DataLoader[Tensor]]:
    return Head(), DataLoader(Tensors(30), batch_size=batch)


def uneven_loader(batch: int) -> tuple[nn.Module, DataLoader[tuple[Tensor, int]]]:
    """The last batch of each epoch has one row only."""
    return Head(), DataLoader([(torch.ones(4), 0)] * (2 * batch + 1), batch_size=batch)  # type: ignore[arg-type]


def shuffled_loader(batch: int) -> tuple[nn.Module, DataLoader[tuple[Tensor, int]]]:
    """Each epoch begins with another batch."""
    pairs = [(torch.full((4,), float(number)), number % 10) for number in range(50)]
    shuffle = torch.Generator().manual_seed(1)
    return Head(), DataLoader(pairs, batch_size=batch, shuffle=True, generator=shuffle)  # type: ignore[arg-type]


def empty_loader(batch: int) -> tuple[nn.Module, DataLoader[Tensor]]:
    return Head(), DataLoader(Tensors(2), batch_size=batch, drop_last=True)
