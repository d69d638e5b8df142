# steps: 20; two optimizers in each iteration
import time

import torch

body, head = torch.nn.Linear(16, 16), torch.nn.Linear(16, 2)
optimizers = [torch.optim.SGD(body.parameters(), lr=0.1), torch.optim.Adam(head.parameters())]
x = torch.randn(8, 16)
times = []
for _ in range(5):
    start = time.perf_counter()
    for _ in range(4):
        time.sleep(0.01)
        for optimizer in optimizers:
            optimizer.zero_grad()
        head(body(x)).square().mean().backward()
        for optimizer in optimizers:
            optimizer.step()
    times.append(time.perf_counter() - start)
print("spans", len(times))
