# not found: errors
import torch
from torch import nn
torch.manual_seed(0)
net = nn.Linear(8, 4); opt = torch.optim.SGD(net.parameters(), .1)
for _ in range(30):
    s = torch.randn(8); visits = torch.softmax(s[:4] * 3, 0)
    loss = nn.functional.cross_entropy(net(s), visits)
    opt.zero_grad(); loss.backward(); opt.step()
print("done")
