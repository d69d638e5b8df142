"""A training loop as a user writes it, on an accelerator: the true time of a step, and a clock read too early."""

import json
import time

import torch
from models import small
from torch.nn.functional import cross_entropy


def timed(device: torch.device) -> tuple[float, float]:
    """Seconds of a step on the simulated accelerator, by its operators; and by a clock that waits for nothing."""
    module, (inputs, targets) = small(4)
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
        loss = loss.detach()
        unsynchronized = time.perf_counter() - begun
        operators = queue.operators - before
    return operators * queue.cost, unsynchronized


if __name__ == "__main__":
    truth, unsynchronized = timed(torch.device("sim"))
    print(json.dumps({"truth": truth, "unsynchronized": unsynchronized}))
