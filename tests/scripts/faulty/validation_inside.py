# fault: TL405; devices: cpu sim cuda
import statistics
import sys
import time

import torch
import torch.nn.functional as F
from torch import nn

device = sys.argv[1] if len(sys.argv) > 1 else "cpu"
torch.manual_seed(0)
centres = torch.randn(10, 128)


def batches(count):
    made = []
    for _ in range(count):
        y = torch.randint(10, (64,))
        made.append(((centres[y] + 2 * torch.randn(64, 128)).to(device), y.to(device)))
    return made


train_set, validation_set = batches(10), batches(24)
model = nn.Sequential(nn.Linear(128, 512), nn.ReLU(), nn.Linear(512, 512), nn.ReLU(), nn.Linear(512, 10)).to(device)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)


def wait():
    if device != "cpu":
        getattr(torch, device.split(":")[0]).synchronize()


def epoch():
    model.train()
    for x, y in train_set:
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
    model.eval()
    correct = torch.zeros((), device=device)
    with torch.no_grad():
        for x_val, y_val in validation_set:
            correct += (model(x_val).argmax(1) == y_val).sum()  # TL405
    return loss, correct


first, _ = epoch()  # warm-up
times = []
for _ in range(5):
    wait()
    start = time.perf_counter_ns()
    loss, correct = epoch()
    wait()
    times.append((time.perf_counter_ns() - start) / 1e6)
print(f"loss {first.item():.3f} -> {loss.item():.3f}, {correct.item() / (24 * 64):.1%} correct")
print(f"training: {statistics.median(times) / len(train_set):.2f} ms per step")
