# spans: 4x5 20x1; a helper starts and stops timers by name
import time, torch
from collections import defaultdict
from torch import nn
net = nn.Linear(32, 1); opt = torch.optim.SGD(net.parameters(), lr=.01)
timers = defaultdict(float); begun = {}
def start(name): begun[name] = time.time()
def stop(name): timers[name] += time.time() - begun.pop(name)
for e in range(4):
    start("epoch")
    for _ in range(5):
        start("data"); x = torch.randn(32, 32); stop("data")
        start("fwd"); loss = net(x).square().mean(); stop("fwd")
        start("bwd"); opt.zero_grad(); loss.backward(); stop("bwd")
        start("opt"); opt.step(); stop("opt")
    stop("epoch")
print({k: v > 0 for k, v in sorted(timers.items())})
