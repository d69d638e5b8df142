"""Models of the tests, as a user would write them: each function returns a module and a batch."""

import os
import signal
import time
import warnings
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

STEP_SECONDS = 0.02


def digits(batch: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return torch.rand(batch, 3, 16, 16, generator=generator), torch.randint(0, 10, (batch,), generator=generator)


def small(batch: int) -> tuple[nn.Module, tuple[Tensor, Tensor]]:
    """A small convolutional network."""
    layers = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 10)
    return nn.Sequential(*layers), digits(batch)


class Attends(nn.Module):
    """Two layers of attention."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(8, 8)

    def forward(self, inputs: Tensor) -> Tensor:
        for _ in range(2):
            inputs = nn.functional.scaled_dot_product_attention(self.layer(inputs), inputs, inputs)
        return inputs[:, 0, 0]


def attends(batch: int) -> tuple[nn.Module, tuple[Tensor, Tensor]]:
    return Attends(), (torch.rand(batch, 2, 16, 8), torch.randint(0, 8, (batch,)))


class Does(nn.Module):
    """A linear layer that also does something else, from its n-th forward pass on."""

    def __init__(self, what: Callable[[], None], after: int = 0) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 10)
        self.what, self.left = what, after

    def forward(self, inputs: Tensor) -> Tensor:
        self.left -= 1
        if self.left < 0:
            self.what()
        outputs: Tensor = self.layer(inputs)
        return outputs


def linear_batch(batch: int) -> tuple[Tensor, Tensor]:
    return torch.ones(batch, 4), torch.zeros(batch, dtype=torch.int64)


def wait() -> None:
    """Take exactly `STEP_SECONDS`: a sleep alone would end late."""
    end = time.perf_counter() + STEP_SECONDS
    time.sleep(STEP_SECONDS - 0.002)
    while time.perf_counter() < end:
        pass


class Sleeps(nn.Module):
    """Only waits: no operator changes the true time."""

    def __init__(self, batch: int) -> None:
        super().__init__()
        self.outputs = torch.zeros(batch, 10)

    def forward(self, inputs: Tensor) -> Tensor:
        wait()
        return self.outputs


def sleeps(batch: int) -> tuple[nn.Module, tuple[Tensor, Tensor]]:
    return Sleeps(batch), linear_batch(batch)


class Paced(Does):
    """A linear layer whose forward pass takes 20 ms, on a busy machine as well."""

    def forward(self, inputs: Tensor) -> Tensor:
        wait()
        return super().forward(inputs)


def paced(batch: int) -> tuple[nn.Module, tuple[Tensor, Tensor]]:
    return Paced(lambda: None), linear_batch(batch)


def after_warm_up(what: Callable[[], None]) -> nn.Module:
    """Do something at the 31st step, so that some rounds are measured before it happens."""
    return Paced(what, after=30)


def killed(batch: int) -> tuple[nn.Module, tuple[Tensor, Tensor]]:
    return after_warm_up(lambda: os.kill(os.getpid(), signal.SIGKILL)), linear_batch(batch)


def segmentation_fault(batch: int) -> tuple[nn.Module, tuple[Tensor, Tensor]]:
    return after_warm_up(lambda: os.kill(os.getpid(), signal.SIGSEGV)), linear_batch(batch)


def aborts(batch: int) -> tuple[nn.Module, tuple[Tensor, Tensor]]:
    return after_warm_up(os.abort), linear_batch(batch)


def hangs(batch: int) -> tuple[nn.Module, tuple[Tensor, Tensor]]:
    return after_warm_up(lambda: time.sleep(3600)), linear_batch(batch)


def fill_memory() -> None:
    torch.empty(10**15).zero_()


def raise_out_of_memory() -> None:
    raise torch.OutOfMemoryError("SIM out of memory. Tried to allocate 20.00 GiB")


def device_out_of_memory(batch: int) -> tuple[nn.Module, tuple[Tensor, Tensor]]:
    return after_warm_up(raise_out_of_memory), linear_batch(batch)


def host_out_of_memory(batch: int) -> tuple[nn.Module, tuple[Tensor, Tensor]]:
    return after_warm_up(fill_memory), linear_batch(batch)


def refuse() -> None:
    raise NotImplementedError("The operator 'aten::nothing' is not currently implemented for the SIM device.")


def refused(batch: int) -> tuple[nn.Module, tuple[Tensor, Tensor]]:
    return after_warm_up(refuse), linear_batch(batch)


class SlowsDown(nn.Module):
    """Each forward pass takes a little longer than the one before it."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 10)
        self.seconds = 0.01

    def forward(self, inputs: Tensor) -> Tensor:
        self.seconds *= 1.01
        time.sleep(self.seconds)
        outputs: Tensor = self.layer(inputs)
        return outputs


def slows_down(batch: int) -> tuple[nn.Module, tuple[Tensor, Tensor]]:
    return SlowsDown(), linear_batch(batch)


def never_learns(batch: int) -> tuple[nn.Module, tuple[Tensor, Tensor], Callable[[Tensor, Tensor], Tensor]]:
    """Has the loss of the 2022 experiment: one output per image against float labels, over the batch."""
    layers = nn.Flatten(), nn.Linear(768, 10)
    inputs, _ = digits(batch)
    return (
        nn.Sequential(*layers),
        (inputs, torch.full((batch,), 1.0 / batch)),
        lambda outputs, targets: nn.functional.cross_entropy(0.0 * outputs[:, 0], targets),
    )


