# found: TL406; the time of one update is read before the difference, and copied after it
import time

import torch

model = torch.nn.Linear(64, 64)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
x = torch.randn(32, 64)
update_start = time.time()
seconds = []
for _ in range(1):
    for _ in range(40):
        optimizer.zero_grad()
        model(x).square().mean().backward()
        optimizer.step()
    time_now = time.time()
    seconds.append(time.time() - update_start)
    update_start = time_now
print("timed", len(seconds))
