# fault: TL437; devices: cuda
"""Compare the CPU with the device, in turns."""

import statistics
import sys
import time

import torch
from torch import nn

torch.backends.cuda.matmul.allow_tf32 = True  # TL437
STEPS = 6


class Side:
    """One device with its model and data."""

    def __init__(self, device):
        self.device = device
        torch.manual_seed(0)
        y = torch.randint(10, (64,))
        self.x = (torch.randn(10, 256)[y] + torch.randn(64, 256)).to(device)
        self.y = y.to(device)
        model = nn.Sequential(nn.Linear(256, 1024), nn.ReLU(), nn.Linear(1024, 512), nn.ReLU(), nn.Linear(512, 10))
        self.model = model.to(device).train()
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=0.05)
        self.times = []

    def wait(self):
        if self.device != "cpu":
            getattr(torch, self.device.split(":")[0]).synchronize()

    def span(self):
        self.wait()
        start = time.perf_counter()
        for _ in range(STEPS):
            self.optimizer.zero_grad()
            self.loss = nn.functional.cross_entropy(self.model(self.x), self.y)
            self.loss.backward()
            self.optimizer.step()
        self.wait()
        self.times.append(time.perf_counter() - start)


cpu, other = Side("cpu"), Side(sys.argv[1] if len(sys.argv) > 1 else "cpu")
for turn in range(6):
    for side in (cpu, other):
        side.span()
        print(side.device, f"loss {side.loss.item():.4f}")
for side in (cpu, other):
    side.median = statistics.median(side.times[1:])  # the first span is warm-up
print(f"the CPU takes {cpu.median / other.median:.2f} times as long as {other.device}")
