"""Watch how data reach the device: copies, loaders, pinned memory; and how the CPU and the GPU are set up."""

import os
import warnings
from collections.abc import Callable, Iterator, Sized
from functools import wraps
from itertools import islice
from typing import Any, cast
from weakref import WeakKeyDictionary, ref

import psutil
import torch
from msgspec import Struct
from torch import Tensor
from torch.utils.data import DataLoader
from torch.utils.data import dataloader as loaders

from torchlap.schema.trace import Place
from torchlap.worker.devices import FALLBACK_WORDS
from torchlap.worker.tracing.log import Log, Original, now

TRIED_BATCHES = 3
"""Batches that are loaded without workers after the script, to find out whether the workers were worth it."""

TRIED_SECONDS = 2.0
MOST_LOADERS = 50


class Copied(Struct):
    """A line's copies from the host to a device of this kind; `last` refers to the last copied tensor."""

    kind: str
    count: int = 0
    bytes: int = 0
    seconds: float = 0.0
    same: int = 0
    unpinned: int = 0
    last: "ref[Tensor] | None" = None


class Loaded(Struct):
    """What is known about a DataLoader; `epoch` returns the number of batches, and loads them without workers."""

    made: Place
    workers: int
    pinned: bool
    epoch: Callable[[], tuple[int, Iterator[Any]]] | None = None
    read: Place | None = None
    epochs: int = 0
    batches: int = 0
    waited: float = 0.0
    started: float = 0.0
    alone: float | None = None


class Data:
    """Records copies, loaders, threads and fallbacks."""

    def __init__(self, log: Log) -> None:
        self.log = log
        self.copies: dict[Place, Copied] = {}
        self.loaders: list[Loaded] = []
        self.by_loader: WeakKeyDictionary[DataLoader[Any], Loaded] = WeakKeyDictionary()
        self.by_iterator: WeakKeyDictionary[Any, Loaded] = WeakKeyDictionary()
        self.pinned_used = False
        self.fallbacks: dict[tuple[Place, str], int] = {}
        self.threads_set: Place | None = None
        self.tf32_set: Place | None = None

    def record_copy(self, source: Tensor, copy: Tensor, seconds: float, *, non_blocking: bool) -> None:
        """Record a copy of a tensor from the host to a device."""
        copied = self.copies.setdefault(self.log.place(), Copied(copy.device.type))
        copied.count += 1
        copied.bytes += source.numel() * source.element_size()
        copied.seconds += seconds
        last = copied.last() if copied.last is not None else None
        copied.same += last is source
        copied.last = ref(source)
        if non_blocking:
            pinned = _is_pinned(source)
            self.pinned_used |= pinned
            copied.unpinned += not pinned

    def seconds_without_workers(self, loaded: Loaded) -> float | None:
        """How long an epoch would take to load without workers; None if that cannot be tried."""
        if loaded.epoch is None:
            return None
        start, tried = now(), 0
        try:
            count, batches = loaded.epoch()
            for _ in islice(batches, TRIED_BATCHES):
                tried += 1
                if now() - start > TRIED_SECONDS:
                    break
        except Exception:  # noqa: BLE001  the user's dataset may not work this way; then nothing is reported
            return None
        return (now() - start) / tried * count if tried else None


def _epoch_without_workers(loader: DataLoader[Any]) -> Callable[[], tuple[int, Iterator[Any]]] | None:
    """A function that loads an epoch in this process, for a loader with workers; does not keep the loader alive."""
    dataset, collate, sampler = loader.dataset, loader.collate_fn, loader.batch_sampler
    if not loader.num_workers or not hasattr(dataset, "__getitem__") or sampler is None:
        return None
    return lambda: (
        len(cast("Sized", sampler)),
        (collate([dataset[index] for index in indices]) for indices in sampler),
    )


def _is_pinned(tensor: Tensor) -> bool:
    try:
        return tensor.is_pinned()
    except RuntimeError:
        return False


def install(log: Log) -> Data:
    """Watch copies, loaders and settings from here on."""
    data = Data(log)
    for name in ("to", "cuda"):
        _watch_copy(log, data, name)
    _watch_loaders(log, data)
    _watch_batches(log, data)
    _watch_settings(log, data)
    _watch_warnings(log, data)
    return data


