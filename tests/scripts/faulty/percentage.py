# fault: TL441; devices: cpu sim cuda
import statistics
import sys
import time

import torch
from torch import nn

device = sys.argv[1] if len(sys.argv) > 1 else "cpu"


def wait():
    if device != "cpu":
        getattr(torch, device.split(":")[0]).synchronize()


def build(depth):
    layers = [nn.Linear(128, 512), nn.ReLU()]
    for _ in range(depth):
        layers += [nn.Linear(512, 512), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(512, 10)).to(device).train()


torch.manual_seed(0)
y = torch.randint(10, (64,))
x = (torch.randn(10, 128)[y] + torch.randn(64, 128)).to(device)
y = y.to(device)
loss_fn = nn.CrossEntropyLoss()
models = {"shallow": build(1), "deep": build(4)}
optimizers = {name: torch.optim.Adam(model.parameters(), lr=3e-4) for name, model in models.items()}


def span(name):
    wait()
    start = time.perf_counter()
    for _ in range(6):
        optimizers[name].zero_grad()
        loss = loss_fn(models[name](x), y)
        loss.backward()
        optimizers[name].step()
    wait()
    return time.perf_counter() - start, loss.item()


times = {"shallow": [], "deep": []}
for turn in range(6):
    for name in models:
        seconds, loss = span(name)
        print(f"{name}: loss {loss:.4f}")
        if turn > 0:  # the first turn is warm-up
            times[name].append(seconds)
ratio = statistics.median(times["deep"]) / statistics.median(times["shallow"])
print(f"shallow is {ratio * 100:.1f}% faster")  # TL441
