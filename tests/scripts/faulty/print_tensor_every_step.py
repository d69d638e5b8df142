# fault: TL402; devices: cuda
import sys
import time

import torch
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(40, 100), nn.Sigmoid(), nn.Linear(100, 10))

    def forward(self, x):
        return self.layers(x)


def wait(device):
    if device != "cpu":
        getattr(torch, device.split(":")[0]).synchronize()


def main():
    device = sys.argv[1] if len(sys.argv) > 1 else "cpu"
    torch.manual_seed(3)
    target = torch.randint(10, (64,))
    data = torch.randn(10, 40)[target] + 0.5 * torch.randn(64, 40)
    data, target = data.to(device), target.to(device)
    net = Net().to(device)
    net.train()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.5)
    loss_fn = nn.CrossEntropyLoss()

    def step():
        optimizer.zero_grad()
        loss = loss_fn(net(data), target)
        loss.backward()
        optimizer.step()
        return loss.detach()

    for _ in range(6):  # warm up
        step()
    times = []
    for _ in range(5):
        wait(device)
        begin = time.monotonic()
        for i in range(8):
            loss = step()
            print(f"step {i}: loss {loss}")  # TL402
        wait(device)
        times.append(time.monotonic() - begin)
    print(f"{sorted(times)[2] / 8:.6f} seconds per step")


if __name__ == "__main__":
    main()
