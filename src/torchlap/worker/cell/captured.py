"""A step that a device records once and then replays: launching it costs one call, however many operators it has.

What is recorded works on the same memory each time, so each batch is copied into place, and every decision that Python
made is the same from then on. What cannot be recorded is refused, with the line of the user's file where it is known.
"""

import time
import traceback
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.optim import SGD, Optimizer
from torch.utils import _pytree

from torchlap.worker.errors import RefusedError, failure, first_line

STEPS_BEFORE = 2
"""Steps that run before the recording: they create the optimizer's state, load libraries and compile."""

UNTOUCHED = -1.2345e30
"""Put where the recorded loss goes, to see that a replay puts one there."""

Values = Any
"""Tensors, or structures of them."""

INSTALLED = (str(Path(torch.__file__).parent), str(Path(__file__).parents[2]))
"""Folders of torch and torchlap, whose lines say nothing about what to change."""


class Captured:
    """A function of a batch that is recorded at its third call.

    Attributes:
        seconds: what recording took; None before it.
    """

    def __init__(self, run: Callable[[Values, Values], Values], device: torch.device) -> None:
        self._run, self._device = run, device
        self._new_graph, self._recording = _recorder(device)
        self._calls = 0
        self._graph: Any = None
        self._leaves: list[Any] = []
        self._structure: Any = None
        self._result: Values = None
        self.seconds: float | None = None

    def __call__(self, inputs: Values, targets: Values) -> Values:
        """Enqueue the function on a batch; it returns the tensors that it returned when it was recorded, filled again.

        Raises:
            RefusedError: when it cannot be recorded, or the batch has other shapes than the recorded one.
        """
        self._calls += 1
        if self._calls <= STEPS_BEFORE:
            return self._beside(inputs, targets)
        if self._graph is None:
            self._record(inputs, targets)
        else:
            self._copy_in(inputs, targets)
            self._graph.replay()
        return self._result

    def _beside(self, inputs: Values, targets: Values) -> Values:
        """Run it on a stream of its own, as the recording will, so that nothing depends on the usual stream."""
        if not hasattr(torch.get_device_module(self._device), "Stream"):
            return self._run(inputs, targets)
        usual, beside = torch.accelerator.current_stream(self._device), torch.Stream(self._device)
        beside.wait_stream(usual)
        with beside:
            result = self._run(inputs, targets)
        usual.wait_stream(beside)
        return result

    def _record(self, inputs: Values, targets: Values) -> None:
        """Record the function, and replay it for the first time."""
        begun = time.perf_counter()
        leaves, self._structure = _pytree.tree_flatten((inputs, targets))
        self._leaves = [leaf.clone() if isinstance(leaf, Tensor) else leaf for leaf in leaves]
        own = _pytree.tree_unflatten(self._leaves, self._structure)
        graph = self._new_graph()
        try:
            with self._recording(graph):
                self._result = self._run(*own)
        except Exception as error:
            if isinstance(error, RefusedError) or failure(error).kind == "out_of_memory":
                raise
            raise RefusedError(
                f"The step cannot be captured as a graph{_place(error)} ({first_line(error).rstrip('.')}): omit the "
                "recipe term graph, or make the step never wait for the device."
            ) from error
        self._graph = graph
        self.seconds = time.perf_counter() - begun
        self._replay_and_check()

    def _replay_and_check(self) -> None:
        """Replay for the first time, and check that the replay writes the results.

        Raises:
            RefusedError: when it does not.
        """
        floats = [
            leaf
            for leaf in _pytree.tree_leaves(self._result)
            if isinstance(leaf, Tensor) and leaf.is_floating_point() and leaf.numel()
        ]
        with torch.inference_mode():
            for leaf in floats[:1]:
                leaf.fill_(UNTOUCHED)
            self._graph.replay()
            if floats and bool((floats[0] == UNTOUCHED).any()):
                raise RefusedError("The captured graph does nothing when it is replayed: omit the recipe term graph.")

    def _copy_in(self, inputs: Values, targets: Values) -> None:
        leaves, structure = _pytree.tree_flatten((inputs, targets))
        if structure != self._structure:
            raise RefusedError("A graph needs batches of one structure: omit the recipe term graph.")
        for own, given in zip(self._leaves, leaves, strict=True):
            if not isinstance(own, Tensor):
                same = bool(own == given)
            else:
                same = own.shape == given.shape and own.dtype == given.dtype
            if not same:
                raise RefusedError(
                    f"A graph needs batches of one shape, but {_described(given)} came after {_described(own)}: omit "
                    "the recipe term graph."
                )
            if isinstance(own, Tensor):
                own.copy_(given, non_blocking=True)


def _recorder(device: torch.device) -> tuple[Callable[[], Any], Callable[[Any], AbstractContextManager[Any]]]:
    """What makes an empty graph on this kind of device, and what records into one while it is entered.

    Raises:
        RefusedError: on a device that has no graphs.
    """
    module = torch.get_device_module(device) if device.type != "cpu" else None
    graph = getattr(module, f"{device.type.upper()}Graph", None)
    recording = getattr(module, "graph", None)
    if graph is None or recording is None:
        raise RefusedError(
            f"The recipe term graph needs a device that can capture its work, such as CUDA, not {device.type}: omit it."
        )
    return graph, recording


def make_capturable(optimizer: Optimizer, *, scheduled: bool) -> None:
    """Let an optimizer keep its step count, and if it is `scheduled` its learning rate, on the device.

    Raises:
        RefusedError: for an optimizer that keeps them on the host, where a graph would repeat the same numbers.
    """
    for group in optimizer.param_groups:
        if "capturable" in group:
            group["capturable"] = True
        elif type(optimizer) is not SGD:
            raise RefusedError(
                f"A graph cannot capture {type(optimizer).__name__}, which counts its steps on the host: use an "
                "optimizer that takes capturable=True, such as AdamW, or omit the recipe term graph."
            )
        rate = group["lr"]
        if scheduled and not isinstance(rate, Tensor):
            group["lr"] = torch.full((), rate, device=group["params"][0].device)


def _place(error: BaseException) -> str:
    """Where in the user's files an error arose; empty if it was not there."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if not frame.filename.startswith((*INSTALLED, "<"))]
    return f" at {Path(own[-1].filename).name}, line {own[-1].lineno}" if own else ""


def _described(leaf: object) -> str:
    """A leaf of a batch, in a few words."""
    return f"{tuple(leaf.shape)} of {leaf.dtype}" if isinstance(leaf, Tensor) else repr(leaf)[:40]
