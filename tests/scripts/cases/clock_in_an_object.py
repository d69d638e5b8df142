# spans: 5x4; a reading is kept under the name of a keyword argument
import time, torch, numpy as np
from torch import nn
net = nn.Linear(32, 1); opt = torch.optim.SGD(net.parameters(), lr=.01)
def step():
    opt.zero_grad(); net(torch.randn(32, 32)).square().mean().backward(); opt.step()
step()
from contextlib import contextmanager
from types import SimpleNamespace
@contextmanager
def clocked():
    r = SimpleNamespace(t=time.perf_counter())
    yield r
    r.t = time.perf_counter() - r.t
for _ in range(5):
    with clocked() as r:
        for _ in range(4): step()
    print(r.t > 0)
