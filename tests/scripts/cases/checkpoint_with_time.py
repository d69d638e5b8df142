# not found: errors; the checkpoint holds a clock reading
import time

import torch

model = torch.nn.Linear(4, 2)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
start = time.time()
for _ in range(3):
    optimizer.zero_grad()
    model(torch.randn(8, 4)).square().mean().backward()
    optimizer.step()
torch.save({"model": model.state_dict(), "seconds": time.time() - start, "saved_at": time.time()}, "checkpoint.pt")
print(sorted(torch.load("checkpoint.pt")))
