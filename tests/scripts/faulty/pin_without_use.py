# fault: TL433; devices: cpu cuda
import statistics
import sys
import time

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

device = sys.argv[1] if len(sys.argv) > 1 else "cpu"


def wait():
    if device != "cpu":
        getattr(torch, device.split(":")[0]).synchronize()


torch.manual_seed(0)
labels = torch.randint(10, (192,))
images = torch.randn(10, 1, 28, 28)[labels] + torch.randn(192, 1, 28, 28)
loader = DataLoader(TensorDataset(images, labels), batch_size=16, shuffle=True, pin_memory=True)  # TL433

layers = [nn.Conv2d(1, 16, 3, padding=1), nn.ReLU()]
for _ in range(5):
    layers += [nn.Conv2d(16, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU()]
model = nn.Sequential(*layers, nn.AvgPool2d(4), nn.Flatten(), nn.Linear(16 * 7 * 7, 10)).to(device)
optimizer = torch.optim.Adam(model.parameters(), lr=0.001)
loss_fn = nn.CrossEntropyLoss()


def epoch():
    model.train()
    for x, y in loader:
        x, y = x.to(device), y.to(device)
        optimizer.zero_grad()
        loss = loss_fn(model(x), y)
        loss.backward()
        optimizer.step()
    return loss


losses = [epoch().item()]  # warm-up
times = []
for _ in range(4):
    wait()
    start = time.monotonic()
    loss = epoch()
    wait()
    times.append(time.monotonic() - start)
    losses.append(loss.item())
print("losses:", [round(loss, 3) for loss in losses])
print(f"{statistics.median(times):.3f} s per epoch")
