# not found: TL403; by a name, and by del
import statistics, time, torch
from torch import nn
net = nn.Linear(64, 64); opt = torch.optim.SGD(net.parameters(), lr=.01)
WARMUP = 3
times = []
for i in range(20):
    t = time.perf_counter()
    if i == 0: time.sleep(0.3)
    opt.zero_grad(); net(torch.randn(64, 64)).square().mean().backward(); opt.step()
    times.append(time.perf_counter() - t)
print(statistics.mean(times[WARMUP:]) < 0.1)
more = []
for i in range(20):
    t = time.perf_counter()
    opt.zero_grad(); net(torch.randn(64, 64)).square().mean().backward(); opt.step()
    more.append(time.perf_counter() - t)
del more[:WARMUP]
print(sum(more) / len(more) < 0.1)
