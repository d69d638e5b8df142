"""What ranks do at the same time: begin a lap, and agree on the longest of their times."""

import time
from collections.abc import Callable

import torch
from torch import distributed


class Together:
    """All ranks of this process's group; a rank alone agrees with itself at once.

    The messages are small tensors on the CPU, so they go through gloo, whichever backend the gradients use.
    """

    def __init__(self, ranks: int) -> None:
        self.ranks = ranks

    def wait(self) -> None:
        """Wait until every rank is here."""
        if self.ranks > 1:
            distributed.all_reduce(torch.zeros(1))

    def each(self, value: float) -> list[float]:
        """The value of every rank, in their order."""
        if self.ranks == 1:
            return [value]
        values = torch.zeros(self.ranks, dtype=torch.float64)
        values[distributed.get_rank()] = value
        distributed.all_reduce(values)
        return [float(each) for each in values]

    def longest(self, seconds: float) -> float:
        """The longest of all ranks' times."""
        return max(self.each(seconds))


def lap(step: Callable[[], None], synchronize: Callable[[], None], steps: int, together: Together) -> float:
    """Run `steps` steps that all ranks begin at the same time; this rank's seconds, from idle device to idle device."""
    synchronize()
    together.wait()
    begun = time.perf_counter()
    for _ in range(steps):
        step()
    synchronize()
    return time.perf_counter() - begun
