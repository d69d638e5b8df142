# fault: TL406; devices: cpu sim cuda
import sys
import time

import torch
from torch import nn

device = sys.argv[1] if len(sys.argv) > 1 else "cpu"


def wait():
    if device != "cpu":
        getattr(torch, device.split(":")[0]).synchronize()


torch.manual_seed(0)
y = torch.randint(10, (32,))
x = torch.randn(10, 1, 28, 28)[y] + 0.5 * torch.randn(32, 1, 28, 28)
x, y = x.to(device), y.to(device)

model = nn.Sequential(
    nn.Conv2d(1, 16, 3, padding=1),
    nn.ReLU(),
    nn.MaxPool2d(2),
    nn.Conv2d(16, 32, 3, padding=1),
    nn.ReLU(),
    nn.Flatten(),
    nn.Linear(32 * 14 * 14, 10),
).to(device)
model.train()
optimizer = torch.optim.SGD(model.parameters(), lr=0.02)
loss_fn = nn.CrossEntropyLoss()


def train(steps):
    for _ in range(steps):
        optimizer.zero_grad()
        loss = loss_fn(model(x), y)
        loss.backward()
        optimizer.step()
    return loss


before = train(10)
wait()
start = time.perf_counter()
after = train(60)
wait()
seconds = time.perf_counter() - start  # TL406
print(f"loss {before.item():.4f} -> {after.item():.4f}")
print(f"{60 * 32 / seconds:.0f} images per second")
