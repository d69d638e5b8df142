# fault: TL401; devices: sim cuda
"""Train a small MLP and print how many steps a second it does."""

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
means = torch.randn(10, 32)
labels = torch.randint(10, (32,))
x = (means[labels] + 0.5 * torch.randn(32, 32)).to(device)
y = labels.to(device)

model = nn.Sequential(nn.Linear(32, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10)).to(device)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
loss_fn = nn.CrossEntropyLoss()


def train(steps):
    for _ in range(steps):
        optimizer.zero_grad()
        loss = loss_fn(model(x), y)
        loss.backward()
        optimizer.step()
    return loss


model.train()
first = train(10).item()  # warm-up
times = []
for span in range(5):
    wait()
    start = time.perf_counter()
    loss = train(10)
    end = time.perf_counter()  # TL401
    times.append(end - start)

print(f"loss {first:.3f} -> {loss.item():.3f}")
print(f"{10 / statistics.median(times):.1f} steps/s")
