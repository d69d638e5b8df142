# clean; devices: cpu cuda
import math
import statistics
import sys
import time

import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset


class Waves(Dataset):
    def __len__(self):
        return 160

    def __getitem__(self, i):
        label = i % 10
        time.sleep(0.00015)  # as if it were read from a disk
        return torch.tensor([math.sin((label + 1) * t / 20 + i) for t in range(64)]), label


class Block(nn.Module):
    def __init__(self, width=64):
        super().__init__()
        self.body = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width))

    def forward(self, x):
        return x + self.body(x)


def main():
    device = sys.argv[1] if len(sys.argv) > 1 else "cpu"
    pinned = device.startswith("cuda")
    torch.manual_seed(0)
    loader = DataLoader(Waves(), 16, shuffle=True, num_workers=2, persistent_workers=True, pin_memory=pinned)
    model = nn.Sequential(*[Block() for _ in range(20)], nn.Linear(64, 10)).to(device).train()
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-4)
    loss_fn = nn.CrossEntropyLoss()
    times, losses = [], []
    for epoch in range(5):
        if device != "cpu":
            getattr(torch, device.split(":")[0]).synchronize()
        start = time.perf_counter()
        for x, y in loader:
            x, y = x.to(device, non_blocking=pinned), y.to(device, non_blocking=pinned)
            optimizer.zero_grad()
            loss = loss_fn(model(x), y)
            loss.backward()
            optimizer.step()
        if device != "cpu":
            getattr(torch, device.split(":")[0]).synchronize()
        if epoch > 0:  # the first epoch starts the workers and warms up
            times.append(time.perf_counter() - start)
        losses.append(loss.item())
    print("losses:", [round(each, 3) for each in losses])
    print(f"{statistics.median(times) * 100:.2f} ms per batch")


if __name__ == "__main__":
    main()
