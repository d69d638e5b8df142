# clean; devices: cpu sim cuda
import statistics
import sys
import time

import torch
from torch import nn

device = sys.argv[1] if len(sys.argv) > 1 else "cpu"


def wait():
    if device != "cpu":
        getattr(torch, device.split(":")[0]).synchronize()


torch.manual_seed(0)
y = torch.randint(10, (64,))
x = (torch.randn(10, 128)[y] + torch.randn(64, 128)).to(device)
y = y.to(device)
model = nn.Sequential(nn.Linear(128, 1024), nn.ReLU(), nn.Linear(1024, 1024), nn.ReLU(), nn.Linear(1024, 10)).to(device)
model.train()
optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
loss_fn = nn.CrossEntropyLoss()


def train(steps):
    for _ in range(steps):
        optimizer.zero_grad()
        loss = loss_fn(model(x), y)
        loss.backward()
        optimizer.step()
    return loss


first = train(10)  # warm-up
times = []
for _ in range(5):
    wait()
    start = time.perf_counter()
    last = train(12)
    wait()
    times.append(time.perf_counter() - start)
print(f"loss {first.item():.4f} -> {last.item():.4f}")
print(f"{statistics.median(times) / 12 * 1000:.2f} ms per step")
