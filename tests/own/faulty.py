"""Models on a simulated accelerator with a fault: `one_percent__atenDOTmmDOTdefault__layered`, and so on."""

import sys
from collections.abc import Callable
from pathlib import Path

from torch import Tensor, nn

Built = tuple[nn.Module, tuple[Tensor, Tensor]]


def __getattr__(name: str) -> Callable[[int], Built]:
    """A function that breaks the accelerator and builds the model; named by fault, operators and model."""
    words = name.split("__")
    if len(words) != 3:
        raise AttributeError(name)

    def build(batch: int) -> Built:
        import simulated_accelerator  # noqa: PLC0415  torch has loaded it

        sys.path.insert(0, str(Path(__file__).parent))
        import models  # noqa: PLC0415  beside this file

        simulated_accelerator.FAULT = words[0]
        simulated_accelerator.FAULTY = words[1].replace("DOT", ".").replace("AND", ",")
        made: Built = getattr(models, words[2])(batch)
        return made

    return build
