# not found: errors
import torch
from torch import nn
torch.manual_seed(0)
net = nn.Conv2d(3, 8, 3); opt = torch.optim.Adam(net.parameters(), 1e-2)
style = torch.rand(1, 8, 8)
for _ in range(30):
    f = net(torch.rand(4, 3, 10, 10)); n, c, h, w = f.shape
    g = f.view(n, c, h * w) @ f.view(n, c, h * w).transpose(1, 2) / (c * h * w)
    loss = nn.functional.mse_loss(g, style)
    opt.zero_grad(); loss.backward(); opt.step()
print("done")
