# fault: TL435; devices: cpu
import statistics
import sys
import time

import torch
from torch import nn


class Residual(nn.Module):
    """A deep branch that should start close to zero, added to the input."""

    def __init__(self, width=128):
        super().__init__()
        self.branch = nn.Sequential(*[nn.Linear(width, width, bias=False) for _ in range(8)])
        self.head = nn.Linear(width, 10)
        with torch.no_grad():
            self.branch[0].weight.mul_(2e-20)
            self.branch[1].weight.mul_(2e-20)
            for layer in self.branch[2:]:
                layer.weight.mul_(1.7)

    def forward(self, x):
        return self.head(x + self.branch(x))


device = sys.argv[1] if len(sys.argv) > 1 else "cpu"


def wait():
    if device != "cpu":
        getattr(torch, device.split(":")[0]).synchronize()


torch.manual_seed(0)
y = torch.randint(10, (64,))
x = (torch.randn(10, 128)[y] + torch.randn(64, 128)).to(device)
y = y.to(device)
model = Residual().to(device).train()
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)


def train(steps):
    for _ in range(steps):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(x), y)  # TL435
        loss.backward()
        optimizer.step()
    return loss


first = train(5)
times = []
for _ in range(5):
    wait()
    start = time.perf_counter()
    last = train(8)
    wait()
    times.append(time.perf_counter() - start)
print(f"loss {first.item():.4f} -> {last.item():.4f}; {statistics.median(times) / 8 * 1000:.2f} ms per step")
