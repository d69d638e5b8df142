"""Models on a simulated accelerator with a fault: `one_percent__atenDOTmmDOTdefault__layered`, and so on."""

from collections.abc import Callable

import models
import simulated_accelerator
from torch import Tensor, nn

Built = tuple[nn.Module, tuple[Tensor, Tensor]]


def __getattr__(name: str) -> Callable[[int], Built]:
    """A function that breaks the accelerator and builds the model; its name lists fault, operators and model."""
    words = name.split("__")
    if len(words) != 3:
        raise AttributeError(name)

    def build(batch: int) -> Built:
        simulated_accelerator.FAULT = words[0]
        simulated_accelerator.FAULTY = words[1].replace("DOT", ".").replace("AND", ",")
        made: Built = getattr(models, words[2])(batch)
        return made

    return build
