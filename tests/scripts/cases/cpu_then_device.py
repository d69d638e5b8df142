# found: TL401 TL407 TL441; device: sim
import sys, time, torch
from torch import nn
def bench(device, steps=8):
    torch.manual_seed(0)
    net = nn.Sequential(*[nn.Linear(32, 32) for _ in range(6)]).to(device); opt = torch.optim.SGD(net.parameters(), .01)
    x = torch.randn(16, 32, device=device)
    for _ in range(3):
        opt.zero_grad(); net(x).square().mean().backward(); opt.step()
    start = time.perf_counter()
    for _ in range(steps):
        opt.zero_grad(); net(x).square().mean().backward(); opt.step()
    return (time.perf_counter() - start) / steps
results = {d: bench(d) for d in ("cpu", sys.argv[1])}
speedup = results["cpu"] / results[sys.argv[1]]
print(f"{'x'}" if speedup > 0 else "", f"speed-up {100 * speedup:.0f}%"[:8])
