# not found: errors
import torch
from torch import nn
torch.manual_seed(0)
net = nn.Linear(8, 6)
with torch.no_grad(): net.bias[3:] -= 20
opt = torch.optim.SGD(net.parameters(), .01)
x = torch.randn(64, 8)
for _ in range(30):
    y = torch.clamp(net(x), 0, 6)
    loss = (y - x[:, :6].clamp(0)).square().mean()
    opt.zero_grad(); loss.backward(); opt.step()
    z = nn.functional.hardtanh(net(x))
print("done")
