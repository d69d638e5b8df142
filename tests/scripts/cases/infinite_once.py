# not found: errors warnings
import torch
from torch import nn
torch.manual_seed(0)
net = nn.Linear(8, 1); opt = torch.optim.SGD(net.parameters(), .01)
for i in range(60):
    x = torch.randn(32, 8)
    loss = (net(x) - x.sum(1, keepdim=True)).square().mean()
    if i == 20: loss = loss * float("inf")
    opt.zero_grad(); loss.backward()
    norm = nn.utils.clip_grad_norm_(net.parameters(), 1.)
    if torch.isfinite(norm): opt.step()
print("done")
