# fault: TL407; devices: sim cuda
"""How much faster is the accelerator than the CPU?"""

import statistics
import sys
import time

import torch
from torch import nn

STEPS = 8


def wait(device):
    if device != "cpu":
        getattr(torch, device.split(":")[0]).synchronize()


def seconds_per_step(device):
    torch.manual_seed(0)
    y = torch.randint(10, (64,))
    x = (torch.randn(10, 128)[y] + torch.randn(64, 128)).to(device)
    y = y.to(device)
    model = nn.Sequential(nn.Linear(128, 512), nn.ReLU(), nn.Linear(512, 512), nn.ReLU(), nn.Linear(512, 10))
    model = model.to(device).train()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    spans = []
    for span in range(5):
        wait(device)
        start = time.perf_counter()
        for _ in range(STEPS):
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model(x), y)
            loss.backward()
            optimizer.step()
        wait(device)
        end = time.perf_counter()
        print(f"{device}: loss {loss.item():.3f}")
        if span > 0:  # the first one warms up
            spans.append((end - start) / STEPS)
    return statistics.median(spans)


def main():
    device = sys.argv[1] if len(sys.argv) > 1 else "cpu"
    cpu_time = seconds_per_step("cpu")
    device_time = seconds_per_step(device)
    print(f"{device} takes 1/{cpu_time / device_time:.2f} of the CPU's time")  # TL407


if __name__ == "__main__":
    main()
