# clean; devices: cpu cuda
import statistics
import sys
import time

import torch
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1 = nn.Linear(128, 1024)
        self.fc2 = nn.Linear(1024, 10)

    def forward(self, x):
        return self.fc2(torch.nn.functional.gelu(self.fc1(x)))


def wait(device):
    if device != "cpu":
        getattr(torch, device.split(":")[0]).synchronize()


def main():
    device = sys.argv[1] if len(sys.argv) > 1 else "cpu"
    torch.manual_seed(0)
    y = torch.randint(10, (64,))
    x = (torch.randn(10, 128)[y] + torch.randn(64, 128)).to(device)
    y = y.to(device)
    model = torch.compile(Net().to(device))
    model.train()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    loss_fn = nn.CrossEntropyLoss()

    def step():
        optimizer.zero_grad()
        loss = loss_fn(model(x), y)
        loss.backward()
        optimizer.step()
        return loss

    losses = [step() for _ in range(10)]  # compiles in the first one
    times = []
    for _ in range(5):
        wait(device)
        start = time.perf_counter()
        for _ in range(12):
            losses.append(step())
        wait(device)
        times.append(time.perf_counter() - start)
    print(f"loss {losses[0].item():.4f} -> {losses[-1].item():.4f}")
    print(f"{12 / statistics.median(times):.1f} steps per second")


if __name__ == "__main__":
    main()
