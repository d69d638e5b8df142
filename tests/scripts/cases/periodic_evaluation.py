# not found: TL405; one evaluation in a hundred spans
import statistics
import time

import torch

torch.manual_seed(0)
model = torch.nn.Sequential(torch.nn.Linear(64, 64), torch.nn.Linear(64, 1))
optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
x = torch.randn(32, 64)
times = []
last = time.perf_counter()
for step in range(100):
    optimizer.zero_grad()
    model(x).square().mean().backward()
    optimizer.step()
    if step == 50:
        model.eval()
        with torch.no_grad():
            for _ in range(50):
                model(x)
        model.train()
    now = time.perf_counter()
    times.append(now - last)
    last = now
print("median", statistics.median(times) > 0)
