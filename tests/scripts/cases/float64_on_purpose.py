# not found: errors warnings
import torch
from torch import nn
torch.set_default_dtype(torch.float64)
torch.manual_seed(0)
net = nn.Sequential(nn.Linear(1, 16), nn.Tanh(), nn.Linear(16, 1)); opt = torch.optim.Adam(net.parameters(), 1e-2)
for _ in range(30):
    t = torch.rand(32, 1, requires_grad=True)
    u = net(t); du, = torch.autograd.grad(u.sum(), t, create_graph=True)
    loss = (du + u).square().mean() + (net(torch.zeros(1, 1)) - 1).square().mean()
    opt.zero_grad(); loss.backward(); opt.step()
print("done")
