"""A model of your own for torchlap: torchlap run examples/own_model.py:tiny --batch 32."""

import torch
from torch import Tensor, nn


def tiny(batch: int = 32) -> tuple[nn.Module, tuple[Tensor, Tensor]]:
    """Return the module and one batch: inputs and targets."""
    layers = nn.Conv2d(3, 16, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 10)
    return nn.Sequential(*layers), (torch.rand(batch, 3, 32, 32), torch.randint(0, 10, (batch,)))
