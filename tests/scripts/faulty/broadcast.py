# fault: TL410; devices: cpu sim cuda
import sys
from statistics import median
from time import perf_counter

import torch
from torch import nn


def mean_squared_error(pred, y):
    return ((pred - y) ** 2).mean()  # TL410


class Regressor(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(64, 1024), nn.ReLU(), nn.Linear(1024, 512), nn.ReLU())
        self.out = nn.Linear(512, 1)

    def forward(self, x):
        return self.out(self.body(x))


def main():
    device = sys.argv[1] if len(sys.argv) > 1 else "cpu"

    def wait():
        if device != "cpu":
            getattr(torch, device.split(":")[0]).synchronize()

    torch.manual_seed(0)
    x = torch.randn(64, 64)
    y = x @ torch.randn(64) / 8 + 2  # shape (64,)
    x, y = x.to(device), y.to(device)
    model = Regressor().to(device)
    model.train()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.02)

    def step():
        optimizer.zero_grad()
        loss = mean_squared_error(model(x), y)
        loss.backward()
        optimizer.step()
        return loss

    warm_up = [step() for _ in range(5)]
    times = []
    for _ in range(5):
        wait()
        t0 = perf_counter()
        for _ in range(12):
            loss = step()
        wait()
        times.append((perf_counter() - t0) / 12)
    print(f"loss {warm_up[0].item():.3f} -> {loss.item():.3f}; {1 / median(times):.1f} steps per second")


if __name__ == "__main__":
    main()
