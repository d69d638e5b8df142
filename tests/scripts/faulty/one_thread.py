# fault: TL436; devices: cpu
import sys
import time
from statistics import median

import torch
from torch import nn

torch.set_num_threads(1)  # TL436
device = sys.argv[1] if len(sys.argv) > 1 else "cpu"


def wait():
    if device != "cpu":
        getattr(torch, device.split(":")[0]).synchronize()


torch.manual_seed(0)
y = torch.randint(10, (64,))
x = (torch.randn(10, 256)[y] + torch.randn(64, 256)).to(device)
y = y.to(device)
model = nn.Sequential(nn.Linear(256, 1024), nn.ReLU(), nn.Linear(1024, 1024), nn.ReLU(), nn.Linear(1024, 10)).to(device)
optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
loss_fn = nn.CrossEntropyLoss()
model.train()


def train(steps):
    for _ in range(steps):
        optimizer.zero_grad()
        loss = loss_fn(model(x), y)
        loss.backward()
        optimizer.step()
    return loss


first = train(8)
times = []
for _ in range(5):
    wait()
    start = time.perf_counter_ns()
    last = train(12)
    wait()
    times.append(time.perf_counter_ns() - start)
print(f"loss {first.item():.4f} -> {last.item():.4f}")
print(f"{median(times) / 12 / 1e6:.2f} ms per step")
