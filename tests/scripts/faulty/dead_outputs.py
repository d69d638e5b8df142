# fault: TL411; devices: cpu sim cuda
import statistics
import sys
import time

import torch
from torch import nn


class SmallCNN(nn.Module):
    def __init__(self, outputs=10):
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(), nn.AvgPool2d(2))
        self.more = nn.Sequential(nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.AvgPool2d(2))
        self.head = nn.Linear(32 * 8 * 8, outputs)

    def forward(self, x):
        return self.head(self.more(self.features(x)).flatten(1))


device = sys.argv[1] if len(sys.argv) > 1 else "cpu"


def wait():
    if device != "cpu":
        getattr(torch, device.split(":")[0]).synchronize()


torch.manual_seed(0)
y = torch.randint(5, (32,))
x = torch.randn(5, 3, 32, 32)[y] + 0.5 * torch.randn(32, 3, 32, 32)
x, y = x.to(device), y.to(device)
model = SmallCNN().to(device).train()
optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
loss_fn = nn.CrossEntropyLoss()


def run(steps):
    for _ in range(steps):
        optimizer.zero_grad()
        loss = loss_fn(model(x)[:, :5], y)  # TL411
        loss.backward()
        optimizer.step()
    return loss


first = run(5)
times = []
for _ in range(5):
    wait()
    start = time.perf_counter()
    last = run(10)
    wait()
    times.append((time.perf_counter() - start) / 10)
print(f"loss: {first.item():.3f} -> {last.item():.3f}")
print(f"{32 / statistics.median(times):.0f} images/s")
