"""The words of a recipe that torch may silently ignore: each takes effect, or is refused with the reason."""

import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import nn

from torchlap.schema.events import Compiled
from torchlap.schema.recipe import WITH_GRAPHS, Precision, Recipe
from torchlap.worker import devices
from torchlap.worker.errors import RefusedError, first_line

AUTOCAST = {"bf16": torch.bfloat16, "fp16": torch.float16}
Values = Any


def autocast(precision: Precision, device: torch.device) -> Callable[[], AbstractContextManager[Any]]:
    """What the forward pass is wrapped in.

    Raises:
        RefusedError: when torch would leave autocast disabled on this device.
    """
    if precision not in AUTOCAST:
        return nullcontext
    dtype = AUTOCAST[precision]
    reason = ""
    with devices.recorded_warnings() as recorded:
        try:
            with torch.autocast(device.type, dtype=dtype):
                enabled = torch.is_autocast_enabled(device.type)
        except (AssertionError, RuntimeError) as error:
            enabled, reason = False, first_line(error)
    if not enabled:
        said = reason or next((str(warning.message).splitlines()[0] for warning in recorded), "no reason is given")
        raise RefusedError(f"{precision} autocast has no effect on {device.type} ({said.rstrip('.')}): use fp32 there.")
    return lambda: torch.autocast(device.type, dtype=dtype)


def compiled(module: nn.Module, recipe: Recipe, device: torch.device) -> Callable[..., Values]:
    """The module with `torch.compile` as the recipe says.

    Raises:
        RefusedError: for a mode whose addition this device does not have.
    """
    mode = recipe.compile_mode
    if mode in WITH_GRAPHS and device.type != "cuda":
        raise RefusedError(f"compile:{mode} adds CUDA graphs, which {device.type} does not have: use compile there.")
    if recipe.layout_opt_off:
        options = dict(torch._inductor.list_mode_options(mode)) if mode != "default" else {}  # noqa: SLF001  documented
        return torch.compile(module, options={**options, "layout_optimization": False})
    return torch.compile(module, mode=None if mode == "default" else mode)


class Compilations:
    """Counts what torch.compile does from now on.

    Args:
        before: what it did for the same model in this process, whose code another recipe may share.
    """

    def __init__(self, before: Compiled | None = None) -> None:
        self._before = before
        self._graphs, self._breaks, self._skips = _graphs(), _breaks(), _skips()
        self._recompiled = _recompiled()

    def counted(self, recipe: Recipe) -> Compiled | None:
        """What was compiled since; None for a recipe without it.

        Raises:
            RefusedError: when nothing was, or the CUDA graphs that the mode adds were skipped.
        """
        if not recipe.compile:
            return None
        graphs = _graphs() - self._graphs
        if graphs == 0 and self._before is not None:
            return self._before
        if graphs == 0:
            why = next(iter(_counters("graph_break")), "no operator of it can be compiled").splitlines()[0]
            raise RefusedError(f"torch.compile compiled nothing of the model ({why}): omit the recipe term compile.")
        if recipe.compile_mode in WITH_GRAPHS and _skips() > self._skips:
            raise RefusedError(
                f"compile:{recipe.compile_mode} skipped its CUDA graphs for {_skips() - self._skips} of the compiled "
                "parts: use compile or compile+graph."
            )
        return Compiled(graphs=graphs, breaks=_breaks() - self._breaks, recompilations=_recompiled() - self._recompiled)


def _counters(kind: str) -> dict[str, int]:
    """What torch.compile has counted of a kind; it is imported with the first compilation."""
    module = sys.modules.get("torch._dynamo.utils")
    return dict(module.counters[kind]) if module is not None else {}


def _graphs() -> int:
    return _counters("stats").get("unique_graphs", 0)


def _breaks() -> int:
    return sum(_counters("graph_break").values())


def _skips() -> int:
    return _counters("inductor").get("cudagraph_skips", 0)


def _recompiled() -> int:
    """Compilations of code that was compiled before; torch keeps the last 64 of all."""
    module = sys.modules.get("torch._dynamo.utils")
    return sum(bool(each.recompile_reason) for each in module.get_compilation_metrics()) if module is not None else 0


def set_cudnn_benchmark(recipe: Recipe, device: torch.device) -> None:
    """Let cuDNN try its algorithms, or not.

    Raises:
        RefusedError: on a device without cuDNN.
    """
    if device.type == "cuda":
        torch.backends.cudnn.benchmark = recipe.cudnn_benchmark
    elif recipe.cudnn_benchmark:
        raise RefusedError(f"cuDNN exists only on NVIDIA GPUs, not on {device.type}: omit cudnn_benchmark there.")
