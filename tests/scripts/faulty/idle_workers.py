# fault: TL434; devices: cpu cuda
import statistics
import sys
import time

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


def wait(device):
    if device != "cpu":
        getattr(torch, device.split(":")[0]).synchronize()


def main():
    device = sys.argv[1] if len(sys.argv) > 1 else "cpu"
    pinned = device.startswith("cuda")
    torch.manual_seed(0)
    labels = torch.randint(10, (320,))
    data = torch.randn(10, 64)[labels] + torch.randn(320, 64)
    loader = DataLoader(TensorDataset(data, labels), batch_size=32, shuffle=True, num_workers=2, pin_memory=pinned)
    model = nn.Sequential(nn.Linear(64, 256), nn.ReLU(), nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, 10))
    model.to(device)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    loss_fn = nn.CrossEntropyLoss()

    def epoch():
        model.train()
        for x, y in loader:  # TL434
            x, y = x.to(device, non_blocking=pinned), y.to(device, non_blocking=pinned)
            optimizer.zero_grad()
            loss = loss_fn(model(x), y)
            loss.backward()
            optimizer.step()
        return loss

    losses = [epoch().item()]  # warm-up
    times = []
    for _ in range(5):
        wait(device)
        start = time.perf_counter()
        loss = epoch()
        wait(device)
        times.append(time.perf_counter() - start)
        losses.append(loss.item())
    print("losses:", [round(each, 3) for each in losses])
    print(f"{statistics.median(times) * 1000:.1f} ms per epoch")


if __name__ == "__main__":
    main()
