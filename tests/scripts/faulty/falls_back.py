# fault: TL440; devices: cpu sim cuda
import statistics
import sys
import time
import warnings

import torch
from torch import nn


def special(x):
    """Stands for an operator that the backend lacks."""
    warnings.warn(
        "The operator 'aten::foo' is not currently supported on the SIM backend and will fall back to run on the CPU.",
        stacklevel=2,
    )
    return nn.functional.softplus(x)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1 = nn.Linear(128, 1024)
        self.fc2 = nn.Linear(1024, 512)
        self.fc3 = nn.Linear(512, 10)

    def forward(self, x):
        x = torch.relu(self.fc1(x))
        x = special(self.fc2(x))  # TL440
        return self.fc3(x)


def main():
    device = sys.argv[1] if len(sys.argv) > 1 else "cpu"
    torch.manual_seed(0)
    labels = torch.randint(10, (64,))
    x, y = (torch.randn(10, 128)[labels] + torch.randn(64, 128)).to(device), labels.to(device)
    model = Net().to(device).train()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)

    def train(steps):
        for _ in range(steps):
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model(x), y)
            loss.backward()
            optimizer.step()
        if device != "cpu":
            getattr(torch, device.split(":")[0]).synchronize()
        return loss

    first, times = train(8), []
    for _ in range(5):
        start = time.time()
        last = train(12)
        times.append(time.time() - start)
    print(f"loss {first.item():.4f} -> {last.item():.4f}, {statistics.median(times) / 12 * 1000:.2f} ms per step")


if __name__ == "__main__":
    main()
