"""Print, as JSON, the operators in a training step of each model that the live probe does not run.

python tests/helpers/operators.py MODEL ...
"""

import json
import sys
from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torchvision.models import get_model

from torchlap.worker import trial


class Operators(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch's own
    """The names of the operators that run."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.names: set[str] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.names.add(str(func))
        return func(*args, **(kwargs or {}))


def of_model(name: str) -> set[str]:
    """The operators of a training step, on the meta device, which computes nothing."""
    with torch.device("meta"):
        module = get_model(name, num_classes=10)
        images, labels = torch.empty(2, 3, 224, 224), torch.empty(2, dtype=torch.long)
    optimizer = torch.optim.Adam(module.parameters(), foreach=False)
    operators = Operators()
    with operators:
        optimizer.zero_grad()
        nn.functional.cross_entropy(module(images), labels).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return operators.names


def of_probe() -> set[str]:
    """The operators that the live probe runs."""
    operators = Operators()
    with operators:
        trial.train(trial.small_network(), torch.device("cpu"))
        for kind in trial.LAYERS:
            trial.step(kind, torch.device("cpu"))
    return operators.names


probed = of_probe()
print(json.dumps({name: sorted(of_model(name) - probed) for name in sys.argv[1:]}))
