# spans: 6x5; a dataclass reads the clock in its default factory
import time, torch
from dataclasses import dataclass, field
from torch import nn
@dataclass
class Epoch:
    number: int
    started: float = field(default_factory=time.perf_counter)
    seconds: float = 0.0
    def close(self):
        self.seconds = time.perf_counter() - self.started
        return self
net = nn.Linear(32, 1); opt = torch.optim.SGD(net.parameters(), lr=.01)
def step():
    opt.zero_grad(); net(torch.randn(32, 32)).square().mean().backward(); opt.step()
for _ in range(5): step()
epochs = []
for e in range(6):
    ep = Epoch(e)
    for _ in range(5): step()
    epochs.append(ep.close())
print(len([e.seconds for e in epochs]))
