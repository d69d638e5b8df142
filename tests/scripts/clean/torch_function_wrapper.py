# clean; devices: cpu sim cuda
import statistics
import sys
import time

import torch
from torch import nn


class Weights(torch.Tensor):
    """Weights of the samples with a note; every function is done with the wrapped tensor."""

    @staticmethod
    def __new__(cls, values, note):
        made = torch.Tensor._make_subclass(cls, torch.empty(0))
        made.values_, made.note = values, note
        return made

    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        args = [each.values_ if isinstance(each, cls) else each for each in args]
        return func(*args, **(kwargs or {}))


device = sys.argv[1] if len(sys.argv) > 1 else "cpu"


def wait():
    if device != "cpu":
        getattr(torch, device.split(":")[0]).synchronize()


torch.manual_seed(0)
y = torch.randint(10, (64,))
x = (torch.randn(10, 128)[y] + torch.randn(64, 128)).to(device)
y = y.to(device)
weights = Weights((0.5 + torch.rand(64)).to(device), "random")
model = nn.Sequential(nn.Linear(128, 1024), nn.ReLU(), nn.Linear(1024, 512), nn.ReLU(), nn.Linear(512, 10)).to(device)
model.train()
optimizer = torch.optim.SGD(model.parameters(), lr=0.05)


def train(steps):
    for _ in range(steps):
        optimizer.zero_grad()
        loss = (nn.functional.cross_entropy(model(x), y, reduction="none") * weights).mean()
        loss.backward()
        optimizer.step()
    return loss


first, times = train(10), []
for _ in range(5):
    wait()
    start = time.perf_counter()
    last = train(12)
    wait()
    times.append(time.perf_counter() - start)
print(f"loss {first.item():.4f} -> {last.item():.4f}, {statistics.median(times) / 12 * 1000:.2f} ms per step")
