"""Models of which the second of several ranks fails, or whose exchange of gradients has a known cost."""

import os
import signal
import sys
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.futures import Future
from torch.nn import parallel
from torch.utils.data import DataLoader, TensorDataset

STEP_SECONDS, EXCHANGE_SECONDS = 0.2, 0.05
"""Long, so that what a busy machine adds does not matter."""

LATE_SECONDS = 3.0
WARM = 300
"""Forward passes, after which a model has warmed up."""

Built = tuple[nn.Module, tuple[Tensor, Tensor]]


def is_second() -> bool:
    return os.environ.get("RANK") == "1"


def use(kind: type[parallel.DistributedDataParallel]) -> None:
    """Have a rank replicate models by this class."""
    ours = sys.modules.get("torchlap.worker.ranks.model")
    if ours is not None:
        vars(ours)["DistributedDataParallel"] = kind


class Linear(nn.Module):
    """A linear layer that does something else in the second rank, after some forward passes."""

    def __init__(self, what: Callable[[], object] = lambda: None, after: int = 0, seconds: float = 0.001) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 10)
        self.what, self.left, self.seconds = what, after, seconds

    def forward(self, inputs: Tensor) -> Tensor:
        time.sleep(self.seconds)
        self.left -= 1
        if self.left < 0 and is_second():
            self.what()
        outputs: Tensor = self.layer(inputs)
        return outputs


def batch_of(rows: int) -> tuple[Tensor, Tensor]:
    return torch.rand(rows, 4), torch.randint(0, 10, (rows,))


def plain(batch: int) -> Built:
    return Linear(), batch_of(batch)


def killed(batch: int) -> Built:
    return Linear(lambda: os.kill(os.getpid(), signal.SIGKILL), WARM), batch_of(batch)


def hangs(batch: int) -> Built:
    return Linear(lambda: time.sleep(600), WARM), batch_of(batch)


def out_of_memory() -> None:
    raise torch.OutOfMemoryError("the device has no memory left")


def runs_out_of_memory(batch: int) -> Built:
    return Linear(out_of_memory, WARM), batch_of(batch)


def late(batch: int) -> Built:
    if is_second():
        time.sleep(LATE_SECONDS)
    return plain(batch)


def exchanged_slowly(_: object, bucket: Any) -> Future[Tensor]:
    """What DDP does, and a sleep."""
    time.sleep(EXCHANGE_SECONDS)
    values = bucket.buffer().div_(distributed.get_world_size())
    work: Any = distributed.all_reduce(values, async_op=True)
    done: Future[Tensor] = work.get_future().then(lambda future: future.value()[0])
    return done


exchanged_slowly.__annotations__ = {}  # DDP accepts no others than its own, which torch's types lack


class SlowExchange(parallel.DistributedDataParallel):
    def __init__(self, *words: Any, **named: Any) -> None:
        super().__init__(*words, **named)
        self.register_comm_hook(None, exchanged_slowly)


def known_cost(batch: int) -> Built:
    """A step of `STEP_SECONDS` and one bucket that takes `EXCHANGE_SECONDS` more."""
    use(SlowExchange)
    return Linear(seconds=STEP_SECONDS), batch_of(batch)


class NotShared(parallel.DistributedDataParallel):
    """One that never exchanges gradients."""

    def forward(self, *words: Any, **named: Any) -> Any:
        return self.module(*words, **named)


def not_synchronized(batch: int) -> Built:
    use(NotShared)
    return Linear(), batch_of(batch)


def summed(batch: int) -> tuple[nn.Module, tuple[Tensor, Tensor], Callable[[Tensor, Tensor], Tensor]]:
    return Linear(), batch_of(batch), nn.CrossEntropyLoss(reduction="sum")


def unused(batch: int) -> Built:
    module = Linear()
    module.other = nn.Linear(2, 2)
    return module, batch_of(batch)


def own_step(batch: int) -> tuple[nn.Module, tuple[Tensor, Tensor], dict[str, Any]]:
    module = Linear()
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1)

    def step(inputs: Tensor, targets: Tensor) -> Tensor:
        loss = nn.functional.cross_entropy(module(inputs), targets)
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
        return loss

    return module, batch_of(batch), {"step": step}


def loaded(batch: int) -> tuple[nn.Module, DataLoader[Any]]:
    """A map-style dataset whose rows name themselves, so that a test can see which ranks have them."""
    rows = 8 * batch
    data = TensorDataset(torch.arange(rows).float()[:, None].expand(rows, 4), torch.zeros(rows, dtype=torch.int64))
    return Linear(), DataLoader(data, batch_size=batch, shuffle=True)
