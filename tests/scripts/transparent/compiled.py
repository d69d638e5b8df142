# How often torch.compile compiles and breaks.
import time

import torch
from torch import nn
from torch._dynamo.utils import counters


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(8, 8) for _ in range(3)])
        self.scaled = nn.Linear(8, 8)
        self.scaled.register_forward_hook(lambda module, inputs, output: output * 2)

    def forward(self, x):
        begun = time.perf_counter()
        for layer in self.layers:
            x = torch.relu(layer(x))
        torch._dynamo.graph_break()
        return nn.functional.mse_loss(self.scaled(x), torch.zeros_like(x)), begun


torch.manual_seed(0)
net = Net()
fast = torch.compile(net, backend="aot_eager")
optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
for size in (4, 4, 6, 6):
    optimizer.zero_grad()
    loss, _ = fast(torch.randn(size, 8))
    loss.backward()
    optimizer.step()


@torch.compile(backend="aot_eager")
def step(x):
    loss, _ = net(x)
    loss.backward()
    optimizer.step()
    return loss


for _ in range(3):
    last = step(torch.randn(4, 8))
print(f"{last.item():.6f}", counters["stats"]["unique_graphs"], counters["stats"]["calls_captured"])
print(sum(counters["graph_break"].values()), "breaks")
