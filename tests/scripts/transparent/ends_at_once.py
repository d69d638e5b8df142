# A script that leaves without cleaning up.
import atexit
import os
import sys

import torch

atexit.register(print, "never printed")
model = torch.nn.Linear(4, 2)
optimizer = torch.optim.LBFGS(model.parameters(), max_iter=3)


def closure():
    optimizer.zero_grad()
    loss = model(torch.ones(2, 4)).square().sum()
    loss.backward()
    return loss


optimizer.step(closure)
print(f"{closure().item():.6f}")
sys.stdout.flush()
os._exit(7)
