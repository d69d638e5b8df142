# not found: TL406; the last batch is smaller
import time

import torch
from torch.utils.data import DataLoader, TensorDataset

torch.manual_seed(0)
x = torch.randn(100, 32)
loader = DataLoader(TensorDataset(x, (x.sum(1) > 0).long()), batch_size=8)
model = torch.nn.Linear(32, 2)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
for batch, target in loader:  # warm-up, not timed
    torch.nn.functional.cross_entropy(model(batch), target).backward()
    optimizer.zero_grad()
times = []
end = time.time()
for batch, target in loader:
    optimizer.zero_grad()
    torch.nn.functional.cross_entropy(model(batch), target).backward()
    optimizer.step()
    times.append(time.time() - end)
    end = time.time()
print(len(times), "steps")
