# clean; devices: cpu cuda
import statistics
import sys
import time

import torch
from torch import nn

device = sys.argv[1] if len(sys.argv) > 1 else "cpu"
device_type = device.split(":")[0]
dtype = torch.float16 if device_type == "cuda" else torch.bfloat16


def wait():
    if device != "cpu":
        getattr(torch, device.split(":")[0]).synchronize()


torch.manual_seed(0)
y = torch.randint(10, (64,))
x = (torch.randn(10, 128)[y] + torch.randn(64, 128)).to(device)
y = y.to(device)
model = nn.Sequential(nn.Linear(128, 768), nn.ReLU(), nn.Linear(768, 512), nn.ReLU(), nn.Linear(512, 10)).to(device)
model.train()
optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
loss_fn = nn.CrossEntropyLoss()
scaler = torch.amp.GradScaler(enabled=device_type == "cuda")


def train(steps):
    for _ in range(steps):
        optimizer.zero_grad()
        with torch.amp.autocast(device_type, dtype=dtype):
            loss = loss_fn(model(x), y)
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
    return loss


first = train(10)  # warm-up
times = []
for _ in range(5):
    wait()
    start = time.perf_counter()
    last = train(12)
    wait()
    times.append(time.perf_counter() - start)
print(f"loss {first.item():.4f} -> {last.item():.4f}")
print(f"{statistics.median(times) / 12 * 1000:.2f} ms per step")
