# A script that fails in a step.
import time

import torch

model = torch.nn.Linear(4, 2)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
start = time.time()
for size in (4, 5):
    optimizer.zero_grad()
    model(torch.ones(2, size)).sum().backward()
    optimizer.step()