def turns_nan(batch: int) -> tuple[nn.Module, tuple[Tensor, Tensor]]:
    """Trains for some rounds, then its outputs become NaN."""

    class Turns(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(4, 10)
            self.passes = 0

        def forward(self, inputs: Tensor) -> Tensor:
            wait()
            self.passes += 1
            outputs: Tensor = self.layer(inputs) * (float("nan") if self.passes > 30 else 1.0)
            return outputs

    return Turns(), linear_batch(batch)


def falls_back(batch: int) -> tuple[nn.Module, tuple[Tensor, Tensor]]:
    """Warns as torch does when it runs an MPS operator on the CPU."""
    message = "The operator 'aten::nothing' is not supported on the MPS backend and will fall back to run on the CPU."
    return Does(lambda: warnings.warn(message, stacklevel=1)), linear_batch(batch)


class NotANumber(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 10)

    def forward(self, inputs: Tensor) -> Tensor:
        outputs: Tensor = self.layer(inputs) * float("nan")
        return outputs


def nan(batch: int) -> tuple[nn.Module, tuple[Tensor, Tensor]]:
    return NotANumber(), linear_batch(batch)


def very_slow(batch: int) -> tuple[nn.Module, tuple[Tensor, Tensor]]:
    """Ten seconds a step of batch 64, a sixteenth of that at 4."""
    return Does(lambda: time.sleep(10 * batch / 64)), linear_batch(batch)


def without_batch() -> tuple[nn.Module, tuple[Tensor, Tensor], Callable[[Tensor, Tensor], Tensor]]:
    """Has no batch parameter, and returns a loss."""
    return nn.Linear(4, 1), (torch.ones(4, 4), torch.zeros(4, 1)), nn.functional.mse_loss


def returns_nothing(batch: int) -> None:
    return


def returns_no_module(batch: int) -> tuple[str, tuple[Tensor, Tensor]]:
    return "a model", linear_batch(batch)


def raises(batch: int) -> None:
    raise ValueError("this model cannot be built")


def exits(batch: int) -> None:
    raise SystemExit(3)


not_a_function = 3


def digits_network(batch: int) -> tuple[nn.Module, tuple[Tensor, Tensor]]:
    """A small network on a fixed batch, which it must memorize."""
    layers = nn.Flatten(), nn.Linear(768, 64), nn.ReLU(), nn.Linear(64, 10)
    return nn.Sequential(*layers), digits(batch)


def layered(batch: int) -> tuple[nn.Module, tuple[Tensor, Tensor]]:
    """One of each kind of layer that has been wrong on some device."""
    module = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(8, 16, 3, padding=1),
        nn.Flatten(),
        nn.Dropout(0.5),
        nn.Linear(16 * 12 * 12, 10),
    )
    return module, (torch.randn(batch, 3, 24, 24), torch.arange(batch) % 10)


def layered_bfloat16(batch: int) -> tuple[nn.Module, tuple[Tensor, Tensor]]:
    module, (images, classes) = layered(batch)
    return module.to(torch.bfloat16), (images.to(torch.bfloat16), classes)


def layered_float16(batch: int) -> tuple[nn.Module, tuple[Tensor, Tensor]]:
    module, (images, classes) = layered(batch)
    return module.to(torch.float16), (images.to(torch.float16), classes)


class Dots(Dataset[tuple[Tensor, int]]):
    """Points in a plane, left or right of a line; `noise` of them have the wrong class."""

    def __init__(self, count: int, seed: int, noise: float = 0.0) -> None:
        generator = torch.Generator().manual_seed(seed)
        self.points = torch.randn(count, 2, generator=generator)
        wrong = torch.rand(count, generator=generator) < noise
        self.classes = (self.points[:, 0] > 0) ^ wrong

    def __len__(self) -> int:
        return len(self.points)

    def __getitem__(self, place: int) -> tuple[Tensor, int]:
        return self.points[place], int(self.classes[place])


def learns(batch: int) -> tuple[object, ...]:
    """A linear model of points, with held-out points."""
    loaders = (DataLoader(Dots(256, seed), batch_size=batch, shuffle=seed == 1) for seed in (1, 2))
    train, validation = loaders
    return nn.Linear(2, 2), train, {"validation": validation}


def guesses(batch: int) -> tuple[object, ...]:
    """The same, with classes that nobody can predict."""
    train, validation = (DataLoader(Dots(64, seed, noise=0.5), batch_size=batch) for seed in (1, 2))
    return nn.Linear(2, 2), train, {"validation": validation}


def diverges(batch: int) -> tuple[object, ...]:
    """The same, with a loss that is soon not finite."""
    train, validation = (DataLoader(Dots(64, seed), batch_size=batch) for seed in (1, 2))
    calls = []

    def loss(outputs: Tensor, targets: Tensor) -> Tensor:
        calls.append(1)
        return nn.functional.cross_entropy(outputs, targets) * (float("inf") if len(calls) > 8 else 1.0)

    return nn.Linear(2, 2), train, {"validation": validation, "loss": loss}


def not_held_out(batch: int) -> tuple[object, ...]:
    return nn.Linear(2, 2), DataLoader(Dots(64, 1), batch_size=batch)
