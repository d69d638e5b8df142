"""Models whose steps could fool the measurement, for `attacks.py --real`; a plain loop of each is its own yardstick.

    python benchmarks/attacked_models.py NAME SECONDS THREADS

Prints the images a second of the plain loop.
"""

import sys
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

Made = tuple[nn.Module, tuple[Tensor, Tensor]]


class Paced(nn.Module):
    """A layer whose n-th call sleeps for `cost(n)` seconds."""

    def __init__(self, cost: Callable[[int], float]) -> None:
        super().__init__()
        self.layer, self.cost, self.number = nn.Linear(16, 10), cost, 0

    def forward(self, inputs: Tensor) -> Tensor:
        """Sleep, then compute."""
        self.number += 1
        time.sleep(self.cost(self.number))
        outputs: Tensor = self.layer(inputs)
        return outputs


class Litter(nn.Module):
    """A layer that leaves thousands of cyclic objects behind, beside many live ones."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(16, 10)
        self.live = [{"a": [number], "b": {"c": number}} for number in range(300_000)]

    def forward(self, inputs: Tensor) -> Tensor:
        """Litter, then compute."""
        for number in range(3000):
            cycle: dict[str, object] = {"number": [number]}
            cycle["itself"] = cycle
        outputs: Tensor = self.layer(inputs)
        return outputs


def _with_batch(module: nn.Module, batch: int) -> Made:
    return module, (torch.rand(batch, 16), torch.arange(batch) % 10)


def alternating(batch: int) -> Made:
    """Every other step takes twice as long, as when two networks train in turns."""
    return _with_batch(Paced(lambda number: 0.06 if number % 2 else 0.12), batch)


def accumulate(batch: int) -> Made:
    """Every fourth step does more."""
    return _with_batch(Paced(lambda number: 0.03 if number % 4 else 0.06), batch)


def logging(batch: int) -> Made:
    """Every hundredth step takes thirty times as long."""
    return _with_batch(Paced(lambda number: 0.01 if number % 100 else 0.31), batch)


def litter(batch: int) -> Made:
    """Each step makes garbage that Python collects every now and then."""
    return _with_batch(Litter(), batch)


MODELS = {"alternating": alternating, "accumulate": accumulate, "logging": logging, "litter": litter}
BATCH, WARM_UP_STEPS = 32, 100


def main() -> None:
    """Print the items a second of a plain loop."""
    name, seconds, threads = sys.argv[1:]
    torch.set_num_threads(int(threads))
    module, (inputs, targets) = MODELS[name](BATCH)
    optimizer = torch.optim.Adam(module.parameters(), lr=1e-4)

    def step() -> None:
        optimizer.zero_grad()
        torch.autograd.backward(nn.functional.cross_entropy(module(inputs), targets))
        optimizer.step()

    for _ in range(WARM_UP_STEPS):
        step()
    begun, steps = time.perf_counter(), 0
    while time.perf_counter() - begun < float(seconds):
        step()
        steps += 1
    print(BATCH * steps / (time.perf_counter() - begun))


if __name__ == "__main__":
    main()
