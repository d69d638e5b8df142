"""Which kernels of scaled dot-product attention a step used.

torch chooses between them in C++, and its slowest way, math, is made of plain operators: only a profiler sees it. The
legacy one records names alone and costs nothing to start; torch.profiler would start Kineto, which took 4 s on two slow
cores. A torch without it leaves the fused kernels, which the counted operators name.
"""

from collections import Counter
from typing import Any, Self

import torch

from torchlap.schema.breakdown import ATTENTION_KERNELS

NOTHING_ELSE = (False,) * 5
"""Neither shapes nor memory, stacks, FLOP or modules."""


class AttentionKernels:
    """Records the kernels of attention while it is entered."""

    def __init__(self) -> None:
        self.calls: dict[str, int] = {}
        """By kernel, how many calls of attention used it."""
        self._records = hasattr(torch.autograd, "_enable_profiler_legacy")

    def __enter__(self) -> Self:
        if self._records:
            settings: Any = torch._C._profiler._ExperimentalConfig()  # noqa: SLF001  there is no public name
            legacy: Any = torch.autograd
            config = legacy.ProfilerConfig(legacy.ProfilerState.CPU, *NOTHING_ELSE, settings)
            legacy._enable_profiler_legacy(config)  # noqa: SLF001
        return self

    def __exit__(self, *_: object) -> None:
        if self._records:
            threads: Any = torch.autograd._disable_profiler_legacy()  # type: ignore[attr-defined]  # noqa: SLF001
            self.calls = dict(sum((_calls(events) for events in threads), Counter()))


def _calls(events: Any) -> Counter[str]:
    """The calls of each kernel in the events of one thread.

    Whatever counts operators in Python calls each of them again, within the first call.
    """
    calls, begun = Counter[str](), list[str]()
    for event in events:
        if event.kind() == "pop" and begun:
            begun.pop()
        elif event.kind() == "push":
            kernel = ATTENTION_KERNELS.get(event.name().removeprefix("aten::"), "")
            if kernel and kernel not in begun:
                calls[kernel] += 1
            begun.append(kernel)
    return calls
