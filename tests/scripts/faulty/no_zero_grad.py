# fault: TL421; devices: cpu sim cuda
import sys
from statistics import median
from time import monotonic

import torch
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.hidden1 = nn.Linear(128, 1024)
        self.hidden2 = nn.Linear(1024, 512)
        self.out = nn.Linear(512, 10)

    def forward(self, x):
        x = torch.relu(self.hidden1(x))
        x = torch.relu(self.hidden2(x))
        return self.out(x)


device = sys.argv[1] if len(sys.argv) > 1 else "cpu"
torch.manual_seed(0)
y = torch.randint(10, (64,))
x = (torch.randn(10, 128)[y] + torch.randn(64, 128)).to(device)
y = y.to(device)
net = Net().to(device)
net.train()
criterion = nn.CrossEntropyLoss()
optimizer = torch.optim.SGD(net.parameters(), lr=0.003)


def wait():
    if device != "cpu":
        getattr(torch, device.split(":")[0]).synchronize()


def step():
    loss = criterion(net(x), y)
    loss.backward()  # TL421
    optimizer.step()
    return loss


first = step()
for _ in range(7):
    step()
times = []
for _ in range(5):
    wait()
    start = monotonic()
    for _ in range(12):
        loss = step()
    wait()
    times.append(monotonic() - start)
print(f"loss {first.item():.4f} -> {loss.item():.4f}")
print(f"{12 / median(times):.1f} steps per second")
