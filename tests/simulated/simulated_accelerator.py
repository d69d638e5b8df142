"""A simulated asynchronous accelerator of known speed, on which real PyTorch modules train.

Every operator adds `COST` seconds to the device's queue and returns at once; `synchronize` sleeps until the queue is
empty. So the true time of a step is known: operators x cost. It computes on the CPU. With this folder on PYTHONPATH,
torch loads it like any third-party device: by its entry point in the group `torch.backends`.
"""

import os
import sys
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, Self

import torch
from torch import Tensor
from torch.utils import _pytree as pytree
from torch.utils import backend_registration

NAME = "sim"
FAULT, _, FAULTY = os.environ.get("SIMULATED_FAULT", "").partition(":")
"""The kind of fault, and the operators that have it: `half_more:aten.mm.default,aten.bmm.default`; see `FAULTS`."""

PLANTED: Any = None
"""Computes the faulty operators instead, if a model has planted it: from the operator, its arguments and keywords."""

COST = float(os.environ.get("SIMULATED_COST", "0.002"))
DEVICES = 2


class Queue:
    """The device's queue: when it will be empty, and how many operators were ever enqueued."""

    cost = COST

    def __init__(self) -> None:
        self.empty_at = 0.0
        self.operators = 0

    def put(self) -> None:
        self.operators += 1
        self.empty_at = max(self.empty_at, time.perf_counter()) + self.cost

    def wait(self) -> None:
        """Sleep until shortly before the end, then poll the clock: a sleep alone would end late."""
        time.sleep(max(0.0, self.empty_at - time.perf_counter() - 0.001))
        while time.perf_counter() < self.empty_at:
            pass


queue = Queue()


class Graph:
    """Operators that were recorded while it was the current one, and run again on the same memory by `replay`."""

    current: "Graph | None" = None

    def __init__(self) -> None:
        self.recorded: list[tuple[Any, Any, Any, Any]] = []
        self._before: dict[int, tuple[Any, Any]] = {}

    def keep(self, op: Any, args: Any) -> None:
        """Keep what an operator is about to overwrite: recording it changes nothing."""
        for leaf in pytree.tree_leaves(args) if op._schema.is_mutable else ():
            if isinstance(leaf, Tensor):
                storage: Any = leaf.untyped_storage()
                self._before.setdefault(storage.data_ptr(), (storage, storage.clone()))

    def restore(self) -> None:
        for storage, before in self._before.values():
            storage.copy_(before)

    def record(self, op: Any, args: Any, kwargs: Any, out: Any) -> None:
        """Keep an operator with its arguments and results on the CPU.

        Raises:
            RuntimeError: for one that waits for the device.
        """
        if op is torch.ops.aten._local_scalar_dense.default:
            raise RuntimeError("SIM error: operation not permitted when stream is capturing")
        self.recorded.append((op, args, kwargs, out))

    def replay(self) -> None:
        with torch.inference_mode():
            for op, args, kwargs, out in self.recorded:
                queue.put()
                again = op(*args, **kwargs)
                for old, new in zip(pytree.tree_leaves(out), pytree.tree_leaves(again), strict=True):
                    if isinstance(old, Tensor) and old.data_ptr() != new.data_ptr():
                        old.copy_(new)


@contextmanager
def recording(graph: Graph) -> Iterator[None]:
    """Record into a graph instead of computing for good, like `torch.cuda.graph`."""
    Graph.current = graph
    try:
        yield
    finally:
        Graph.current = None
        graph.restore()


class SimTensor(Tensor):
    """A tensor of the simulated device; `raw` holds its values on the CPU."""

    raw: Tensor

    @staticmethod
    def __new__(cls, raw: Tensor) -> Self:
        made: Self = Tensor._make_wrapper_subclass(
            cls,
            raw.shape,
            strides=raw.stride(),
            storage_offset=raw.storage_offset(),
            dtype=raw.dtype,
            device=torch.device(NAME, 0),
        )
        made.raw = raw
        return made

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]  # torch passes more than its own signature says
        cls, op: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        return dispatch(op, args, kwargs or {})


def dispatch(op: Any, args: Any, kwargs: Any) -> Any:
    """Run an operator on the CPU, and charge the device for it."""
    queue.put()
    if op is torch.ops.aten._local_scalar_dense.default:  # .item() waits for the device
        queue.wait()
    raw_args, raw_kwargs = pytree.tree_map(
        lambda x: x.raw if isinstance(x, SimTensor) else x, (tuple(args), dict(kwargs))
    )
    leaves_device = False
    if raw_kwargs.get("device") is not None:
        leaves_device = torch.device(raw_kwargs["device"]).type == "cpu"
        raw_kwargs["device"] = torch.device("cpu")
    if Graph.current is not None:
        Graph.current.keep(op, (raw_args, raw_kwargs))
    out = op(*raw_args, **raw_kwargs) if str(op) not in FAULTY.split(",") else faulty(op, raw_args, raw_kwargs, args)
    if Graph.current is not None:
        Graph.current.record(op, raw_args, raw_kwargs, out)
    if leaves_device:
        queue.wait()
        return out
    in_place = {id(x.raw): x for x in pytree.tree_leaves((args, kwargs)) if isinstance(x, SimTensor)}

    def wrap(x: Any) -> Any:
        if not isinstance(x, Tensor):
            return x
        return in_place[id(x)] if id(x) in in_place else SimTensor(x)

    return pytree.tree_map(wrap, out)


