# found: TL443 TL452
import time, torch
from torch import nn
torch.manual_seed(0)
class Net(nn.Module):
    def __init__(s): super().__init__(); s.a, s.b = nn.Linear(16, 16), nn.Linear(16, 2)
    def forward(s, x):
        h = torch.relu(s.a(x))
        if h.mean().item() > 100: print("large")
        h = h * 2
        print("", end="")
        return s.b(h)
net = torch.compile(Net(), backend="aot_eager"); opt = torch.optim.SGD(net.parameters(), .1)
x, y = torch.randn(32, 16), torch.randint(2, (32,))
for e in range(3):
    t = time.perf_counter()
    for _ in range(15):
        opt.zero_grad(); nn.functional.cross_entropy(net(x), y).backward(); opt.step()
    print(e, time.perf_counter() - t > 0)
