# fault: TL414; devices: cpu sim cuda
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
labels = torch.randint(10, (64,))
x = (torch.randn(10, 100)[labels] + torch.randn(64, 100)).to(device)
counts = nn.functional.one_hot(labels, 10).float().to(device)

model = nn.Sequential(nn.Linear(100, 1024), nn.ReLU(), nn.Linear(1024, 1024), nn.ReLU(), nn.Linear(1024, 10))
nn.init.ones_(model[-1].bias)  # the rates begin at about one
model = model.to(device).train()
optimizer = torch.optim.SGD(model.parameters(), lr=0.001)


def poisson_loss(rates, counts):
    return (rates - counts * torch.log(rates)).sum(dim=1).mean()


def step():
    optimizer.zero_grad()
    loss = poisson_loss(model(x), counts)
    loss.backward()  # TL414
    optimizer.step()
    return loss.detach()


losses = [step() for _ in range(6)]  # warm-up
times = []
for _ in range(5):
    wait()
    start = time.perf_counter()
    losses += [step() for _ in range(10)]
    wait()
    times.append((time.perf_counter() - start) / 10)
print("losses:", " ".join(f"{loss.item():.4f}" for loss in losses[::3]))
print(f"{64 / statistics.median(times):.0f} samples per second")
