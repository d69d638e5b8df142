# not found: TL449 errors; the clock is read once the model is ready
import time

import torch
from torch import nn

torch.manual_seed(0)
warm = nn.Linear(8, 8)
warm(torch.randn(2, 8)).sum().backward()
torch.optim.SGD(warm.parameters(), lr=0.1).step()
time.sleep(0.4)  # stands for reading a dataset
model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 8))
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
start = time.perf_counter()
for _ in range(40):
    loss = model(torch.randn(32, 64)).square().mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
print(f"{(time.perf_counter() - start) / 40:.4f} s per step" > "")
