"""A training loop as a user writes it, on the simulated accelerator: the true step time, and a clock read too early."""

import json
import time

import torch
from models import small
from torch.nn.functional import cross_entropy

module, (inputs, targets) = small(4)
device = torch.device("sim")
queue = torch.get_device_module(device).queue
module, inputs, targets = module.to(device), inputs.to(device), targets.to(device)
optimizer = torch.optim.Adam(module.parameters(), lr=1e-3)
for _ in range(3):
    queue.wait()
    before, begun = queue.operators, time.perf_counter()
    optimizer.zero_grad(set_to_none=True)
    loss = cross_entropy(module(inputs), targets)
    torch.autograd.backward(loss)
    optimizer.step()
    unsynchronized = time.perf_counter() - begun
    operators = queue.operators - before
print(json.dumps({"truth": operators * queue.cost, "unsynchronized": unsynchronized}))
