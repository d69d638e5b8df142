# fault: TL420; devices: cpu sim cuda
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
y = torch.randint(10, (48,))
x = torch.randn(10, 1, 28, 28)[y] + 0.7 * torch.randn(48, 1, 28, 28)
x, y = x.to(device), y.to(device)

model = nn.Sequential(
    nn.Conv2d(1, 16, 3, padding=1),
    nn.BatchNorm2d(16),
    nn.ReLU(),
    nn.MaxPool2d(2),
    nn.Flatten(),
    nn.Dropout(0.3),
    nn.Linear(16 * 14 * 14, 10),
).to(device)
loss_fn = nn.CrossEntropyLoss()
optimizer = torch.optim.SGD(model.parameters(), lr=0.02)

model.eval()
with torch.no_grad():
    print(f"before training: {(model(x).argmax(1) == y).float().mean().item():.1%} correct")


def train(steps):
    for _ in range(steps):
        optimizer.zero_grad()
        loss = loss_fn(model(x), y)  # TL420
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
print(f"{statistics.median(times) / 12 * 1000:.2f} ms per step")
