# fault: TL410; devices: cpu sim cuda
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
labels = torch.randint(10, (48,))
x = (torch.randn(10, 100)[labels] + torch.randn(48, 100)).to(device)
labels = labels.float().to(device)

model = nn.Sequential(nn.Linear(100, 1024), nn.ReLU(), nn.Linear(1024, 512), nn.ReLU(), nn.Linear(512, 10)).to(device)
model.train()
loss_fn = nn.CrossEntropyLoss()
optimizer = torch.optim.SGD(model.parameters(), lr=1e-4)


def train(steps):
    for _ in range(steps):
        optimizer.zero_grad()
        loss = loss_fn(model(x)[:, 0], labels)  # TL410
        loss.backward()
        optimizer.step()
    return loss


first = train(10)
times = []
for _ in range(5):
    wait()
    start = time.time()
    last = train(10)
    wait()
    times.append(time.time() - start)
print(f"loss {first.item():.2f} -> {last.item():.2f}")
print(f"{statistics.median(times) / 10 * 1000:.2f} ms per step")
