# fault: TL422; devices: cpu sim cuda
import statistics
import sys
import time

import torch
from torch import nn


def build(hidden):
    return nn.Sequential(nn.Linear(96, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU(), nn.Linear(hidden, 10))


def wait(device):
    if device != "cpu":
        getattr(torch, device.split(":")[0]).synchronize()


def main():
    device = sys.argv[1] if len(sys.argv) > 1 else "cpu"
    torch.manual_seed(0)
    y = torch.randint(10, (64,))
    x = (torch.randn(10, 96)[y] + torch.randn(64, 96)).to(device)
    y = y.to(device)

    model = build(256).to(device)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    model = build(768).to(device)  # a wider one is better
    model.train()
    loss_fn = nn.CrossEntropyLoss()

    def train(steps):
        for _ in range(steps):
            model.zero_grad()
            loss = loss_fn(model(x), y)
            loss.backward()
            optimizer.step()  # TL422
        return loss

    first = train(8)
    times = []
    for _ in range(5):
        wait(device)
        start = time.time()
        last = train(12)
        wait(device)
        times.append(time.time() - start)
    print(f"loss {first.item():.4f} -> {last.item():.4f}")
    print(f"{statistics.median(times) / 12 * 1000:.2f} ms per step")


if __name__ == "__main__":
    main()
