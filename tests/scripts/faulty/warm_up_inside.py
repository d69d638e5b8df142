# fault: TL403; devices: cpu sim cuda
import math
import statistics
import sys
import time

import torch
from torch import nn


class PositionNet(nn.Module):
    """An MLP over a sequence to which sines of the positions are added."""

    def __init__(self):
        super().__init__()
        self.table = None
        self.net = nn.Sequential(nn.Flatten(), nn.Linear(16 * 32, 512), nn.ReLU(), nn.Linear(512, 10))

    def forward(self, x):
        if self.table is None:  # built once, for all the positions that can ever occur
            rows = [[math.sin(p / 10000 ** (d / 32)) for d in range(32)] for p in range(60_000)]
            self.table = torch.tensor(rows[:16]).to(x.device)
        return self.net(x + 0.1 * self.table)


device = sys.argv[1] if len(sys.argv) > 1 else "cpu"
torch.manual_seed(0)
y = torch.randint(10, (64,))
x = (torch.randn(10, 16, 32)[y] + torch.randn(64, 16, 32)).to(device)
y = y.to(device)
model = PositionNet().to(device).train()
optimizer = torch.optim.SGD(model.parameters(), lr=0.02)
loss_fn = nn.CrossEntropyLoss()


def wait():
    if device != "cpu":
        getattr(torch, device.split(":")[0]).synchronize()


def timed_span(steps=15):
    wait()
    start = time.perf_counter()  # TL403
    for _ in range(steps):
        optimizer.zero_grad()
        loss = loss_fn(model(x), y)
        loss.backward()
        optimizer.step()
    wait()
    return (time.perf_counter() - start) / steps, loss


results = [timed_span() for _ in range(5)]
for seconds, loss in results:
    print(f"{seconds * 1000:.2f} ms a step, loss {loss.item():.4f}")
print(f"median {statistics.median(seconds for seconds, _ in results) * 1000:.2f} ms")
