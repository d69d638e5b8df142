# fault: TL401; devices: sim cuda
import statistics
import sys
import timeit

import torch
import torch.nn.functional as F
from torch import nn

NUMBER = 8


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1 = nn.Linear(48, 96)
        self.fc2 = nn.Linear(96, 10)

    def forward(self, x):
        return self.fc2(torch.tanh(self.fc1(x)))


def main():
    device = sys.argv[1] if len(sys.argv) > 1 else "cpu"
    torch.manual_seed(1)
    means = torch.randn(10, 48)
    labels = torch.arange(40) % 10
    x = (means[labels] + 0.4 * torch.randn(40, 48)).to(device)
    y = labels.to(device)
    model = Net().to(device).train()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.2)
    losses = []

    def step():
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        losses.append(loss.detach())

    for _ in range(10):  # warm-up
        step()
    if device != "cpu":
        getattr(torch, device.split(":")[0]).synchronize()
    times = timeit.repeat(step, number=NUMBER, repeat=5)  # TL401
    print("loss", losses[0].item(), "->", losses[-1].item())
    print("ms per step:", statistics.median(times) / NUMBER * 1000)


if __name__ == "__main__":
    main()
