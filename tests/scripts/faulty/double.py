# fault: TL432; devices: cpu cuda
import statistics
import sys
import time

import numpy as np
import torch
from torch import nn

device = sys.argv[1] if len(sys.argv) > 1 else "cpu"


def wait():
    if device != "cpu":
        getattr(torch, device.split(":")[0]).synchronize()


torch.manual_seed(0)
random = np.random.default_rng(0)
labels = random.integers(0, 10, 64)
data = random.normal(size=(10, 128))[labels] + random.normal(size=(64, 128))
x = torch.from_numpy(data).to(device)
y = torch.from_numpy(labels).to(device)

model = nn.Sequential(nn.Linear(128, 768), nn.ReLU(), nn.Linear(768, 512), nn.ReLU(), nn.Linear(512, 10))
model = model.double().to(device)
model.train()
loss_fn = nn.CrossEntropyLoss()
optimizer = torch.optim.SGD(model.parameters(), lr=0.05)


def train(steps):
    for _ in range(steps):
        optimizer.zero_grad()
        out = model(x)  # TL432
        loss = loss_fn(out, y)
        loss.backward()
        optimizer.step()
    return loss


first = train(8)
times = []
for _ in range(5):
    wait()
    start = time.perf_counter()
    last = train(12)
    wait()
    times.append(time.perf_counter() - start)
print(f"loss {first.item():.4f} -> {last.item():.4f}")
print(f"{12 * 64 / statistics.median(times):.0f} samples per second")
