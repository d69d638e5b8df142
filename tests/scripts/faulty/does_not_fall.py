# fault: TL413; devices: cpu sim cuda
import sys
import time
from statistics import median

import torch
from torch import nn

device = sys.argv[1] if len(sys.argv) > 1 else "cpu"
torch.manual_seed(0)
labels = torch.arange(320) % 10
images = (torch.randn(10, 200)[labels] + torch.randn(320, 200)).to(device)
labels = labels.to(device)

model = nn.Sequential(nn.Linear(200, 1024), nn.ReLU(), nn.Linear(1024, 512), nn.ReLU(), nn.Linear(512, 10)).to(device)
loss_fn = nn.CrossEntropyLoss()
optimizer = torch.optim.SGD(model.parameters(), lr=0.02)


def wait():
    if device != "cpu":
        getattr(torch, device.split(":")[0]).synchronize()


def step():
    """Take a random batch."""
    x = images[torch.randperm(320, device=device)[:64]]
    y = labels[torch.randperm(320, device=device)[:64]]
    optimizer.zero_grad()
    loss = loss_fn(model(x), y)
    loss.backward()  # TL413
    optimizer.step()
    return loss


model.train()
losses = [step() for _ in range(10)]
times = []
for _ in range(5):
    wait()
    start = time.perf_counter()
    losses += [step() for _ in range(12)]
    wait()
    times.append(time.perf_counter() - start)
print("every tenth loss:", " ".join(f"{loss.item():.3f}" for loss in losses[::10]))
print(f"{median(times) / 12 * 1000:.2f} ms per step")
