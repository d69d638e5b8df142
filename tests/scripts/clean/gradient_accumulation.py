# clean; devices: cpu sim cuda
import sys
from statistics import median
from time import perf_counter

import torch
from torch import nn

ACCUMULATE = 4


def main():
    device = sys.argv[1] if len(sys.argv) > 1 else "cpu"

    def wait():
        if device != "cpu":
            getattr(torch, device.split(":")[0]).synchronize()

    torch.manual_seed(0)
    labels = torch.randint(10, (8 * 16,))
    data = (torch.randn(10, 200)[labels] + torch.randn(8 * 16, 200)).to(device)
    labels = labels.to(device)
    micro_batches = list(zip(data.split(16), labels.split(16)))
    model = nn.Sequential(nn.Linear(200, 1024), nn.ReLU(), nn.Linear(1024, 512), nn.ReLU(), nn.Linear(512, 10))
    model.to(device).train()
    loss_fn = nn.CrossEntropyLoss()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    def epoch():
        optimizer.zero_grad()
        for i, (x, y) in enumerate(micro_batches):
            loss = loss_fn(model(x), y) / ACCUMULATE
            loss.backward()
            if (i + 1) % ACCUMULATE == 0:
                optimizer.step()
                optimizer.zero_grad()
        return loss

    losses = [epoch(), epoch()]
    times = []
    for _ in range(7):
        wait()
        start = perf_counter()
        losses.append(epoch())
        wait()
        times.append(perf_counter() - start)
    print("losses:", [round(loss.item() * ACCUMULATE, 3) for loss in losses])
    print(f"{len(labels) / median(times):.0f} samples per second")


if __name__ == "__main__":
    main()
