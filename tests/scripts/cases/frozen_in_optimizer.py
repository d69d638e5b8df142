# not found: TL412 errors; frozen on purpose
import torch
from torch import nn

torch.manual_seed(0)
backbone, head = nn.Sequential(nn.Linear(32, 64), nn.ReLU()), nn.Linear(64, 2)
model = nn.Sequential(backbone, head)
backbone.requires_grad_(False)
optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
x = torch.randn(64, 32)
y = (x.sum(1) > 0).long()
for _ in range(100):
    optimizer.zero_grad()
    nn.functional.cross_entropy(model(x), y).backward()
    optimizer.step()
print("done")
