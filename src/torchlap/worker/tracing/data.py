"""How the script's data reach the device: copies, loaders, pinned memory; and how the CPU and the GPU are set up."""

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
from torchlap.worker.tracing.log import Log, now

TRIED_BATCHES = 3
"""So many batches are made without workers, after the script, to see whether the workers were worth it."""

TRIED_SECONDS = 2.0
MOST_LOADERS = 50


class Copied(Struct):
    """A line's copies from the host to a device."""

    kind: str
    count: int = 0
    bytes: int = 0
    seconds: float = 0.0
    same: int = 0
    unpinned: int = 0
    last: Any = None


class Loaded(Struct):
    """What is known of a DataLoader."""

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
    """Notes copies, loaders, threads and fallbacks."""

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

    def copied(self, tensor: Tensor, given: Tensor, seconds: float, *, non_blocking: bool) -> None:
        """A tensor of the host's went to a device."""
        place = self.log.place()
        seen = self.copies.setdefault(place, Copied(given.device.type))
        seen.count += 1
        seen.bytes += tensor.numel() * tensor.element_size()
        seen.seconds += seconds
        last = seen.last() if seen.last is not None else None
        seen.same += last is tensor
        seen.last = ref(tensor)
        if non_blocking:
            pinned = _is_pinned(tensor)
            self.pinned_used |= pinned
            seen.unpinned += not pinned

    def alone(self, seen: Loaded) -> float | None:
        """How long an epoch would take to load without workers; None where it cannot be told."""
        if seen.epoch is None:
            return None
        start, made = now(), 0
        try:
            count, batches = seen.epoch()
            for _ in islice(batches, TRIED_BATCHES):
                made += 1
                if now() - start > TRIED_SECONDS:
                    break
        except Exception:  # noqa: BLE001  a dataset of somebody's that has no use for this; nothing is told of it then
            return None
        return (now() - start) / made * count if made else None


def _alone(loader: DataLoader[Any]) -> Callable[[], tuple[int, Iterator[Any]]] | None:
    """What makes the batches of an epoch in this process, where workers do; the loader itself may go."""
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
    _watch_settings(log, data)
    _watch_warnings(log, data)
    return data


def _watch_copy(log: Log, data: Data, name: str) -> None:
    original = getattr(Tensor, name)

    @wraps(original)
    def copying(self: Tensor, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401  as it is
        if not log.active or self.device.type != "cpu":
            start = now()
            given = original(self, *args, **kwargs)
            if log.active and given.device.type == "cpu" and self.device.type != "cpu":
                log.synced_at = now()
                if log.is_direct():
                    log.mark("value", start, log.place())
            return given
        start = now()
        given = original(self, *args, **kwargs)
        if given.device.type not in ("cpu", "meta") and type(self) is Tensor:
            data.copied(self, given, now() - start, non_blocking=bool(kwargs.get("non_blocking")))
        return given

    setattr(Tensor, name, copying)


def _watch_loaders(log: Log, data: Data) -> None:
    made, iterated = DataLoader.__init__, DataLoader.__iter__
    base = loaders._BaseDataLoaderIter  # noqa: SLF001  the one place that all batches come from
    following = base.__next__

    @wraps(made)
    def making(self: DataLoader[Any], *args: Any, **kwargs: Any) -> None:  # noqa: ANN401  torch's own
        made(self, *args, **kwargs)
        if log.active:
            seen = Loaded(log.place(), self.num_workers, bool(self.pin_memory), _alone(self))
            data.by_loader[self] = seen
            if len(data.loaders) < MOST_LOADERS:
                data.loaders.append(seen)

    @wraps(iterated)
    def iterating(self: DataLoader[Any]) -> Iterator[Any]:
        start = now()
        iterator: Any = iterated(self)
        seen = data.by_loader.get(self)
        if log.active and seen is not None:
            seen.read = log.place()
            seen.epochs += 1
            seen.started += now() - start
            data.by_iterator[iterator] = seen
            log.mark("workers" if self.num_workers else "input", start, seen.read)
        return iterator  # type: ignore[no-any-return]  # torch's own, which is looked into

    @wraps(following)
    def next_batch(self: Any) -> Any:  # noqa: ANN401  a batch may be anything
        start = now()
        idle_before = _idle(log)
        batch = following(self)
        seen = data.by_iterator.get(self)
        if log.active and seen is not None and seen.read is not None:
            seen.waited += now() - start
            seen.batches += 1
            if idle_before or _idle(log):
                log.mark("input", start, seen.read)
        return batch

    DataLoader.__init__ = making  # type: ignore[method-assign]  # to see where it is made
    DataLoader.__iter__ = iterating  # type: ignore[method-assign, assignment]
    base.__next__ = next_batch  # type: ignore[method-assign]


def _idle(log: Log) -> bool:
    """Tell whether no device has anything to do: then a wait for input is lost. True where it cannot be told."""
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
    threads, precision = torch.set_num_threads, torch.set_float32_matmul_precision

    @wraps(threads)
    def setting_threads(count: int) -> None:
        data.threads_set = log.place()
        threads(count)

    @wraps(precision)
    def setting_precision(word: str) -> None:
        data.tf32_set = log.place()
        precision(word)

    torch.set_num_threads = setting_threads  # type: ignore[assignment]  # to see where it is called
    torch.set_float32_matmul_precision = setting_precision  # type: ignore[assignment]


def _watch_warnings(log: Log, data: Data) -> None:
    original = warnings.showwarning

    def showing(message: Any, category: Any, filename: str, lineno: int, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401  Python's own
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
