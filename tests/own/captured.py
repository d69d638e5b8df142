"""Models whose steps are captured as a graph, or cannot be."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

Made = tuple[Any, ...]


def _data(batch: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(3)
    return torch.randn(batch, 8, generator=generator), torch.arange(batch) % 3


def _net(*more: nn.Module) -> nn.Sequential:
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(8, 16), nn.ReLU(), *more, nn.Linear(16, 3))


def plain(batch: int) -> Made:
    return _net(), _data(batch)


def normalized(batch: int) -> Made:
    return _net(nn.BatchNorm1d(16)), _data(batch)


def with_dropout(batch: int) -> Made:
    return _net(nn.Dropout(0.5)), _data(batch)


def head_of_zeros(batch: int) -> Made:
    net = _net(nn.LayerNorm(16))
    for parameter in net[-1].parameters():
        nn.init.zeros_(parameter)
    return net, _data(batch)


def own_step(batch: int) -> Made:
    net = _net()

    def step(data: tuple[Tensor, Tensor]) -> Tensor:
        inputs, targets = data
        net.zero_grad(set_to_none=True)
        loss = nn.functional.cross_entropy(net(inputs), targets)
        torch.autograd.backward(loss)
        with torch.no_grad():
            for parameter in net.parameters():
                if parameter.grad is not None:
                    parameter.sub_(parameter.grad, alpha=0.1)
        return loss

    return net, _data(batch), step


def with_sgd(batch: int) -> Made:
    return _net(), _data(batch), {"optimizer": lambda given: torch.optim.SGD(given, lr=0.1, momentum=0.9)}


def with_scheduler(batch: int) -> Made:
    options = {
        "optimizer": lambda given: torch.optim.AdamW(given, lr=0.1),
        "scheduler": lambda optimizer: torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.5),
    }
    return _net(), _data(batch), options


def clipped(batch: int) -> Made:
    return _net(), _data(batch), {"clip": 0.01}


def through_a_loader(batch: int) -> Made:
    inputs, targets = _data(5 * batch)
    return _net(), DataLoader(TensorDataset(inputs, targets), batch_size=batch)


def host_counter(batch: int) -> Made:
    return _net(), _data(batch), {"optimizer": torch.optim.Adagrad}


def sizes(batch: int) -> Made:
    inputs, targets = _data(30)
    sampler = [list(range(start, start + rows)) for start, rows in ((0, 4), (4, 2), (6, 8))]
    return _net(), DataLoader(TensorDataset(inputs, targets), batch_sampler=sampler)


class Waits(nn.Module):
    """Asks the device for a number in each step."""

    def __init__(self) -> None:
        super().__init__()
        self.net = _net()

    def forward(self, inputs: Tensor) -> Tensor:
        scores: Tensor = self.net(inputs)
        return scores * 2 if scores.mean().item() > 0 else scores


def waits(batch: int) -> Made:
    return Waits(), _data(batch)


class Widths(torch.utils.data.Dataset[tuple[Tensor, Tensor]]):
    """Samples of 8 numbers, and from the tenth batch on of 6."""

    def __init__(self, batch: int) -> None:
        self.batch = batch

    def __len__(self) -> int:
        return 10 * self.batch

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return torch.ones(6 if index // self.batch == 4 else 8), torch.tensor(1)


class Mean(nn.Module):
    """Takes samples of any width."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(1, 3)

    def forward(self, inputs: Tensor) -> Tensor:
        out: Tensor = self.head(inputs.mean(1, keepdim=True))
        return out


def shapes(batch: int) -> Made:
    return Mean(), DataLoader(Widths(batch), batch_size=batch)


class Complex(nn.Module):
    """One of its parameters is complex."""

    def __init__(self) -> None:
        super().__init__()
        self.net, self.turn = _net(), nn.Parameter(torch.ones(3, dtype=torch.complex64))

    def forward(self, inputs: Tensor) -> Tensor:
        out: Tensor = (self.net(inputs) * self.turn).real
        return out


def complex_numbers(batch: int) -> Made:
    return Complex(), _data(batch)


class Disabled(nn.Module):
    """Nothing of it may be compiled."""

    def __init__(self) -> None:
        super().__init__()
        self.net = _net()

    @torch.compiler.disable  # type: ignore[untyped-decorator]  # torch's
    def forward(self, inputs: Tensor) -> Tensor:
        out: Tensor = self.net(inputs)
        return out


def never_compiled(batch: int) -> Made:
    return Disabled(), _data(batch)


class InTwo(nn.Module):
    """The compiler has to give up between its two layers."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(8, 8), nn.Linear(8, 3)

    def forward(self, inputs: Tensor) -> Tensor:
        between = self.first(inputs)
        torch._dynamo.graph_break()
        out: Tensor = self.second(between)
        return out


def broken_in_two(batch: int) -> Made:
    return InTwo(), _data(batch)
