# clean; devices: cpu sim cuda
import itertools
import statistics
import sys
import time

import torch
from torch import nn

device = sys.argv[1] if len(sys.argv) > 1 else "cpu"
torch.manual_seed(0)
means = torch.randn(10, 128, device=device)


def batches(size=64):
    """Endless batches, made on the device."""
    while True:
        y = torch.randint(10, (size,), device=device)
        yield means[y] + torch.randn(size, 128, device=device), y


def wait():
    if device != "cpu":
        getattr(torch, device.split(":")[0]).synchronize()


model = nn.Sequential(nn.Linear(128, 1024), nn.ReLU(), nn.Linear(1024, 512), nn.ReLU(), nn.Linear(512, 10)).to(device)
model.train()
optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
loss_fn = nn.CrossEntropyLoss()
stream = batches()


def train(steps):
    for x, y in itertools.islice(stream, steps):
        optimizer.zero_grad()
        loss = loss_fn(model(x), y)
        loss.backward()
        optimizer.step()
    return loss


losses = [train(1), train(9)]  # warm-up
times = []
for _ in range(5):
    wait()
    start = time.perf_counter_ns()
    losses.append(train(12))
    wait()
    times.append(time.perf_counter_ns() - start)
print("losses:", [round(loss.item(), 3) for loss in losses])
print(f"{statistics.median(times) / 12e6:.2f} ms per step")
