# fault: TL404; devices: cpu sim cuda
import math
import sys
import time

import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset


class Waves(Dataset):
    """The class is the frequency of a noisy wave; each sample is worked out in plain Python."""

    def __len__(self):
        return 192

    def __getitem__(self, i):
        label = i % 10
        wave = [math.sin((label + 1) * t / 300 + i) + 0.1 * math.cos(i * t) for t in range(6400)]
        peaks = [max(wave[t : t + 100]) + sum(wave[t : t + 10]) for t in range(0, 6400, 100)]
        return torch.tensor(peaks), label


def main():
    device = sys.argv[1] if len(sys.argv) > 1 else "cpu"
    pinned = device.startswith("cuda")
    torch.manual_seed(0)
    loader = DataLoader(Waves(), batch_size=32, shuffle=True, num_workers=0, pin_memory=pinned)
    model = nn.Sequential(nn.Linear(64, 256), nn.ReLU(), nn.Linear(256, 10)).to(device)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.003)
    loss_fn = nn.CrossEntropyLoss()

    def wait():
        if device != "cpu":
            getattr(torch, device.split(":")[0]).synchronize()

    model.train()
    times, losses = [], []
    for epoch in range(6):
        wait()
        start = time.time()
        for x, y in loader:  # TL404
            x, y = x.to(device, non_blocking=pinned), y.to(device, non_blocking=pinned)
            optimizer.zero_grad()
            loss = loss_fn(model(x), y)
            loss.backward()
            optimizer.step()
        wait()
        if epoch > 0:  # the first epoch is warm-up
            times.append(time.time() - start)
        losses.append(loss.item())
    print("losses", [round(each, 3) for each in losses])
    print(f"{sorted(times)[2]:.3f} s an epoch")


if __name__ == "__main__":
    main()
