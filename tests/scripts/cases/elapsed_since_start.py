# spans: 1x60; an ETA: the time since the start is read again and again
import time, torch
from torch import nn
net = nn.Sequential(nn.Linear(32, 256), nn.ReLU(), nn.Linear(256, 1)); opt = torch.optim.SGD(net.parameters(), lr=.01)
start_time = time.time()
N = 60
for i in range(N):
    opt.zero_grad(); net(torch.randn(256, 32)).square().mean().backward(); opt.step()
    time.sleep(0.001)
    if (i + 1) % 5 == 0:
        elapsed = time.time() - start_time
        eta = elapsed / (i + 1) * (N - i - 1)
        print(f"[{i + 1}/{N}] {'elapsed' if elapsed else ''} {'eta' if eta >= 0 else ''}")
