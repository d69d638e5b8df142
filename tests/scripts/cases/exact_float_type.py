# not found: errors; the script asks for float exactly
import time

import torch

model = torch.nn.Linear(4, 2)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
total = 0.0
for _ in range(3):
    start = time.perf_counter()
    optimizer.zero_grad()
    model(torch.randn(8, 4)).square().mean().backward()
    optimizer.step()
    total += time.perf_counter() - start


def cell(value):
    if type(value) is float:
        return f"{value:.3f} s"
    assert value is None, type(value)
    return ""


print(cell(total))
