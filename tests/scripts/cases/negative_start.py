# spans: 5x4
import time, torch, numpy as np
from torch import nn
net = nn.Linear(32, 1); opt = torch.optim.SGD(net.parameters(), lr=.01)
def step():
    opt.zero_grad(); net(torch.randn(32, 32)).square().mean().backward(); opt.step()
step()
for _ in range(5):
    elapsed = -time.perf_counter()
    for _ in range(4): step()
    elapsed += time.perf_counter()
    print(elapsed > 0)
