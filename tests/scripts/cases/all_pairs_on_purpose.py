# not found: errors
import torch
from torch import nn
torch.manual_seed(0)
net = nn.Linear(4, 16); opt = torch.optim.Adam(net.parameters(), 1e-2)
tau = (torch.arange(16) + .5) / 16
rank = nn.Linear(4, 1); opt2 = torch.optim.Adam(rank.parameters(), 1e-2)
x = torch.randn(1, 4)
for _ in range(30):
    theta = net(x).squeeze(0)
    target = torch.randn(16)
    u = target.unsqueeze(0) - theta.unsqueeze(1)
    loss = (u.abs() * (tau.unsqueeze(1) - (u.detach() < 0).float()).abs()).mean()
    opt.zero_grad(); loss.backward(); opt.step()
    xs = torch.randn(12, 4); s = rank(xs).squeeze(1); rel = xs.sum(1)
    d = s[:, None] - s[None, :]
    l2 = nn.functional.binary_cross_entropy_with_logits(d, (rel[:, None] > rel[None, :]).float())
    opt2.zero_grad(); l2.backward(); opt2.step()
print("done")
