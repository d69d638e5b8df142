"""Models that users write, and that differ from what is expected."""

import os
import subprocess
from collections.abc import Callable

import torch
from torch import Tensor, nn

Batch = tuple[Tensor, Tensor]
Loss = Callable[..., object]


def layers() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 10))


def images(batch: int) -> Batch:
    return torch.rand(batch, 3, 16, 16), torch.randint(0, 10, (batch,))


def dictionary_of_targets(batch: int) -> tuple[nn.Module, tuple[Tensor, dict[str, Tensor]], Loss]:
    inputs, targets = images(batch)
    return (
        layers(),
        (inputs, {"classes": targets}),
        lambda out, targets: nn.functional.cross_entropy(out, targets["classes"]),
    )


class Fixed(nn.Module):
    """Works for one batch size only."""

    def __init__(self, batch: int) -> None:
        super().__init__()
        self.layers, self.batch = layers(), batch

    def forward(self, inputs: Tensor) -> Tensor:
        outputs: Tensor = self.layers(inputs).view(self.batch, 10)
        return outputs


def knows_its_batch(batch: int) -> tuple[nn.Module, Batch]:
    return Fixed(batch), images(batch)


def frozen(batch: int) -> tuple[nn.Module, Batch]:
    return layers().requires_grad_(False), images(batch)


def loss_of_many(batch: int) -> tuple[nn.Module, Batch, Loss]:
    return layers(), images(batch), lambda out, targets: nn.functional.cross_entropy(out, targets, reduction="none")


def loss_that_is_a_float(batch: int) -> tuple[nn.Module, Batch, Loss]:
    return layers(), images(batch), lambda out, targets: 1.0


def killed_by_a_signal_without_a_name(batch: int) -> None:
    os.kill(os.getpid(), 40)


class OddError(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no words")


def raises_without_words(batch: int) -> None:
    raise OddError


def raises_what_is_no_text(batch: int) -> None:
    raise ValueError("bad \udcff")


def prints(batch: int) -> tuple[nn.Module, Batch]:
    print("a line of its own", flush=True)
    return layers(), images(batch)


def starts_a_process(batch: int) -> tuple[nn.Module, Batch]:
    subprocess.Popen(["sleep", "1000"])
    return layers(), images(batch)
