# clean; devices: cpu sim cuda
import statistics
import sys
import timeit

import torch
from torch import nn

device = sys.argv[1] if len(sys.argv) > 1 else "cpu"
torch.manual_seed(0)
labels = torch.randint(10, (64,))
x = (torch.randn(10, 256)[labels] + torch.randn(64, 256)).to(device)
y = labels.to(device)

model = nn.Sequential(nn.Linear(256, 1024), nn.ReLU(), nn.Linear(1024, 512), nn.ReLU(), nn.Linear(512, 10)).to(device)
model.train()
optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
loss_fn = nn.CrossEntropyLoss()
losses = []


def ten_steps():
    for _ in range(10):
        optimizer.zero_grad()
        loss = loss_fn(model(x), y)
        loss.backward()
        optimizer.step()
    losses.append(loss.detach())
    if device != "cpu":
        getattr(torch, device.split(":")[0]).synchronize()


ten_steps()  # warm-up
times = timeit.repeat(ten_steps, number=1, repeat=6)
print("losses:", [round(loss.item(), 3) for loss in losses])
print(f"{statistics.median(times) / 10 * 1000:.2f} ms per step")