def _watch_copy(log: Log, data: Data, name: str) -> None:
    """Record copies to a device; a copy to the host is a value that is read."""
    original = getattr(Tensor, name)

    @wraps(original)
    def copying(self: Tensor, *args: object, **kwargs: object) -> object:
        start = now()
        copy = original(self, *args, **kwargs)
        if not log.active:
            return copy
        if self.device.type != "cpu" and copy.device.type == "cpu":
            log.synced_at = now()
            if log.is_direct():
                log.mark("value", start, log.place())
        elif self.device.type == "cpu" and copy.device.type not in ("cpu", "meta") and type(self) is Tensor:
            data.record_copy(self, copy, now() - start, non_blocking=bool(kwargs.get("non_blocking")))
        return copy

    setattr(Tensor, name, copying)


def _watch_loaders(log: Log, data: Data) -> None:
    """Record where DataLoaders are created and iterated."""
    created: Original = DataLoader.__init__
    iterated: Original = DataLoader.__iter__

    @wraps(created)
    def creating(self: DataLoader[Any], *args: object, **kwargs: object) -> None:
        created(self, *args, **kwargs)
        if log.active:
            loaded = Loaded(log.place(), self.num_workers, bool(self.pin_memory), _epoch_without_workers(self))
            data.by_loader[self] = loaded
            if len(data.loaders) < MOST_LOADERS:
                data.loaders.append(loaded)

    @wraps(iterated)
    def iterating(self: DataLoader[Any]) -> object:
        start = now()
        iterator = iterated(self)
        loaded = data.by_loader.get(self)
        if log.active and loaded is not None:
            loaded.read = log.place()
            loaded.epochs += 1
            loaded.started += now() - start
            data.by_iterator[iterator] = loaded
            log.mark("workers" if self.num_workers else "input", start, loaded.read)
        return iterator

    DataLoader.__init__ = creating  # type: ignore[method-assign]
    DataLoader.__iter__ = iterating  # type: ignore[method-assign, assignment]


def _watch_batches(log: Log, data: Data) -> None:
    """Record how long the script waits for each batch."""
    base = loaders._BaseDataLoaderIter  # noqa: SLF001  the only class through which all batches pass
    following: Original = base.__next__

    @wraps(following)
    def next_batch(self: object) -> object:
        start = now()
        idle_before = _idle(log)
        batch = following(self)
        loaded = data.by_iterator.get(self)
        if log.active and loaded is not None and loaded.read is not None:
            loaded.waited += now() - start
            loaded.batches += 1
            if idle_before or _idle(log):
                log.mark("input", start, loaded.read)
        return batch

    base.__next__ = next_batch  # type: ignore[method-assign]


def _idle(log: Log) -> bool:
    """Whether no device has work pending, so that waiting for input costs time; True where that is unknown."""
    if not log.active:
        return True
    for device in log.waiters:
        module = torch.get_device_module(device)
        if (
            hasattr(module, "current_stream")
            and hasattr(module.current_stream(), "query")
            and not module.current_stream().query()
        ):
            return False
    return True


def _watch_settings(log: Log, data: Data) -> None:
    """Record where the number of threads and the precision of float32 are set."""
    set_threads, set_precision = torch.set_num_threads, torch.set_float32_matmul_precision

    @wraps(set_threads)
    def setting_threads(count: int) -> None:
        data.threads_set = log.place()
        set_threads(count)

    @wraps(set_precision)
    def setting_precision(precision: str) -> None:
        data.tf32_set = log.place()
        set_precision(precision)

    torch.set_num_threads = setting_threads  # type: ignore[assignment]
    torch.set_float32_matmul_precision = setting_precision


def _watch_warnings(log: Log, data: Data) -> None:
    """Count torch's warnings about operators that run on the CPU instead of the device."""
    original: Original = warnings.showwarning

    def showing(message: object, category: object, filename: str, lineno: int, *args: object, **kwargs: object) -> None:
        if log.active and FALLBACK_WORDS in str(message):
            name = log.name_of(filename)
            place = Place(name, lineno) if name is not None else log.place()
            key = (place, str(message).partition("(")[0].strip())
            data.fallbacks[key] = data.fallbacks.get(key, 0) + 1
        original(message, category, filename, lineno, *args, **kwargs)

    warnings.showwarning = showing


def cores() -> int:
    """Physical cores that this process may use."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(usable, psutil.cpu_count(logical=False) or usable)
