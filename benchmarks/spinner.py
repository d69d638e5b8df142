"""A module that keeps a CUDA device busy for a known number of clock cycles."""

import torch
from torch import Tensor, nn

CYCLES = 10_000_000


class Spins(nn.Module):
    """One kernel that spins."""

    def __init__(self, batch: int) -> None:
        super().__init__()
        self.outputs = nn.Parameter(torch.zeros(batch, 10))

    def forward(self, _: Tensor) -> Tensor:
        """Spin, and return the parameter."""
        torch.cuda._sleep(CYCLES)  # type: ignore[no-untyped-call]  # noqa: SLF001  as torch's own tests do
        outputs: Tensor = self.outputs
        return outputs


def spins(batch: int) -> tuple[nn.Module, tuple[Tensor, Tensor]]:
    """Return the module and a batch that it ignores."""
    return Spins(batch), (torch.zeros(batch, 4), torch.zeros(batch, dtype=torch.int64))
