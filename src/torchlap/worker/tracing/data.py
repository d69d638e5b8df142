"""Watch how data reach the device: copies, loaders, pinned memory; and how the CPU and the GPU are set up."""

import os
import warnings
from functools import partial, wraps
from typing import Any
from weakref import WeakKeyDictionary, ref

import psutil
import torch
from msgspec import Struct
from torch import Tensor
from torch.utils.data import DataLoader
from torch.utils.data import dataloader as loaders

from torchlap.schema.trace import Place
from torchlap.worker.devices import FALLBACK_WORDS
from torchlap.worker.tracing import insert
from torchlap.worker.tracing.log import Log, now

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
    """What is known about a DataLoader.

    Attributes:
        started: seconds that its iterators took to start.
        first: seconds that its epochs waited for their first batch.
        iterated: seconds from the start of its iterators to the last batch.
        first_start: when this epoch's iterator was started; `fresh` until its first batch.
    """

    made: Place
    workers: int
    pinned: bool
    persistent: bool
    read: Place | None = None
    epochs: int = 0
    batches: int = 0
    waited: float = 0.0
    started: float = 0.0
    first: float = 0.0
    iterated: float = 0.0
    fresh: bool = False
    ended: float = 0.0


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

    def record_loader(self, loader: DataLoader[Any]) -> None:
        """Record where a DataLoader is created."""
        if self.log.active and loader not in self.by_loader:
            loaded = Loaded(
                self.log.place(), loader.num_workers, bool(loader.pin_memory), bool(loader.persistent_workers)
            )
            self.by_loader[loader] = loaded
            if len(self.loaders) < MOST_LOADERS:
                self.loaders.append(loaded)

    def record_epoch(self, begun: tuple[DataLoader[Any], float], iterator: Any) -> object:  # noqa: ANN401  a class of torch's
        """Record that a DataLoader's iterator was started."""
        loader, start = begun
        loaded = self.by_loader.get(loader)
        if self.log.active and loaded is not None:
            loaded.read = self.log.place()
            loaded.epochs += 1
            loaded.started += now() - start
            loaded.fresh, loaded.ended = True, start
            self.by_iterator[iterator] = loaded
            self.log.mark("workers" if loaded.workers else "input", start, loaded.read)
        return iterator

    def record_batch(self, begun: tuple[Any, float, bool]) -> None:
        """Record how long the script waited for a batch, or for the end of the epoch."""
        iterator, start, idle_before = begun
        loaded = self.by_iterator.get(iterator)
        if not self.log.active or loaded is None or loaded.read is None:
            return
        end = now()
        loaded.waited += end - start
        loaded.first += end - start if loaded.fresh else 0.0
        loaded.iterated += end - loaded.ended
        loaded.fresh, loaded.ended = False, end
        loaded.batches += 1
        if idle_before or _idle(self.log):
            self.log.mark("input", start, loaded.read)


def _is_pinned(tensor: Tensor) -> bool:
    try:
        return tensor.is_pinned()
    except RuntimeError:
        return False


def install(log: Log) -> Data:
    """Watch copies, loaders and settings from here on."""
    data = Data(log)
    log.on_accelerator += [partial(_watch_copy, log, data, name) for name in ("to", "cuda")]
    base: Any = loaders._BaseDataLoaderIter  # noqa: SLF001  the only class through which all batches pass
    insert.watch(DataLoader.check_worker_number_rationality, before=lambda given: data.record_loader(given[0]))
    insert.watch(DataLoader.__iter__, before=lambda given: (given[0], now()), after=data.record_epoch)
    insert.watch(base.__next__, before=lambda given: (given[0], now(), _idle(log)), leave=data.record_batch)
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


def _watch_warnings(log: Log, data: Data) -> None:
    """Count torch's warnings about operators that run on the CPU instead of the device."""
    module: Any = warnings
    original = module._showwarnmsg_impl  # noqa: SLF001  below the public function, which scripts replace and compare

    @wraps(original)
    def showing(message: warnings.WarningMessage) -> None:
        if log.active and FALLBACK_WORDS in str(message.message):
            name = log.name_of(message.filename)
            place = Place(name, message.lineno) if name is not None else log.place()
            key = (place, str(message.message).partition("(")[0].strip())
            data.fallbacks[key] = data.fallbacks.get(key, 0) + 1
        original(message)

    module._showwarnmsg_impl = showing  # noqa: SLF001  as above


def cpus() -> int:
    """Hardware threads that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def cores() -> int:
    """Physical cores that this process may use."""
    return min(cpus(), psutil.cpu_count(logical=False) or cpus())
