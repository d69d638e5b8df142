# found: TL442
import torch
from torch import nn
torch.manual_seed(0)
class Net(nn.Module):
    def __init__(self): super().__init__(); self.l = nn.Linear(8, 1)
    def forward(self, x): return torch.sigmoid(self.l(x))
net = Net(); opt = torch.optim.Adam(net.parameters(), .05); crit = nn.BCEWithLogitsLoss()
x = torch.randn(64, 8); y = (x.sum(1, keepdim=True) > 0).float()
for _ in range(100):
    opt.zero_grad(); crit(net(x), y).backward(); opt.step()
print("done")
