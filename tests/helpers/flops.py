"""Print, as JSON, a forward pass's billions of multiply-adds: by torchlap's count, and as torchvision publishes them.

python tests/helpers/flops.py MODEL ...
"""

import json
import sys

import torch
from torchvision.models import get_model, get_model_weights

from torchlap.worker.breakdown.costs import Costs


def counted(name: str, size: int) -> float:
    """As torchlap counts them, on the meta device, which computes nothing."""
    older = {"init_weights": True} if name in ("googlenet", "inception_v3") else {}
    module = get_model(name, weights=None, **older).to("meta").eval()
    images = torch.empty(1, 3, size, size, device="meta")
    with Costs() as costs:
        module(images)
    return sum(cost.calls * cost.flops for cost in costs.counted()) / 2e9


def pair(name: str) -> tuple[float, float]:
    weights = next(iter(get_model_weights(name)))
    return counted(name, weights.transforms().crop_size[0]), weights.meta["_ops"]


print(json.dumps({name: pair(name) for name in sys.argv[1:]}))
