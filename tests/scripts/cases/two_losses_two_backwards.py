# not found: errors
import torch
from torch import nn
torch.manual_seed(0)
net = nn.Sequential(nn.Linear(8, 32), nn.Tanh(), nn.Linear(32, 2)); opt = torch.optim.Adam(net.parameters(), 1e-2)
x = torch.randn(64, 8); y = torch.stack([x.sum(1), x.prod(1)], 1)
for _ in range(30):
    opt.zero_grad()
    out = net(x)
    loss_a = (out[:, 0] - y[:, 0]).square().mean()
    loss_b = (out[:, 1] - y[:, 1]).square().mean()
    loss_a.backward(retain_graph=True)
    loss_b.backward()
    opt.step()
print("done")
