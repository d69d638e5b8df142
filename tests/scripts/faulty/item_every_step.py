# fault: TL402; devices: sim cuda
import statistics
import sys
from time import perf_counter

import torch
from torch import nn

device = sys.argv[1] if len(sys.argv) > 1 else "cpu"


def synchronize():
    if device != "cpu":
        getattr(torch, device.split(":")[0]).synchronize()


torch.manual_seed(0)
classes = torch.randn(10, 64)
all_y = torch.randint(10, (320,))
all_x = classes[all_y] + 0.7 * torch.randn(320, 64)
all_x, all_y = all_x.to(device), all_y.to(device)

model = nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 128), nn.ReLU(), nn.Linear(128, 10))
model.to(device)
model.train()
criterion = nn.CrossEntropyLoss()
optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)


def step(i):
    x, y = all_x[i * 32 : i * 32 + 32], all_y[i * 32 : i * 32 + 32]
    optimizer.zero_grad()
    loss = criterion(model(x), y)
    loss.backward()
    optimizer.step()
    return loss


for i in range(10):
    step(i)

spans = []
for epoch in range(4):
    total = 0.0
    synchronize()
    start = perf_counter()
    for i in range(10):
        loss = step(i)
        total += loss.item()  # TL402
    synchronize()
    spans.append(perf_counter() - start)
    print(f"epoch {epoch}: mean loss {total / 10:.4f}")

print(f"median epoch: {statistics.median(spans) * 1000:.2f} ms")
