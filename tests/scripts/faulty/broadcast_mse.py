# fault: TL410; devices: cpu sim cuda
import sys
import time

import torch
from torch import nn

device = sys.argv[1] if len(sys.argv) > 1 else "cpu"
torch.manual_seed(0)
inputs = torch.randn(320, 50)
prices = 3 + inputs[:, 0] + 0.5 * inputs[:, 1] ** 2
inputs, prices = inputs.to(device), prices.to(device)

model = nn.Sequential(nn.Linear(50, 800), nn.ReLU(), nn.Linear(800, 800), nn.ReLU(), nn.Linear(800, 1)).to(device)
optimizer = torch.optim.Adam(model.parameters(), lr=3e-4)
criterion = nn.MSELoss()


def wait():
    if device != "cpu":
        getattr(torch, device.split(":")[0]).synchronize()


def epoch():
    model.train()
    for i in range(0, 320, 32):
        x, y = inputs[i : i + 32], prices[i : i + 32]
        optimizer.zero_grad()
        pred = model(x)
        loss = criterion(pred, y)  # TL410
        loss.backward()
        optimizer.step()
    return loss


losses = [epoch()]  # warm-up
durations = []
for _ in range(5):
    wait()
    begin = time.monotonic()
    losses.append(epoch())
    wait()
    durations.append(time.monotonic() - begin)
print("loss per epoch:", " ".join(f"{loss.item():.3f}" for loss in losses))
print(f"{sorted(durations)[2] * 100:.2f} ms per batch")
