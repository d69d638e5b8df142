# found: TL401 at each clock read; device: sim
import sys
import time

import torch
from torch import nn

kind = sys.argv[1] if len(sys.argv) > 1 else "cpu"
torch.manual_seed(4)
kinds = torch.randint(3, (48,))
points = (torch.randn(3, 20)[kinds] + torch.randn(48, 20)).to(kind)
kinds = kinds.to(kind)
net = nn.Sequential(nn.Linear(20, 40), nn.Tanh(), nn.Linear(40, 3)).to(kind)
tune = torch.optim.SGD(net.parameters(), lr=0.05)
clock, spent = time.perf_counter, {"forward": 0.0, "backward": 0.0, "step": 0.0, "item": 0.0}


def settle():
    tune.zero_grad()
    nn.functional.cross_entropy(net(points), kinds).backward()
    tune.step()


for _ in range(4):
    settle()
if kind != "cpu":
    getattr(torch, kind.split(":")[0]).synchronize()

whole = clock()
for _ in range(25):
    a = clock()
    loss = nn.functional.cross_entropy(net(points), kinds)
    b = clock()
    tune.zero_grad()
    loss.backward()
    c = clock()
    tune.step()
    d = clock()
    value = loss.item()
    e = clock()
    for name, some in zip(spent, (b - a, c - b, d - c, e - d)):
        spent[name] += some
whole = clock() - whole
print(", ".join(f"{name} {some / 25 * 1e3:.2f} ms" for name, some in spent.items()), f"of {whole / 25 * 1e3:.2f} ms")
