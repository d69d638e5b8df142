# found: TL408; the clock adds up threads
import time, torch
from torch import nn
torch.manual_seed(0)
net = nn.Sequential(nn.Linear(512, 1024), nn.ReLU(), nn.Linear(1024, 10)); opt = torch.optim.SGD(net.parameters(), lr=0.1)
x, y = torch.randn(512, 512), torch.randint(10, (512,))
def step():
    opt.zero_grad(); nn.functional.cross_entropy(net(x), y).backward(); opt.step()
for _ in range(5): step()
for _ in range(5):
    a = time.process_time()
    for _ in range(10): step()
    print(f"process {1e2 * (time.process_time() - a):.1f} ms")
