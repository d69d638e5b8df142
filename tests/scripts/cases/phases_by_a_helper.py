# found: TL401; device: sim
import sys, time, torch
from collections import defaultdict
from torch import nn
dev = sys.argv[1]
class Timers:
    def __init__(self): self.total = defaultdict(float); self.t = {}
    def start(self, k): self.t[k] = time.perf_counter()
    def stop(self, k): self.total[k] += time.perf_counter() - self.t[k]
T = Timers()
net = nn.Sequential(*[nn.Linear(32, 32) for _ in range(6)]).to(dev); opt = torch.optim.SGD(net.parameters(), .01)
x = torch.randn(16, 32).to(dev)
for i in range(12):
    T.start("fwd"); loss = net(x).square().mean(); T.stop("fwd")
    T.start("bwd"); opt.zero_grad(); loss.backward(); T.stop("bwd")
    T.start("opt"); opt.step(); T.stop("opt")
print(sorted(T.total))
