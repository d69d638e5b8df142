"""Print, as JSON, a forward pass's billions of multiply-adds by torchlap's count, and as torchvision publishes them.

python tests/flops.py MODEL ...
"""

import json
import sys

import torch
from torchvision.models import get_model, get_model_weights

from torchlap.worker.breakdown.costs import Costs


def counted(name: str, size: int) -> float:
    """By torchlap, on a device that holds no numbers."""
    older = {"init_weights": True} if name in ("googlenet", "inception_v3") else {}
    module = get_model(name, weights=None, **older).to("meta").eval()
    images = torch.empty(1, 3, size, size, device="meta")
    with Costs() as costs:
        module(images)
    return sum(each.calls * each.flops for each in costs.found()) / 2e9


told = {}
for model in sys.argv[1:]:
    weights = next(iter(get_model_weights(model)))
    crop = weights.transforms().crop_size
    told[model] = (counted(model, crop[0]), weights.meta["_ops"])
print(json.dumps(told))
