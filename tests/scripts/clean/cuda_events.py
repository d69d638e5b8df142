# clean; devices: cpu sim cuda
import statistics
import sys
import time

import torch
from torch import nn


class Stopwatch:
    """CUDA's events on CUDA, the host's clock elsewhere."""

    def __init__(self, device):
        self.device = device
        self.milliseconds = []

    def wait(self):
        if self.device != "cpu":
            getattr(torch, self.device.split(":")[0]).synchronize()

    def measure(self, work):
        self.wait()
        if self.device.startswith("cuda"):
            start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            start.record()
            result = work()
            end.record()
            self.wait()
            self.milliseconds.append(start.elapsed_time(end))
        else:
            begin = time.perf_counter()
            result = work()
            self.wait()
            self.milliseconds.append((time.perf_counter() - begin) * 1000)
        return result


device = sys.argv[1] if len(sys.argv) > 1 else "cpu"
torch.manual_seed(0)
y = torch.randint(10, (32,))
x = (torch.randn(10, 1, 28, 28)[y] + torch.randn(32, 1, 28, 28)).to(device)
y = y.to(device)
layers = [nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()]
model = nn.Sequential(*layers, nn.Linear(16 * 14 * 14, 10)).to(device).train()
optimizer = torch.optim.SGD(model.parameters(), lr=0.001)


def train():
    for _ in range(10):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
    return loss


stopwatch, first = Stopwatch(device), train()  # warm-up
losses = [stopwatch.measure(train) for _ in range(6)]
print(f"loss {first.item():.4f} -> {losses[-1].item():.4f}")
print(f"{statistics.median(stopwatch.milliseconds) / 10:.2f} ms per step")
