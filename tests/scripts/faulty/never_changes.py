# fault: TL412; devices: cpu sim cuda
import statistics
import sys
import time

import torch
from torch import nn


class Classifier(nn.Module):
    def __init__(self):
        super().__init__()
        self.backbone = nn.Sequential(nn.Linear(128, 1024), nn.ReLU(), nn.Linear(1024, 1024), nn.ReLU())
        self.head = nn.Sequential(nn.Linear(1024, 1024), nn.ReLU(), nn.Linear(1024, 10))

    def forward(self, x):
        features = self.backbone(x).detach()
        return self.head(features)


def wait(device):
    if device != "cpu":
        getattr(torch, device.split(":")[0]).synchronize()


def main():
    device = sys.argv[1] if len(sys.argv) > 1 else "cpu"
    torch.manual_seed(0)
    y = torch.randint(10, (64,))
    x = (torch.randn(10, 128)[y] + torch.randn(64, 128)).to(device)
    y = y.to(device)
    model = Classifier().to(device)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)  # TL412
    model.train()

    def step():
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        return loss

    losses = [step() for _ in range(10)]  # warm-up
    spans = []
    for _ in range(5):
        wait(device)
        start = time.perf_counter_ns()
        for _ in range(12):
            loss = step()
        wait(device)
        spans.append(time.perf_counter_ns() - start)
    print(f"loss {losses[0].item():.3f} -> {loss.item():.3f}")
    print(f"{statistics.median(spans) / 12e6:.2f} ms per step")


if __name__ == "__main__":
    main()
