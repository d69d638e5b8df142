# found: TL403; the first of many single steps is slow
import time

import torch

model = torch.nn.Linear(64, 64)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
x = torch.randn(32, 64)
times = []
for step in range(20):
    start = time.perf_counter()
    if step == 0:
        time.sleep(0.5)  # stands for a compilation, or an algorithm search
    optimizer.zero_grad()
    model(x).square().mean().backward()
    optimizer.step()
    times.append(time.perf_counter() - start)
mean = sum(times) / len(times)
print("mean is of all steps:", mean > 0.02)