def misbehave(name: str) -> None:
    """Refuse, fall back, crash or hang, with the messages of MPS."""
    if FAULT == "missing":
        raise NotImplementedError(f"The operator '{name}' is not currently implemented for the SIM device.")
    if FAULT == "fallback":
        warnings.warn(f"The operator '{name}' is not supported and will fall back to run on the CPU.", stacklevel=2)
    elif FAULT == "crash":
        os.abort()
    elif FAULT == "hang":
        time.sleep(1000)


def faulty(op: Any, args: Any, kwargs: Any, device_args: Any) -> Any:
    """Run an operator that has a fault; `device_args` are its arguments on the device."""
    if PLANTED is not None:
        return PLANTED(op, args, kwargs)
    misbehave(f"aten::{str(op).split('.')[1]}")
    if FAULT == "does_nothing_on_transposed" and not pytree.tree_leaves(device_args)[0].is_contiguous():
        return args[0]
    if FAULT == "never_drops":
        return args[0].clone(), torch.ones_like(args[0], dtype=torch.bool)
    if FAULT == "as_tf32":
        args = pytree.tree_map(tf32, args)
    out = op(*args, **kwargs)
    change = FAULTS.get(FAULT)
    if FAULT == "half_more_of_sliced" and not device_args[2].is_contiguous():  # the weight of a convolution
        change = FAULTS["half_more"]
    for leaf in pytree.tree_leaves(out):
        if change and isinstance(leaf, Tensor) and leaf.is_floating_point() and leaf.numel():
            change(leaf)
    return out


def tf32(value: Any) -> Any:
    """Float32 rounded to a mantissa of ten bits."""
    if not isinstance(value, Tensor) or value.dtype != torch.float32:
        return value
    return ((value.contiguous().view(torch.int32) + 0x1000) & ~0x1FFF).view(torch.float32).reshape(value.shape)


def one_wrong_element(values: Tensor) -> None:
    if values.numel() > ENOUGH:
        flat = values.flatten()
        flat[flat.numel() // 3] += float(values.float().std())
        values.copy_(flat.reshape(values.shape))


def noisy(values: Tensor) -> None:
    values.mul_(1 + 1e-2 * torch.rand(values.shape, generator=NOISE).to(values.dtype))


ENOUGH = 100_000
NOISE = torch.Generator().manual_seed(int(time.time_ns()) % 2**31)
FAULTS: dict[str, Any] = {
    "half_more": lambda values: values.mul_(1.5),
    "one_percent": lambda values: values.mul_(1.01),
    "zero": lambda values: values.zero_(),
    "zero_in_channels_last": lambda values: (
        values.zero_() if values.dim() == 4 and not values.is_contiguous() else None
    ),
    "wrong_above_batch_8": lambda values: values.mul_(1.1) if values.dim() > 1 and values.shape[0] > 8 else None,
    "nan_in_a_row": lambda values: values[0].fill_(float("nan")) if values.dim() > 1 else None,
    "stale": lambda values: values.view(-1)[-1:].fill_(float("nan")) if values.is_contiguous() else None,
    "overflow": lambda values: values.fill_(float("inf")),
    "all_ones": lambda values: values.fill_(1.0),
    "one_wrong_element": one_wrong_element,
    "noisy": noisy,
    "bfloat16_inside": lambda values: values.copy_(values.to(torch.bfloat16).to(values.dtype)),
}


class Backend(backend_registration._DummyBackendModule):
    """The module `torch.sim`."""

    queue = queue
    SIMGraph = Graph
    graph = staticmethod(recording)

    def device_count(self) -> int:
        return DEVICES

    def synchronize(self, device: Any = None) -> None:
        queue.wait()

    def get_device_name(self, index: int = 0) -> str:
        return f"Simulated accelerator, {COST * 1e3:g} ms an operator"


class Guard(backend_registration._DummyDeviceGuard):
    """There is one stream and one current device."""

    def exchange_device(self, device: int) -> int:
        return 0

    def set_device(self, device: int) -> None:
        return


def _arange(overload: str, *args: Any, **kwargs: Any) -> Any:
    return dispatch(getattr(torch.ops.aten.arange, overload), args, kwargs)


_kept: list[torch.library.Library] = []


def register() -> None:
    """Make the device known to torch."""
    if _kept:
        return
    sys.modules.setdefault("simulated_accelerator", sys.modules[__name__])
    backend_registration._setup_privateuseone_for_python_backend(NAME, backend_module=Backend())
    library = torch.library.Library("_", "IMPL")  # type: ignore[no-untyped-call]
    library.fallback(  # type: ignore[no-untyped-call]
        lambda op, *args, **kwargs: dispatch(op, args, kwargs), "PrivateUse1"
    )
    aten = torch.library.Library("aten", "IMPL")  # type: ignore[no-untyped-call]
    for overload in ("default", "start", "start_step"):  # torch resizes an empty tensor, which a wrapper cannot follow
        name = "arange" if overload == "default" else f"arange.{overload}"
        aten.impl(name, partial(_arange, overload), "PrivateUse1")  # type: ignore[no-untyped-call]
    _kept.extend((library, aten))
