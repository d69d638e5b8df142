# found: TL406; readings in milliseconds
import time

import torch

model = torch.nn.Linear(64, 64)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
x = torch.randn(32, 64)
start = time.time() * 1000
for _ in range(50):
    optimizer.zero_grad()
    model(x).square().mean().backward()
    optimizer.step()
milliseconds = time.time() * 1000 - start
print("timed", milliseconds > 0)
