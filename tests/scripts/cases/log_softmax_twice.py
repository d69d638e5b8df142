# not found: errors warnings
import torch
from torch import nn
torch.manual_seed(0)
a = nn.Sequential(nn.Linear(8, 5), nn.LogSoftmax(dim=1)); b = nn.Sequential(nn.Linear(8, 5), nn.Softmax(dim=1))
att = nn.MultiheadAttention(8, 2, batch_first=True)
opt = torch.optim.Adam([*a.parameters(), *b.parameters(), *att.parameters()], .05)
x = torch.randn(64, 8); y = x[:, :5].argmax(1)
for _ in range(30):
    h, _ = att(x[None], x[None], x[None]); h = h[0] + x
    loss = nn.CrossEntropyLoss()(a(h), y) + nn.functional.nll_loss(torch.log(b(x) + 1e-8), y)
    opt.zero_grad(); loss.backward(); opt.step()
print("done")
