# fault: TL431; devices: sim cuda
import sys
from statistics import median
from time import perf_counter

import torch
from torch import nn

BATCH = 32


def main():
    device = sys.argv[1] if len(sys.argv) > 1 else "cpu"

    def wait():
        if device != "cpu":
            getattr(torch, device.split(":")[0]).synchronize()

    torch.manual_seed(0)
    labels = torch.randint(10, (60 * BATCH,))
    images = torch.randn(10, 400)[labels] + torch.randn(60 * BATCH, 400)
    labels = labels.to(device)  # they are small; the images stay on the host
    model = nn.Sequential(nn.Linear(400, 256), nn.ReLU(), nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, 10))
    model.to(device).train()
    loss_fn = nn.CrossEntropyLoss()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)

    def train(first, last):
        for i in range(first, last):
            x = images[i * BATCH : (i + 1) * BATCH].to(device, non_blocking=True)  # TL431
            y = labels[i * BATCH : (i + 1) * BATCH]
            optimizer.zero_grad()
            loss = loss_fn(model(x), y)
            loss.backward()
            optimizer.step()
        return loss

    losses = [train(0, 10)]  # warm-up
    times = []
    for span in range(1, 6):
        wait()
        start = perf_counter()
        losses.append(train(span * 10, span * 10 + 10))
        wait()
        times.append(perf_counter() - start)
    print("losses:", [round(loss.item(), 3) for loss in losses])
    print(f"{10 * BATCH / median(times):.0f} images per second")


if __name__ == "__main__":
    main()
